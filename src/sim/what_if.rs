//! Where a policy leads: the rounds of a decision log simulated again, with the work where the policy's plans send it.
//!
//! A [replay](super::replay) shows for each round what another policy would have decided from the recorded view. Here
//! its plans are carried out, so the next view results from them. The log provides what no plan changes: what others
//! and the guest's fixed tasks take of each node, and how much CPU the work wants. The outcome is a prediction of the
//! log's own run, or of another policy's run in its place.

use std::collections::BTreeMap;

use crate::cell::{CellView, Group, GroupId, Node, NodeId, Plan, Pressure};
use crate::decision_log::LoggedRound;
use crate::policy::Decider;

/// Below this share, where the guards start to call a node bad, work gets all the CPU that it wants.
pub(super) const UNPRESSED_SHARE: f64 = 0.05;

/// The outcome of a what-if simulation.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct WhatIf {
    /// Number of rounds.
    pub rounds: u64,
    /// Number of plans that moved something.
    pub moves: u64,
    /// Number of groups moved.
    pub moved_groups: u64,
    /// Mean share of each node's CPU that was busy with anything, 0..=1.
    pub utilisation: BTreeMap<NodeId, f64>,
    /// Mean CPU that the migratable work got, in the view's unit.
    pub work_cpus: f64,
}

/// What a log can't tell, and a simulation of it has to assume. The default is that of [`what_if`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assumptions {
    /// Others share a full node with the work by what each wants, instead of keeping what they took in the log.
    pub others_give_way: bool,
    /// The work wants what it used or waited for, where the log has that, instead of what it used on calm nodes.
    pub by_waiting: bool,
}

/// Simulate the rounds under a decider; without one, nothing moves.
///
/// Work gets what others leave it of its node's CPU: they compete as equals, and none wants more than the node has. It is held to
/// the limits of the decider's plans.
pub fn what_if(rounds: impl IntoIterator<Item = LoggedRound>, decider: Option<Decider>) -> WhatIf {
    let mut outcome = WhatIf::default();
    simulate(rounds, decider, Assumptions::default(), |view, plan| outcome.add(view, plan));
    outcome.average();
    outcome
}

/// Simulate the rounds under a decider, and hand each round's view and plan on; without a decider, nothing moves.
pub fn simulate(
    rounds: impl IntoIterator<Item = LoggedRound>,
    mut decider: Option<Decider>,
    assumptions: Assumptions,
    mut note: impl FnMut(&CellView, &Plan),
) {
    let mut cell = SimulatedCell { assumptions, ..SimulatedCell::default() };
    for round in rounds {
        let view = cell.next(&round.view);
        let Some(decider) = &mut decider else {
            note(&view, &Plan::default());
            continue;
        };
        let plan = decider.round(&view);
        note(&view, &plan);
        cell.carry_out(plan, decider.places_groups());
    }
}

/// State that is carried from round to round.
#[derive(Default)]
struct SimulatedCell {
    assumptions: Assumptions,
    /// What others take of each node, by the last known pressure.
    others_cpus: BTreeMap<NodeId, f64>,
    /// What stays on each node in this round: others and the guest's fixed tasks.
    staying_cpus: BTreeMap<NodeId, f64>,
    /// What each group uses if others leave it enough CPU.
    wanted_cpus: BTreeMap<GroupId, f64>,
    /// The node of each group.
    places: BTreeMap<GroupId, NodeId>,
    /// The node that all groups were sent to last, including those not seen yet.
    destination: Option<NodeId>,
    /// What the last plan holds work to.
    limits: BTreeMap<NodeId, f64>,
}

impl SimulatedCell {
    /// The view of a logged round, with the work on the nodes that it has been sent to.
    fn next(&mut self, logged: &CellView) -> CellView {
        for node in &logged.nodes {
            if let Some(others_cpus) = node.pressure_cpus() {
                self.others_cpus.insert(node.id, others_cpus);
            }
            let others_cpus = self.others_cpus.get(&node.id).copied().unwrap_or(0.0);
            let work_cpus: f64 = logged.groups_on(node.id).iter().map(|group| group.demand.usage_cpus).sum();
            // The load includes others' share, but rounding may make it smaller.
            let known_cpus = node.pressure_cpus().unwrap_or(0.0);
            let fixed_cpus = (node.load_cpus - known_cpus - work_cpus).max(0.0);
            self.staying_cpus.insert(node.id, others_cpus + fixed_cpus);
        }
        let mut groups: Vec<Group> = logged.groups.iter().map(|group| self.place(logged, group)).collect();
        groups.sort_by_key(|group| (group.node, group.id));
        let mut nodes = logged.nodes.clone();
        for node in &mut nodes {
            self.share(node, &mut groups);
        }
        // Where memory is follows from the logged plans, not from these.
        let residents = Vec::new();
        CellView { nodes, groups, residents, ..logged.clone() }
    }

    fn carry_out(&mut self, plan: Plan, places_groups: bool) {
        self.places.extend(plan.moves.iter().map(|step| (step.group, step.to)));
        if !places_groups && !plan.moves.is_empty() {
            self.destination = plan.first;
            self.places.values_mut().for_each(|place| *place = plan.first.unwrap_or(*place));
        }
        self.limits = plan.limits;
    }

    fn place(&mut self, logged: &CellView, group: &Group) -> Group {
        let others_share = logged.node(group.node).map(|node| node.pressure).and_then(Pressure::share);
        let wanted_cpus = self.wanted_cpus.entry(group.id).or_insert(group.demand.usage_cpus);
        match group.wanted_cpus.filter(|_| self.assumptions.by_waiting) {
            Some(waited_for) => *wanted_cpus = waited_for.max(group.demand.usage_cpus),
            None if others_share.is_some_and(|share| share < UNPRESSED_SHARE) => {
                *wanted_cpus = group.demand.usage_cpus;
            }
            None => {}
        }
        let mut placed = *group;
        placed.demand.usage_cpus = *wanted_cpus;
        placed.node = *self.places.entry(group.id).or_insert(self.destination.unwrap_or(group.node));
        placed
    }

    /// Scale the node's work to the CPU that is left, and set the node's load accordingly.
    fn share(&self, node: &mut Node, groups: &mut [Group]) {
        let staying_cpus = self.staying_cpus[&node.id];
        let mine = groups.iter().filter(|group| group.node == node.id);
        let wanted_cpus: f64 = mine.map(|group| group.demand.usage_cpus).sum();
        let all_cpus = staying_cpus + wanted_cpus;
        let left_cpus = match self.assumptions.others_give_way && all_cpus > node.capacity_cpus {
            true => node.capacity_cpus * wanted_cpus / all_cpus,
            false => (node.capacity_cpus - staying_cpus).max(0.0),
        };
        let left_cpus = self.limits.get(&node.id).map_or(left_cpus, |limit_cpus| left_cpus.min(*limit_cpus));
        let factor = if wanted_cpus > left_cpus { left_cpus / wanted_cpus } else { 1.0 };
        for group in groups.iter_mut().filter(|group| group.node == node.id) {
            if self.assumptions.by_waiting {
                group.wanted_cpus = group.wanted_cpus.map(|_| group.demand.usage_cpus);
            }
            group.demand.usage_cpus *= factor;
        }
        if self.assumptions.by_waiting {
            node.waiting_cpus = wanted_cpus * (1.0 - factor);
        }
        let others_cpus = match self.assumptions.others_give_way {
            true => staying_cpus.min((node.capacity_cpus - wanted_cpus * factor).max(0.0)),
            false => staying_cpus,
        };
        node.load_cpus = others_cpus + wanted_cpus * factor;
    }
}

impl WhatIf {
    fn add(&mut self, view: &CellView, plan: &Plan) {
        self.rounds += 1;
        self.moves += u64::from(!plan.moves.is_empty());
        self.moved_groups += plan.moves.len() as u64;
        self.work_cpus += view.groups.iter().map(|group| group.demand.usage_cpus).sum::<f64>();
        for node in view.nodes.iter().filter(|node| node.capacity_cpus > 0.0) {
            *self.utilisation.entry(node.id).or_default() += (node.load_cpus / node.capacity_cpus).min(1.0);
        }
    }

    /// Turn sums into means.
    fn average(&mut self) {
        let rounds = self.rounds.max(1) as f64;
        self.work_cpus /= rounds;
        self.utilisation.values_mut().for_each(|share| *share /= rounds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Move;
    use crate::policy::test_cell::{cell, group, node};
    use crate::policy::{Coarse, GuardOptions, Memory, Policy};

    fn decider(policy: impl Policy + 'static) -> Option<Decider> {
        Some(Decider::new(Box::new(policy), None))
    }

    /// Rounds in which others take these shares of nodes 0 and 1. A group is logged on node 0 and got the rest of it.
    fn rounds(shares: &[[f64; 2]]) -> Vec<LoggedRound> {
        let round = |(number, &[on_0, on_1]): (usize, &[f64; 2])| LoggedRound {
            round: number as u64 + 1,
            view: cell(vec![node(0, 1.0, on_0), node(1, 1.0, on_1)], vec![group(7, 0, 1.0 - on_0)]),
            plan: Plan::default(),
            observed: None,
        };
        shares.iter().enumerate().map(round).collect()
    }

    #[test]
    fn plans_are_carried_out_even_if_the_log_did_otherwise() {
        let shares = [[0.0, 0.0], [0.5, 0.0], [0.5, 0.0], [0.5, 0.0]];
        let outcome = what_if(rounds(&shares), decider(Coarse::on_steal(0.25)));
        assert_eq!((outcome.rounds, outcome.moves, outcome.moved_groups), (4, 1, 1));
        // Two rounds on node 0, in one of which others took half, and two on node 1.
        assert_eq!(outcome.work_cpus, (1.0 + 0.5 + 1.0 + 1.0) / 4.0);
        assert_eq!(outcome.utilisation[&NodeId(0)], (1.0 + 1.0 + 0.5 + 0.5) / 4.0);
        assert_eq!(outcome.utilisation[&NodeId(1)], 0.5);
    }

    #[test]
    fn without_a_policy_nothing_moves() {
        let outcome = what_if(rounds(&[[0.5, 0.0]; 3]), None);
        assert_eq!((outcome.moves, outcome.utilisation[&NodeId(1)]), (0, 0.0));
    }

    #[test]
    fn guards_hold_moves_back() {
        let options = GuardOptions { bad_rounds: 3, severe_share: 1.0, ..GuardOptions::with_cool_down(0) };
        let outcome =
            what_if(rounds(&[[0.5, 0.0]; 5]), Some(Decider::new(Box::new(Coarse::on_steal(0.25)), Some(options))));
        assert_eq!((outcome.moves, outcome.utilisation[&NodeId(1)]), (1, 2.0 * 0.5 / 5.0));
    }

    #[test]
    fn the_guests_fixed_tasks_stay_and_take_their_share() {
        let mut log = rounds(&[[0.0, 0.0]; 2]);
        // The work wants 0.75, others nothing. Fixed tasks take 0.25 of node 0 and 0.5 of node 1.
        for round in &mut log {
            round.view.groups[0].demand.usage_cpus = 0.75;
            round.view.nodes[1].load_cpus = 0.5;
        }
        let outcome = what_if(log, None);
        assert_eq!((outcome.work_cpus, outcome.utilisation[&NodeId(0)]), (0.75, 1.0));
        assert_eq!(outcome.utilisation[&NodeId(1)], 0.5);
    }

    /// The same decisions, but with a destination for each group.
    struct OneByOne(Coarse);

    impl Policy for OneByOne {
        fn name(&self) -> &'static str {
            "one by one"
        }

        fn decide(&self, cell: &CellView, memory: &Memory) -> Plan {
            self.0.decide(cell, memory)
        }

        fn places_groups(&self) -> bool {
            true
        }
    }

    #[test]
    fn groups_that_did_not_run_move_along_unless_the_policy_places_groups() {
        // Group 8 is not in the view of the round in which group 7 leaves node 0.
        let mut log = rounds(&[[0.0, 0.0], [0.9, 0.0], [0.9, 0.0]]);
        for at in [0, 2] {
            log[at].view.groups[0].demand.usage_cpus = 0.25;
            log[at].view.groups.push(group(8, 0, 0.25));
        }
        let utilisation = |decider| what_if(log.clone(), decider).utilisation[&NodeId(1)];
        assert_eq!(utilisation(decider(Coarse::on_steal(0.25))), 0.5 / 3.0);
        assert_eq!(utilisation(decider(OneByOne(Coarse::on_steal(0.25)))), 0.25 / 3.0);
    }

    #[test]
    fn the_logs_own_moves_have_no_effect() {
        let mut log = rounds(&[[0.0, 0.0]; 3]);
        log[0].plan.moves.push(Move { group: GroupId(7), from: NodeId(0), to: NodeId(1) });
        log[1].view.groups[0].node = NodeId(1);
        assert_eq!(what_if(log, None).utilisation[&NodeId(0)], 1.0);
    }
}
