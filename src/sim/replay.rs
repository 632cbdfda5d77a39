//! What another policy would have decided in the rounds of a decision log.
//!
//! Each round is judged on its own: its view results from the recorded decisions. A replay therefore shows how
//! decisions differ, not what another policy would have led to; [`what_if`](super::what_if) shows that.

use crate::cell::{Moved, Plan};
use crate::decision_log::LoggedRound;
use crate::policy::Decider;

/// One round under two policies.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Replayed {
    /// Number of the round.
    pub round: u64,
    /// True if both plans move the same groups to the same nodes.
    pub same: bool,
    /// What the log's plan moves.
    pub logged: Moved,
    /// What the other policy would have moved.
    pub replayed: Moved,
    /// The log's plan.
    pub logged_plan: Plan,
    /// The other policy's plan.
    pub replayed_plan: Plan,
}

/// Let another decider decide a round of a log; without a decider nothing moves.
///
/// The decider observes the log's views and commits the log's plans, so its guards are in the state that the recorded
/// decisions led to.
pub fn replay(round: LoggedRound, decider: Option<&mut Decider>) -> Replayed {
    let plan = decider.map(|decider| {
        decider.observe(&round.observed_view());
        let plan = decider.decide(&round.view);
        decider.commit(&round.view, &round.plan);
        plan
    });
    let plan = plan.unwrap_or_default();
    let in_order = |plan: &Plan| {
        let mut moves: Vec<_> = plan.moves.iter().map(|step| (step.group, step.from, step.to)).collect();
        moves.sort_unstable();
        moves
    };
    Replayed {
        round: round.round,
        same: in_order(&round.plan) == in_order(&plan),
        logged: round.plan.moved(&round.view),
        replayed: plan.moved(&round.view),
        logged_plan: round.plan,
        replayed_plan: plan,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_cell::{cell, group, node};
    use crate::policy::{Coarse, GuardOptions};

    fn decider() -> Decider {
        let options = GuardOptions { bad_rounds: 2, severe_share: 1.0, ..GuardOptions::with_cool_down(3) };
        Decider::new(Box::new(Coarse::on_steal(0.25)), Some(options))
    }

    /// The log of `decider` for views in which others take half of node 0; its moves have no effect on the views.
    fn log() -> Vec<LoggedRound> {
        let mut live = decider();
        let round = |number| {
            let view = cell(vec![node(0, 1.0, 0.5), node(1, 1.0, 0.0)], vec![group(7, 0, 0.4)]);
            LoggedRound { round: number, plan: live.round(&view), view, observed: None }
        };
        (1..=8).map(round).collect()
    }

    #[test]
    fn replaying_a_log_with_its_own_decider_gives_the_same_plans() {
        let mut again = decider();
        let replayed: Vec<Replayed> = log().into_iter().map(|round| replay(round, Some(&mut again))).collect();
        assert!(replayed.iter().all(|round| round.same));
        let moves: Vec<usize> = replayed.iter().map(|round| round.replayed_plan.moves.len()).collect();
        assert_eq!(moves, [0, 1, 0, 0, 0, 1, 0, 0], "two bad rounds lead to a move, then the cool-down holds");
    }

    #[test]
    fn without_guards_the_same_policy_moves_more() {
        let mut unguarded = Decider::new(Box::new(Coarse::on_steal(0.25)), None);
        let differ = log().into_iter().filter(|round| !replay(round.clone(), Some(&mut unguarded)).same).count();
        assert_eq!(differ, 6);
    }
}
