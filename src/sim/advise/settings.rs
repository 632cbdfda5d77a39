//! The settings that are compared, each as an operator could set it.

use std::collections::BTreeSet;

use crate::cell::{CellView, NodeId};
use crate::policy::{Decider, GuardOptions, Order, PolicyName, PolicySettings, World};

/// Up to this many nodes each number of them is tried.
const NODES_MAX: usize = 4;
/// Longer intervals, in rounds of the log. Shorter ones can't be simulated: the log has no more than it has.
const LONGER: [usize; 2] = [2, 4];

/// A setting.
#[derive(Clone, Debug)]
pub struct Setting {
    /// As options of the daemon.
    pub name: String,
    /// Rounds of the log that make one.
    pub merged: usize,
    /// Nodes that are drained.
    pub drained: BTreeSet<NodeId>,
    policy: PolicyName,
    order: Order,
    /// Conditions of moves, in rounds of this setting.
    guards: Option<GuardOptions>,
}

impl Setting {
    /// What decides, in rounds of `round_s` seconds; `None` if nothing moves.
    pub fn decider(&self, round_s: f64) -> Option<Decider> {
        let settings = PolicySettings { order: self.order, ..PolicySettings::live(self.guards.as_ref(), round_s) };
        (self.policy != PolicyName::NONE).then(|| Decider::new(self.policy.make(&settings), self.guards))
    }
}

/// The log's own settings, and others. `by_pressure` has the nodes with CPUs, the one of which others took most first.
pub fn settings(
    policy: PolicyName,
    guards: Option<GuardOptions>,
    view: &CellView,
    by_pressure: &[NodeId],
) -> Vec<Setting> {
    let name = format!("as in the log ({policy})");
    let own = Setting { name, merged: 1, drained: BTreeSet::new(), policy, order: Order::default(), guards };
    let mut all = vec![own.clone()];
    if policy != PolicyName::NONE {
        all.push(Setting { name: "nothing moves".to_owned(), policy: PolicyName::NONE, ..own.clone() });
    }
    // Guards of a log without any are the daemon's for the thesis's rounds.
    let with_guards = Some(guards.unwrap_or(GuardOptions::with_cool_down(3)));
    for other in PolicyName::all(World::Live).filter(|other| *other != policy) {
        all.push(Setting { name: format!("--policy {other}"), policy: other, guards: with_guards, ..own.clone() });
    }
    let thesis = "--policy coarse --no-guards".to_owned();
    if policy != PolicyName::COARSE || guards.is_some() {
        all.push(Setting { name: thesis, policy: PolicyName::COARSE, guards: None, ..own.clone() });
    }
    if policy == PolicyName::NONE {
        return all;
    }
    all.extend(LONGER.map(|merged| Setting {
        name: format!("--interval {merged} times as long"),
        merged,
        guards: guards.map(|guards| longer(guards, merged as u32)),
        ..own.clone()
    }));
    let drained_already: Vec<NodeId> = view.nodes.iter().filter(|node| node.drained).map(|node| node.id).collect();
    let nr = by_pressure.len();
    let fewer = (1..nr).filter(|count| nr <= NODES_MAX || [1, nr / 2, nr - 1].contains(count));
    all.extend(fewer.map(|count| {
        let drained: BTreeSet<NodeId> = by_pressure[..count].iter().copied().chain(drained_already.clone()).collect();
        let named: Vec<String> = by_pressure[..count].iter().map(NodeId::to_string).collect();
        let left = nr - count;
        let nodes = if left == 1 { "node" } else { "nodes" };
        let name = match count {
            ..=NODES_MAX => format!("drain {} ({left} {nodes} left)", named.join(" ")),
            _ => format!("drain the {count} busiest ({left} {nodes} left)"),
        };
        Setting { name, drained, ..own.clone() }
    }));
    all
}

/// The same times in fewer rounds. Work that leaves needs two bad rounds, as with the daemon's defaults.
fn longer(guards: GuardOptions, merged: u32) -> GuardOptions {
    GuardOptions {
        bad_rounds: guards.bad_rounds.div_ceil(merged).max(guards.bad_rounds.min(2)),
        cool_down_rounds: guards.cool_down_rounds.div_ceil(merged),
        ..guards
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_cell::{cell, node};

    fn names(policy: PolicyName, nr_nodes: u32) -> Vec<String> {
        let view = cell((0..nr_nodes).map(|id| node(id, 1.0, 0.0)).collect(), Vec::new());
        let nodes: Vec<NodeId> = (0..nr_nodes).map(NodeId).collect();
        let settings = settings(policy, Some(GuardOptions::with_cool_down(3)), &view, &nodes);
        settings.into_iter().map(|setting| setting.name).collect()
    }

    #[test]
    fn settings_are_the_logs_own_others_longer_intervals_and_fewer_nodes() {
        let wanted = [
            "as in the log (auto)",
            "nothing moves",
            "--policy coarse",
            "--policy fine",
            "--policy coarse --no-guards",
            "--interval 2 times as long",
            "--interval 4 times as long",
            "drain 0 (2 nodes left)",
            "drain 0 1 (1 node left)",
        ];
        assert_eq!(names(PolicyName::AUTO, 3), wanted);
        let many = names(PolicyName::AUTO, 64);
        assert!(many.ends_with(&[
            "drain 0 (63 nodes left)".to_owned(),
            "drain the 32 busiest (32 nodes left)".to_owned(),
            "drain the 63 busiest (1 node left)".to_owned()
        ]));
        assert!(!names(PolicyName::NONE, 3).iter().any(|name| name.contains("interval")));
    }

    #[test]
    fn guards_of_longer_rounds_last_as_long() {
        let guards = GuardOptions { bad_rounds: 4, ..GuardOptions::with_cool_down(10) };
        let times = [1, 2, 4].map(|merged| longer(guards, merged)).map(|it| (it.bad_rounds, it.cool_down_rounds));
        assert_eq!(times, [(4, 10), (2, 5), (2, 3)]);
    }
}
