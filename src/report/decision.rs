//! A decision in words, with the numbers that made it.

use super::Round;
use crate::cell::{CellView, Outcome, Plan, Pressure};

/// One line: what happens, why, and what was seen.
pub fn in_words(round: &Round) -> String {
    let what = match (round.plan.moves.is_empty(), round.retargeted) {
        (true, _) => format!("stay on node {}", round.destination),
        (false, None) => format!("would move from node {} to {}", round.destination, destination(&round.plan)),
        (false, Some(done)) => {
            let to = destination(&round.plan);
            format!("epoch {}: move from node {} to {to}", done.epoch, round.destination)
        }
    };
    let mut line = format!("round {}: {what}: {}; {}", round.number, why(round), steal_in_words(&round.view));
    if let Some(done) = round.retargeted {
        let Round { retarget_cpu_us, .. } = round;
        let (moved, kicked) = (counted(done.nr_moved.into(), "queued task"), counted(done.nr_kicked.into(), "CPU"));
        line += &format!("; {moved} moved, {kicked} kicked, {retarget_cpu_us} us");
    }
    line
}

/// Return true if `now` says something else than `before`: worth a line of its own.
pub fn is_news(before: Option<&Plan>, now: &Plan) -> bool {
    let kinds = |plan: &Plan| -> Vec<_> {
        plan.verdicts.iter().map(|verdict| (verdict.node, std::mem::discriminant(&verdict.outcome))).collect()
    };
    !now.moves.is_empty() || before.is_none_or(|before| kinds(before) != kinds(now))
}

fn destination(plan: &Plan) -> String {
    let id = |node: Option<_>| node.map_or("none".to_string(), |node: crate::cell::NodeId| node.to_string());
    match plan.second {
        None => id(plan.first),
        second => format!("{} and {}", id(plan.first), id(second)),
    }
}

fn why(round: &Round) -> String {
    let here = round.plan.verdicts.iter().find(|verdict| verdict.node == round.destination);
    match here.map(|verdict| verdict.outcome) {
        None if round.plan.first.is_none() => "no node's pressure is known".into(),
        None if round.plan.first == Some(round.destination) => "it is the least loaded node".into(),
        None => "no migratable task ran".into(),
        Some(outcome) => reason(outcome, round),
    }
}

fn reason(outcome: Outcome, round: &Round) -> String {
    let node = round.destination;
    match outcome {
        Outcome::Moves { moved_cpus } => {
            let seen = round.view.node(node);
            let others = match seen.and_then(|node| node.pressure_cpus()) {
                Some(cpus) => format!("others take {cpus:.2} CPU of node {node}"),
                None if seen.is_some_and(|node| node.capacity_cpus > 0.0) => {
                    format!("nothing is known of node {node}'s host")
                }
                None => format!("node {node} has no CPU online"),
            };
            let groups = counted(round.plan.moves.len() as u64, "group");
            let verb = if round.plan.moves.len() == 1 { "moves" } else { "move" };
            format!("{others}; {groups} using {moved_cpus:.2} CPU {verb}")
        }
        Outcome::BelowTrigger { pressure_cpus, trigger_cpus } => {
            format!("others take {pressure_cpus:.2} CPU of it, less than {trigger_cpus:.2}")
        }
        Outcome::DestinationWouldExceedSource { destination_cpus, source_cpus } => {
            format!("the least loaded node would be at {destination_cpus:.2} CPU, more than its {source_cpus:.2}")
        }
        Outcome::MostlyOwnLoad { moved_cpus, source_cpus } => {
            format!("{moved_cpus:.2} of its {source_cpus:.2} CPU is the migratable work itself")
        }
        Outcome::PastWarning { destination_cpus, warning_cpus } => {
            format!("the least loaded node would be at {destination_cpus:.2} CPU, past the line of {warning_cpus:.2}")
        }
        Outcome::TooLittle { moved_cpus, min_gain_cpus } => {
            format!("only {moved_cpus:.2} CPU would move, not more than {min_gain_cpus:.2}")
        }
        Outcome::Calm { pressure_share, bad_share } => {
            format!("others take {:.1} % of it, less than {:.1} %", pressure_share * 100.0, bad_share * 100.0)
        }
        Outcome::NotYet { bad_rounds, needed_rounds } => {
            format!("it has been bad for {bad_rounds} of {}", counted(needed_rounds.into(), "round"))
        }
        Outcome::CoolingDown { rounds_left } => {
            format!("it is bad, but the last move was too recent: {}", counted(rounds_left.into(), "more round"))
        }
    }
}

/// `1 group`, `2 groups`.
fn counted(nr: u64, noun: &str) -> String {
    match nr {
        1 => format!("1 {noun}"),
        _ => format!("{nr} {noun}s"),
    }
}

/// Each node's pressure: `steal 0:52% 1:0% 2:?`.
pub fn steal_in_words(view: &CellView) -> String {
    let nodes = view.nodes.iter().map(|node| match node.pressure {
        Pressure::Fresh { share } => format!("{}:{:.0}%", node.id, share * 100.0),
        Pressure::Stale { .. } | Pressure::Unknown => format!("{}:?", node.id),
    });
    format!("steal {}", nodes.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Retargeted;
    use crate::cell::{GroupId, Move, Node, NodeId, Verdict};

    fn round(outcome: Outcome, retargeted: Option<Retargeted>) -> Round {
        let node = |id, share| Node {
            id: NodeId(id),
            capacity_cpus: 1.0,
            pressure: Pressure::Fresh { share },
            load_cpus: share,
        };
        let moves = match outcome {
            Outcome::Moves { .. } => vec![Move { group: GroupId(7), from: NodeId(0), to: NodeId(1) }],
            _ => vec![],
        };
        Round {
            number: 4,
            destination: NodeId(0),
            view: CellView { nodes: vec![node(0, 0.52), node(1, 0.0)], groups: vec![] },
            plan: Plan {
                first: Some(NodeId(1)),
                second: None,
                moves,
                verdicts: vec![Verdict { node: NodeId(0), outcome }],
            },
            retargeted,
            retarget_cpu_us: 85,
            page_faults: 0,
        }
    }

    #[test]
    fn a_move_says_why_and_what_it_did() {
        let done = Retargeted { epoch: 3, nr_moved: 6, nr_kicked: 1 };
        let line = in_words(&round(Outcome::Moves { moved_cpus: 0.48 }, Some(done)));
        assert_eq!(
            line,
            "round 4: epoch 3: move from node 0 to 1: others take 0.52 CPU of node 0; 1 group using 0.48 CPU moves; \
             steal 0:52% 1:0%; 6 queued tasks moved, 1 CPU kicked, 85 us"
        );
    }

    #[test]
    fn one_is_not_many() {
        let done = Retargeted { epoch: 3, nr_moved: 1, nr_kicked: 2 };
        let mut several = round(Outcome::Moves { moved_cpus: 0.48 }, Some(done));
        several.plan.moves.push(several.plan.moves[0]);
        let line = in_words(&several);
        assert!(line.contains("2 groups using 0.48 CPU move;"), "{line}");
        assert!(line.contains("1 queued task moved, 2 CPUs kicked"), "{line}");
        let line = in_words(&round(Outcome::CoolingDown { rounds_left: 1 }, None));
        assert!(line.contains("too recent: 1 more round;"), "{line}");
    }

    #[test]
    fn staying_gives_the_condition_that_failed() {
        let line = in_words(&round(Outcome::BelowTrigger { pressure_cpus: 0.1, trigger_cpus: 0.25 }, None));
        assert!(line.contains("stay on node 0: others take 0.10 CPU of it, less than 0.25"), "{line}");
    }

    #[test]
    fn a_dry_run_says_would() {
        let line = in_words(&round(Outcome::Moves { moved_cpus: 0.48 }, None));
        assert!(line.contains("would move from node 0 to 1"), "{line}");
    }

    #[test]
    fn the_same_verdict_again_is_no_news_but_a_move_always_is() {
        let stay = round(Outcome::BelowTrigger { pressure_cpus: 0.1, trigger_cpus: 0.25 }, None).plan;
        let still = round(Outcome::BelowTrigger { pressure_cpus: 0.2, trigger_cpus: 0.25 }, None).plan;
        let moves = round(Outcome::Moves { moved_cpus: 0.48 }, None).plan;
        assert!(is_news(None, &stay));
        assert!(!is_news(Some(&stay), &still));
        assert!(is_news(Some(&moves), &moves));
    }
}
