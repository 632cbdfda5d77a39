//! Hysteresis for any policy: no move on a short spike, and none so soon after the last that the last can't have paid
//! off.
//!
//! Guards keep state between rounds. They read no clock: they count rounds.

use std::collections::{BTreeMap, BTreeSet};

use crate::cell::{CellView, GroupId, Move, Node, NodeId, Outcome, Plan, Verdict};

/// The conditions under which a plan's moves are let through.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GuardOptions {
    /// A round is bad for a node if others take at least this share of it, 0..=1. A move must also reduce the share
    /// that others take by at least this much.
    #[serde(alias = "bad_share")]
    pub enter_share: f64,
    /// A series of bad rounds ends when others take less than this share, 0..=1. Between this and `enter_share` the
    /// series neither ends nor grows.
    #[serde(alias = "calm_share")]
    pub exit_share: f64,
    /// Work leaves a node after this many consecutive bad rounds.
    pub bad_rounds: u32,
    /// From this share on, 0..=1, a single bad round is enough.
    pub severe_share: f64,
    /// Rounds that must pass between two moves. Moves from severe pressure to a node without it skip the cool-down,
    /// since the last move may have been a mistake. Each mistake rules out one node, so the number of such moves in a
    /// row is less than the number of nodes; then one must wait.
    pub cool_down_rounds: u32,
}

impl GuardOptions {
    /// The daemon's defaults for rounds of 2 s, with the given cool-down.
    pub fn with_cool_down(cool_down_rounds: u32) -> Self {
        GuardOptions { enter_share: 0.05, exit_share: 0.02, bad_rounds: 2, severe_share: 0.25, cool_down_rounds }
    }
}

/// Lets a policy's moves through or holds them back.
#[derive(Clone, Debug)]
pub struct Guards {
    options: GuardOptions,
    bad_rounds: BTreeMap<NodeId, u32>,
    cooling_rounds: u32,
    /// Rounds with moves that skipped the cool-down since the last that did not.
    nr_corrections: usize,
}

impl Guards {
    /// Start as if every round so far had been calm.
    pub fn new(options: GuardOptions) -> Self {
        Guards { options, bad_rounds: BTreeMap::new(), cooling_rounds: 0, nr_corrections: 0 }
    }

    /// Go by other conditions from now on, with the counts so far.
    pub fn set_options(&mut self, options: GuardOptions) {
        self.options = options;
        self.cooling_rounds = self.cooling_rounds.min(options.cool_down_rounds);
    }

    /// Update the series of bad rounds. The first call of each round.
    pub fn observe(&mut self, view: &CellView) {
        for node in &view.nodes {
            let bad_rounds = self.bad_rounds.entry(node.id).or_default();
            *bad_rounds = match badness(node, &self.options) {
                Badness::Severe => self.options.bad_rounds,
                Badness::Bad => bad_rounds.saturating_add(1),
                Badness::Between => *bad_rounds,
                Badness::Calm => 0,
            };
        }
    }

    /// The plan without the moves that must wait.
    pub fn filter(&self, view: &CellView, mut plan: Plan) -> Plan {
        for verdict in &mut plan.verdicts {
            let moves = matches!(verdict.outcome, Outcome::Moves { .. });
            let node = view.node(verdict.node).filter(|node| moves && node.capacity_cpus > 0.0);
            let Some(node) = node else { continue };
            let held = self.hold(node, view.nodes.len()).or_else(|| self.drop_gainless(view, node, &mut plan.moves));
            if let Some(held) = held {
                *verdict = Verdict { node: verdict.node, outcome: held };
            }
        }
        let goes = |node| plan.verdicts.iter().any(|v| v.node == node && matches!(v.outcome, Outcome::Moves { .. }));
        plan.moves.retain(|step| goes(step.from));
        plan
    }

    /// Remove the moves of `node` whose destination is under nearly the same pressure and, during the cool-down, those
    /// whose destination is under severe pressure. Returns the new outcome for the node's work if any move was removed.
    fn drop_gainless(&self, view: &CellView, node: &Node, moves: &mut Vec<Move>) -> Option<Outcome> {
        // If the node's pressure is unknown, any node of known pressure is better.
        let pressure_share = node.pressure.share()?;
        let share_of = |id| view.node(id).and_then(|to| to.pressure.share()).unwrap_or(0.0);
        let is_better = |share: f64| share <= pressure_share - self.options.enter_share;
        let must_wait = |share: f64| self.cooling_rounds > 0 && share >= self.options.severe_share;
        let gains = |step: &Move| is_better(share_of(step.to)) && !must_wait(share_of(step.to));
        let destination_share =
            moves.iter().find(|step| step.from == node.id && !gains(step)).map(|step| share_of(step.to))?;
        moves.retain(|step| step.from != node.id || gains(step));
        let left: BTreeSet<GroupId> = moves.iter().filter(|step| step.from == node.id).map(|step| step.group).collect();
        if left.is_empty() {
            return Some(if is_better(destination_share) {
                Outcome::CoolingDown { rounds_left: self.cooling_rounds }
            } else {
                Outcome::GainTooSmall { pressure_share, destination_share }
            });
        }
        let left = view.groups_on(node.id).iter().filter(|group| left.contains(&group.id));
        Some(Outcome::Moves { moved_cpus: left.map(|group| group.demand.usage_cpus).sum() })
    }

    /// Return true if `plan` leaves work under severe pressure although the guards would let it leave, because no other
    /// node is known to be better. The readings of the other nodes may be old.
    pub fn is_stuck(&self, view: &CellView, plan: &Plan) -> bool {
        let is_severe = |node: &Node| node.pressure.share().is_some_and(|share| share >= self.options.severe_share);
        let stays = |node: &Node| plan.moves.iter().all(|step| step.from != node.id);
        let may_leave = |node: &Node| self.hold(node, view.nodes.len()).is_none();
        let has_work = |node: &Node| !view.groups_on(node.id).is_empty();
        view.nodes.iter().any(|node| is_severe(node) && has_work(node) && stays(node) && may_leave(node))
    }

    /// Update the cool-down. The last call of each round.
    pub fn commit(&mut self, plan: &Plan) {
        if plan.moves.is_empty() {
            self.cooling_rounds = self.cooling_rounds.saturating_sub(1);
        } else {
            self.nr_corrections = if self.cooling_rounds > 0 { self.nr_corrections + 1 } else { 0 };
            self.cooling_rounds = self.options.cool_down_rounds;
        }
    }

    /// Why a node's work must wait; `None` if it may leave.
    fn hold(&self, node: &Node, nr_nodes: usize) -> Option<Outcome> {
        let GuardOptions { enter_share, bad_rounds: needed_rounds, .. } = self.options;
        let bad_rounds = self.bad_rounds.get(&node.id).copied().unwrap_or(0);
        let pressure_share = node.pressure.share();
        if bad_rounds == 0 || pressure_share.is_some_and(|share| share < enter_share) {
            return Some(Outcome::Calm { pressure_share: pressure_share.unwrap_or(0.0), enter_share });
        }
        if bad_rounds < needed_rounds {
            return Some(Outcome::NotSustained { bad_rounds, needed_rounds });
        }
        let is_severe = pressure_share.is_some_and(|share| share >= self.options.severe_share);
        let corrects = is_severe && self.nr_corrections + 1 < nr_nodes;
        let must_wait = self.cooling_rounds > 0 && !corrects;
        must_wait.then_some(Outcome::CoolingDown { rounds_left: self.cooling_rounds })
    }
}

enum Badness {
    Severe,
    Bad,
    Between,
    Calm,
}

/// A node of unknown pressure is bad: it may be about to fail.
fn badness(node: &Node, options: &GuardOptions) -> Badness {
    match node.pressure.share() {
        Some(share) if share < options.exit_share => Badness::Calm,
        Some(share) if share < options.enter_share => Badness::Between,
        Some(share) if share >= options.severe_share => Badness::Severe,
        Some(_) | None => Badness::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Pressure;
    use crate::policy::test_cell::{cell, group, node};
    use crate::policy::{Coarse, Memory, Policy};

    fn round_of(guards: &mut Guards, view: &CellView) -> Plan {
        guards.observe(view);
        let plan = guards.filter(view, Coarse::on_steal(f64::MIN_POSITIVE).decide(view, &Memory::default()));
        guards.commit(&plan);
        plan
    }

    /// The outcomes for node 0's work in rounds in which others take these shares of node 0; node 1 is idle.
    fn outcomes(guards: &mut Guards, shares: &[f64]) -> Vec<&'static str> {
        let round = |&share: &f64| {
            let view = cell(vec![node(0, 1.0, share), node(1, 1.0, 0.0)], vec![group(7, 0, 0.5)]);
            let plan = round_of(guards, &view);
            match plan.verdicts.first().map(|verdict| verdict.outcome) {
                Some(Outcome::Moves { .. }) => "moves",
                Some(Outcome::Calm { .. }) => "calm",
                Some(Outcome::NotSustained { .. }) => "not yet",
                Some(Outcome::CoolingDown { .. }) => "cooling",
                _ => "other",
            }
        };
        shares.iter().map(round).collect()
    }

    #[test]
    fn work_leaves_after_two_consecutive_bad_rounds_and_not_after_one() {
        let mut guards = Guards::new(GuardOptions::with_cool_down(3));
        assert_eq!(outcomes(&mut guards, &[0.2, 0.01, 0.2, 0.2]), ["not yet", "calm", "not yet", "moves"]);
    }

    #[test]
    fn one_severe_round_is_enough() {
        assert_eq!(outcomes(&mut Guards::new(GuardOptions::with_cool_down(3)), &[0.01, 0.3]), ["calm", "moves"]);
    }

    #[test]
    fn between_the_thresholds_a_series_of_bad_rounds_neither_ends_nor_grows() {
        let mut guards = Guards::new(GuardOptions::with_cool_down(3));
        assert_eq!(outcomes(&mut guards, &[0.04, 0.06, 0.04, 0.06]), ["calm", "not yet", "calm", "moves"]);
    }

    #[test]
    fn the_next_move_waits_for_the_cool_down() {
        let mut guards = Guards::new(GuardOptions::with_cool_down(3));
        let bad = [0.2; 7];
        let expected = ["not yet", "moves", "cooling", "cooling", "cooling", "moves", "cooling"];
        assert_eq!(outcomes(&mut guards, &bad), expected);
    }

    #[test]
    fn with_two_nodes_one_move_out_of_severe_pressure_skips_the_cool_down() {
        let mut guards = Guards::new(GuardOptions::with_cool_down(3));
        let severe = [0.3; 8];
        let expected = ["moves", "moves", "cooling", "cooling", "cooling", "moves", "moves", "cooling"];
        assert_eq!(outcomes(&mut guards, &severe), expected);
    }

    #[test]
    fn severe_pressure_skips_the_cool_down_until_every_node_has_been_tried() {
        let mut guards = Guards::new(GuardOptions::with_cool_down(9));
        let nodes = vec![node(0, 1.0, 0.3), node(1, 1.0, 0.0), node(2, 1.0, 0.1), node(3, 1.0, 0.1)];
        let view = cell(nodes, vec![group(7, 0, 0.5)]);
        let moves = [(); 6].map(|()| round_of(&mut guards, &view).moves.len());
        assert_eq!(moves, [1, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn a_move_from_severe_to_severe_pressure_waits_for_the_cool_down() {
        let mut guards = Guards::new(GuardOptions::with_cool_down(2));
        let nodes = vec![node(0, 1.0, 0.5), node(1, 1.0, 0.3), node(2, 1.0, 0.3)];
        let view = cell(nodes, vec![group(7, 0, 0.1)]);
        let outcomes = [(); 4].map(|()| round_of(&mut guards, &view).verdicts[0].outcome);
        let moves = Outcome::Moves { moved_cpus: 0.1 };
        let cooling = |rounds_left| Outcome::CoolingDown { rounds_left };
        assert_eq!(outcomes, [moves, cooling(2), cooling(1), moves]);
    }

    #[test]
    fn work_leaves_a_node_of_unknown_pressure_after_as_many_rounds_as_a_bad_one() {
        let mut guards = Guards::new(GuardOptions::with_cool_down(3));
        let mut view = cell(vec![node(0, 1.0, 0.0), node(1, 1.0, 0.0)], vec![group(7, 0, 0.5)]);
        view.nodes[0].pressure = Pressure::Unknown;
        let mut admitted = || round_of(&mut guards, &view).moves.len();
        assert_eq!([admitted(), admitted()], [0, 1]);
    }

    #[test]
    fn work_is_not_sent_to_a_node_that_is_nearly_as_bad() {
        let view = |there| cell(vec![node(0, 1.0, 0.3), node(1, 1.0, there)], vec![group(7, 0, 0.5)]);
        let outcome =
            |there| round_of(&mut Guards::new(GuardOptions::with_cool_down(3)), &view(there)).verdicts[0].outcome;
        assert_eq!(outcome(0.27), Outcome::GainTooSmall { pressure_share: 0.3, destination_share: 0.27 });
        assert_eq!(outcome(0.2), Outcome::Moves { moved_cpus: 0.5 });
    }

    #[test]
    fn work_under_severe_pressure_is_stuck_while_all_other_nodes_seem_as_bad() {
        let is_stuck = |here, there| {
            let view = cell(vec![node(0, 1.0, here), node(1, 1.0, there)], vec![group(7, 0, 0.5)]);
            let mut guards = Guards::new(GuardOptions::with_cool_down(3));
            let plan = round_of(&mut guards, &view);
            (guards.is_stuck(&view, &plan), plan.moves.len())
        };
        assert_eq!(is_stuck(0.3, 0.9), (true, 0));
        assert_eq!(is_stuck(0.3, 0.29), (true, 0), "little better");
        assert_eq!(is_stuck(0.3, 0.0), (false, 1));
        assert_eq!(is_stuck(0.2, 0.9), (false, 0), "not severe");
    }

    #[test]
    fn moves_to_a_good_destination_remain_when_the_other_is_too_bad() {
        let nodes = vec![node(0, 1.0, 0.4), node(1, 1.0, 0.0), node(2, 1.0, 0.38)];
        let view = cell(nodes, vec![group(7, 0, 0.25), group(8, 0, 0.5)]);
        let step = |id, to| Move { group: GroupId(id), from: NodeId(0), to: NodeId(to) };
        let verdict = Verdict { node: NodeId(0), outcome: Outcome::Moves { moved_cpus: 0.75 } };
        let plan = Plan {
            first: Some(NodeId(1)),
            second: Some(NodeId(2)),
            moves: vec![step(7, 1), step(8, 2)],
            verdicts: vec![verdict],
            ..Plan::default()
        };
        let mut guards = Guards::new(GuardOptions::with_cool_down(3));
        guards.observe(&view);
        let plan = guards.filter(&view, plan);
        assert_eq!(plan.moves, [step(7, 1)]);
        assert_eq!(plan.verdicts[0].outcome, Outcome::Moves { moved_cpus: 0.25 });
    }

    #[test]
    fn work_leaves_a_node_without_cpus_at_once() {
        let view = cell(vec![node(0, 0.0, 0.0), node(1, 1.0, 0.0)], vec![group(7, 0, 0.5)]);
        let plan = round_of(&mut Guards::new(GuardOptions::with_cool_down(3)), &view);
        assert_eq!(plan.moves.len(), 1);
    }
}
