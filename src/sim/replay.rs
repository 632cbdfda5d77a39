//! What another policy would have decided in the rounds of a decision log.
//!
//! Each round is judged on its own: the view is the one that the recorded decisions led to, so a replay says how decisions
//! differ, not where another policy would have led.

use crate::cell::{Moved, Plan};
use crate::decision_log::LoggedRound;
use crate::policy::Policy;

/// One round under two policies.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Replayed {
    /// The round's number.
    pub round: u64,
    /// Whether both move the same groups to the same nodes.
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

/// Ask a policy what it would have decided; none decides to move nothing.
pub fn replay(round: LoggedRound, policy: Option<&dyn Policy>) -> Replayed {
    let plan = policy.map(|policy| policy.decide(&round.view)).unwrap_or_default();
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
