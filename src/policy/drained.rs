//! Drained nodes: their hosts are under maintenance, so work leaves them and none comes, whatever the policy.
//!
//! To a policy a drained node is one without CPUs. What the policy then leaves there is moved by this module, and what it
//! sends there is not sent. So each policy obeys, also one that doesn't know of drained nodes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::least_loaded;
use crate::cell::{CellView, GroupId, Move, NodeId, Outcome, Plan, Verdict};

/// The view as policies see it.
pub(super) fn without_drained(view: &CellView) -> Cow<'_, CellView> {
    if view.nodes.iter().all(|node| !node.drained) {
        return Cow::Borrowed(view);
    }
    let mut view = view.clone();
    for node in view.nodes.iter_mut().filter(|node| node.drained) {
        node.capacity_cpus = 0.0;
        node.alarm = false;
    }
    Cow::Owned(view)
}

/// Make a plan obey. `steers`: the policy's plans have limits.
pub(super) fn obey(view: &CellView, mut plan: Plan, steers: bool) -> Plan {
    let drained: BTreeSet<NodeId> = view.nodes.iter().filter(|node| node.drained).map(|node| node.id).collect();
    if drained.is_empty() {
        return plan;
    }
    let is_open = |node: &NodeId| !drained.contains(node);
    plan.first =
        plan.first.filter(is_open).or_else(|| least_loaded(view, f64::INFINITY, 1).first().map(|node| node.id));
    plan.second = plan.second.filter(is_open);
    plan.moves.retain(|step| is_open(&step.to));
    plan.spread.retain(|node, _| is_open(node));
    plan.fallback.retain(|_, to| is_open(to));
    plan.watch.retain(is_open);
    for &node in &drained {
        if let Some(to) = plan.first {
            vacate(view, &mut plan, node, to);
        }
        if steers {
            plan.limits.insert(node, 0.0);
        }
    }
    plan
}

/// Move what a plan leaves on `node` to `to`.
fn vacate(view: &CellView, plan: &mut Plan, node: NodeId, to: NodeId) {
    let groups = view.groups_on(node);
    let moves: BTreeSet<GroupId> = plan.moves.iter().map(|step| step.group).collect();
    let left = groups.iter().filter(|group| !moves.contains(&group.id));
    plan.moves.extend(left.map(|group| Move { group: group.id, from: node, to }));
    plan.verdicts.retain(|verdict| verdict.node != node);
    if groups.is_empty() {
        return;
    }
    let moved_cpus = groups.iter().map(|group| group.demand.usage_cpus).sum();
    let at = plan.verdicts.partition_point(|verdict| verdict.node < node);
    plan.verdicts.insert(at, Verdict { node, outcome: Outcome::Moves { moved_cpus } });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Node, Pressure};
    use crate::policy::test_cell::{cell, group, node};
    use crate::policy::{Decider, GuardOptions, PolicyName, PolicySettings};

    const EVERY: [&str; 5] = ["none", "coarse", "fine", "auto", "rotate"];

    fn decider(name: &str) -> Decider {
        let settings = PolicySettings { trigger_cpus: Some(0.01), round_s: 0.5, ..PolicySettings::default() };
        let policy = name.parse::<PolicyName>().unwrap().make(&settings);
        Decider::new(policy, Some(GuardOptions::with_cool_down(3)))
    }

    fn drained(id: u32) -> Node {
        Node { drained: true, ..node(id, 2.0, 0.0) }
    }

    /// Three calm nodes; work on nodes 0 and 1.
    fn view(nodes: Vec<Node>) -> CellView {
        let mut view = cell(nodes, vec![group(7, 0, 0.5), group(8, 1, 0.5), group(9, 1, 0.0)]);
        view.groups.iter_mut().for_each(|group| group.age_rounds = 100.0);
        view
    }

    /// The plan of the last of some rounds, in which work goes where each plan sends it.
    fn settled(decider: &mut Decider, view: &mut CellView) -> Plan {
        let mut plan = Plan::default();
        for _ in 0..20 {
            plan = decider.round(view);
            for step in &plan.moves {
                view.groups.iter_mut().filter(|group| group.id == step.group).for_each(|group| group.node = step.to);
            }
            view.groups.sort_by_key(|group| (group.node, group.id));
        }
        plan
    }

    #[test]
    fn under_every_policy_work_leaves_a_drained_node_at_once_and_none_comes() {
        for name in EVERY {
            let mut decider = decider(name);
            let mut calm = view(vec![node(0, 2.0, 0.0), node(1, 2.0, 0.0), node(2, 2.0, 0.0)]);
            settled(&mut decider, &mut calm);
            let mut now = CellView { nodes: vec![node(0, 2.0, 0.0), drained(1), node(2, 2.0, 0.0)], ..calm };
            let on_drained: Vec<GroupId> = now.groups_on(NodeId(1)).iter().map(|group| group.id).collect();
            let plan = decider.round(&now);
            for group in on_drained {
                assert!(plan.moves.iter().any(|step| step.group == group), "{name}: {plan:?}");
            }
            settled(&mut decider, &mut now);
            for _ in 0..50 {
                let plan = settled(&mut decider, &mut now);
                assert!(plan.moves.iter().all(|step| step.to != NodeId(1)), "{name}: {plan:?}");
                assert!(plan.first != Some(NodeId(1)) && plan.second != Some(NodeId(1)), "{name}: {plan:?}");
                assert!(!plan.spread.contains_key(&NodeId(1)), "{name}: {plan:?}");
                assert!(plan.fallback.values().all(|to| *to != NodeId(1)), "{name}: {plan:?}");
                assert!(now.groups_on(NodeId(1)).is_empty(), "{name}");
                if decider.steers() {
                    assert_eq!(plan.limits.get(&NodeId(1)), Some(&0.0), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_node_that_is_no_longer_drained_is_used_again() {
        for name in ["coarse", "fine", "auto"] {
            let mut decider = decider(name);
            let mut now = view(vec![node(0, 2.0, 0.0), drained(1), node(2, 2.0, 0.0)]);
            settled(&mut decider, &mut now);
            // All others are taken.
            now.nodes = vec![node(0, 2.0, 1.9), node(1, 2.0, 0.0), node(2, 2.0, 1.9)];
            settled(&mut decider, &mut now);
            assert!(!now.groups_on(NodeId(1)).is_empty(), "{name}: {:?}", now.groups);
        }
    }

    #[test]
    fn work_stays_on_a_drained_node_while_no_other_is_known() {
        let unknown = Node { pressure: Pressure::Unknown, ..node(0, 2.0, 0.0) };
        for name in EVERY.into_iter().filter(|name| *name != "rotate") {
            let plan = decider(name).round(&view(vec![unknown.clone(), drained(1)]));
            assert!(plan.moves.is_empty() && plan.first.is_none(), "{name}: {plan:?}");
        }
    }

    #[test]
    fn without_drained_nodes_nothing_is_copied() {
        assert!(matches!(without_drained(&view(vec![node(0, 1.0, 0.0)])), Cow::Borrowed(_)));
    }
}
