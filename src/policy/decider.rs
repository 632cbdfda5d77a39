//! One round of deciding: a policy, the guards that hold its moves back, and the memory of both.
//!
//! The daemon, the replay of a log and the what-if simulation all decide through this type, so the three can't drift
//! apart. A round is [`observe`](Decider::observe), [`decide`](Decider::decide) and [`commit`](Decider::commit). Before
//! the commit the daemon may *confirm*: if the plan moves work, or leaves work under severe pressure, the daemon
//! measures the other nodes again and decides again from the fresher view.

use std::collections::BTreeSet;

use super::drained::{self, without_drained};
use super::{GuardOptions, Guards, Memory, Policy};
use crate::cell::{CellView, GroupId, NodeId, Plan};

/// A policy under guards. It reads no clock: it counts rounds.
pub struct Decider {
    policy: Box<dyn Policy>,
    guards: Option<Guards>,
    memory: Memory,
}

impl Decider {
    /// Put a policy under guards. Without guards every plan is carried out at once.
    pub fn new(policy: Box<dyn Policy>, guards: Option<GuardOptions>) -> Self {
        let guards = guards.filter(|_| !policy.remembers()).map(Guards::new);
        Decider { policy, guards, memory: Memory::default() }
    }

    /// Decide by other settings from now on. The same policy goes on with what it remembers.
    pub fn reconfigure(&mut self, policy: Box<dyn Policy>, guards: Option<GuardOptions>) {
        let guards = guards.filter(|_| !policy.remembers());
        if policy.name() != self.policy.name() {
            *self = Decider::new(policy, guards);
            return;
        }
        self.policy = policy;
        self.guards = match (self.guards.take(), guards) {
            (Some(mut present), Some(options)) => {
                present.set_options(options);
                Some(present)
            }
            (_, options) => options.map(Guards::new),
        };
    }

    /// The policy's name, as in `--policy`.
    pub fn name(&self) -> &'static str {
        self.policy.name()
    }

    /// See [`Policy::steers`].
    pub fn steers(&self) -> bool {
        self.policy.steers()
    }

    /// See [`Policy::places_groups`].
    pub fn places_groups(&self) -> bool {
        self.policy.places_groups()
    }

    /// See [`Policy::uses_links`].
    pub fn uses_links(&self) -> bool {
        self.policy.uses_links()
    }

    /// See [`Policy::weighs_memory`].
    pub fn weighs_memory(&self) -> bool {
        self.policy.weighs_memory()
    }

    /// See [`Policy::clusters`].
    pub fn clusters(&self) -> &[Vec<GroupId>] {
        self.policy.clusters(&self.memory)
    }

    /// Update the policy and the guards with a round's view. The first call of each round.
    pub fn observe(&mut self, view: &CellView) {
        let view = &*without_drained(view);
        if let Some(guards) = &mut self.guards {
            guards.observe(view);
        }
        self.policy.observe(view, &mut self.memory);
    }

    /// The plan for a view. This changes no state, so it may be called again after a confirmation.
    pub fn decide(&self, view: &CellView) -> Plan {
        let seen = &*without_drained(view);
        let plan = self.policy.decide(seen, &self.memory);
        let plan = match &self.guards {
            Some(guards) => guards.filter(seen, plan),
            None => plan,
        };
        drained::obey(view, plan, self.steers())
    }

    /// Whether fresh measurements should confirm the plan before it is carried out: if it moves work, or if it leaves
    /// work under severe pressure because no better node is known.
    pub fn needs_confirmation(&self, view: &CellView, plan: &Plan) -> Confirmation {
        if !plan.moves.is_empty() {
            Confirmation::Now
        } else if self.is_stuck(view, plan) {
            Confirmation::WhenRested
        } else {
            Confirmation::NotNeeded
        }
    }

    /// The nodes whose readings decide a plan that needs confirmation. A policy that steers names its destinations node by node;
    /// the others compare all nodes. Each measurement loads a host for a moment.
    pub fn nodes_to_confirm(&self, view: &CellView, plan: &Plan) -> BTreeSet<NodeId> {
        if self.steers() && !plan.moves.is_empty() {
            plan.moves.iter().map(|step| step.to).collect()
        } else if plan.watch.is_empty() {
            view.nodes.iter().filter(|node| !node.drained).map(|node| node.id).collect()
        } else {
            plan.watch.clone()
        }
    }

    /// Update the policy and the guards with the plan that is carried out. The last call of each round.
    pub fn commit(&mut self, view: &CellView, plan: &Plan) {
        let view = &*without_drained(view);
        if let Some(guards) = &mut self.guards {
            guards.commit(plan);
        }
        self.policy.commit(view, plan, &mut self.memory);
    }

    fn is_stuck(&self, view: &CellView, plan: &Plan) -> bool {
        let view = &*without_drained(view);
        let by_guards = self.guards.as_ref().is_some_and(|guards| guards.is_stuck(view, plan));
        by_guards || self.policy.is_stuck(view, plan, &self.memory)
    }

    /// Run a whole round without a confirmation.
    pub fn round(&mut self, view: &CellView) -> Plan {
        self.observe(view);
        let plan = self.decide(view);
        self.commit(view, &plan);
        plan
    }
}

/// Whether fresh measurements should confirm a plan before it is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The plan moves nothing that a fresher view could stop.
    NotNeeded,
    /// Work is stuck under severe pressure: measure, but only after a pause, since a measurement loads every node.
    WhenRested,
    /// Work is about to move: measure now.
    Now,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Move;
    use crate::policy::test_cell::{cell, group, node};
    use crate::policy::{Auto, Coarse};

    fn decider(bad_rounds: u32) -> Decider {
        let options = GuardOptions { bad_rounds, severe_share: 1.0, ..GuardOptions::with_cool_down(2) };
        Decider::new(Box::new(Coarse::on_steal(0.25)), Some(options))
    }

    fn pressed() -> CellView {
        cell(vec![node(0, 1.0, 0.5), node(1, 1.0, 0.0)], vec![group(7, 0, 0.4)])
    }

    #[test]
    fn a_move_needs_its_bad_rounds_and_then_a_confirmation() {
        let mut decider = decider(2);
        assert!(decider.round(&pressed()).moves.is_empty());
        decider.observe(&pressed());
        let plan = decider.decide(&pressed());
        assert_eq!(plan.moves.len(), 1);
        assert_eq!(decider.needs_confirmation(&pressed(), &plan), Confirmation::Now);
        assert_eq!(decider.decide(&pressed()), plan, "deciding changes nothing");
    }

    #[test]
    fn a_committed_move_starts_the_cool_down() {
        let mut decider = decider(1);
        assert_eq!(decider.round(&pressed()).moves.len(), 1);
        assert!(decider.round(&pressed()).moves.is_empty(), "the last move was too recent");
    }

    #[test]
    fn without_guards_every_plan_is_carried_out() {
        let mut decider = Decider::new(Box::new(Coarse::on_steal(0.25)), None);
        for _ in 0..3 {
            assert_eq!(decider.round(&pressed()).moves.len(), 1);
        }
    }

    #[test]
    fn a_policy_that_steers_confirms_its_destinations_and_others_confirm_all_nodes() {
        let nodes = [0, 1, 2].map(|id| node(id, 1.0, if id == 0 { 0.5 } else { 0.0 })).to_vec();
        let view = cell(nodes, vec![group(7, 0, 0.4)]);
        let moves = vec![Move { group: GroupId(7), from: NodeId(0), to: NodeId(2) }];
        let plan = Plan { moves, ..Plan::default() };
        assert_eq!(decider(2).nodes_to_confirm(&view, &plan), [0, 1, 2].map(NodeId).into());
        let steering = Decider::new(Box::new(Auto::default()), None);
        assert_eq!(steering.nodes_to_confirm(&view, &plan), [NodeId(2)].into());
        assert_eq!(steering.nodes_to_confirm(&view, &Plan::default()), [0, 1, 2].map(NodeId).into());
        let stuck = Plan { watch: [NodeId(1)].into(), ..Plan::default() };
        assert_eq!(steering.nodes_to_confirm(&view, &stuck), [NodeId(1)].into());
    }

    #[test]
    fn work_stuck_under_severe_pressure_asks_for_a_confirmation_after_a_pause() {
        let mut decider = Decider::new(Box::new(Coarse::on_steal(0.25)), Some(GuardOptions::with_cool_down(2)));
        let stuck = cell(vec![node(0, 1.0, 0.6), node(1, 1.0, 0.6)], vec![group(7, 0, 0.4)]);
        decider.observe(&stuck);
        let plan = decider.decide(&stuck);
        assert_eq!(decider.needs_confirmation(&stuck, &plan), Confirmation::WhenRested);
        let calm = cell(vec![node(0, 1.0, 0.0), node(1, 1.0, 0.0)], vec![group(7, 0, 0.4)]);
        assert_eq!(decider.needs_confirmation(&calm, &Plan::default()), Confirmation::NotNeeded);
    }
}
