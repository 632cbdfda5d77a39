//! What earlier moves brought, in words.

use super::counted;
use crate::cell::{JudgedMove, Payoff};

/// Lines of a text: it has to end.
const SHOWN: usize = 8;

/// How many moves paid, and by how much: `3 moves judged: 2 gained 1.20 CPU, 1 lost 0.30 CPU`. `None` if none was judged.
pub(super) fn judged_text(judged: &[JudgedMove]) -> Option<String> {
    if judged.is_empty() {
        return None;
    }
    let part = |payoff: Payoff, name: &str| {
        let of_kind = judged.iter().filter(|it| it.payoff == payoff);
        let (nr, cpus) = of_kind.fold((0, 0.0), |(nr, cpus), it| (nr + 1, cpus + it.used_cpus - it.instead_cpus));
        match (nr, payoff) {
            (0, _) => None,
            (_, Payoff::Even) => Some(format!("{nr} {name}")),
            _ => Some(format!("{nr} {name} {:.2} CPU", f64::abs(cpus))),
        }
    };
    let kinds = [(Payoff::Gained, "gained"), (Payoff::Lost, "lost"), (Payoff::Even, "made no difference")];
    let parts: Vec<String> = kinds.into_iter().filter_map(|(payoff, name)| part(payoff, name)).collect();
    Some(format!("{} judged: {}", counted(judged.len() as u64, "move"), parts.join(", ")))
}

/// A line for each move, up to some.
pub(super) fn judged_lines(judged: &[JudgedMove]) -> impl Iterator<Item = String> + '_ {
    let line = |it: &JudgedMove| {
        let verdict = match it.payoff {
            Payoff::Gained => "the move paid",
            Payoff::Even => "the move made no difference",
            Payoff::Lost => "the move cost more than it gave, and the group's next ones have to gain more",
        };
        format!(
            "group {} from node {} to {}, {} ago: it uses {:.2} CPU, and would have got {:.2}; {verdict}",
            it.group.0,
            it.from,
            it.to,
            counted(it.age_rounds.round() as u64, "round"),
            it.used_cpus,
            it.instead_cpus
        )
    };
    let more = judged.len().saturating_sub(SHOWN);
    let rest = (more > 0).then(|| format!("and {}", counted(more as u64, "more move")));
    judged.iter().take(SHOWN).map(line).chain(rest)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{line_of, round, STAYS};
    use super::super::{is_news, Decision};
    use super::*;
    use crate::cell::{GroupId, NodeId};

    fn judged(group: u64, used_cpus: f64, instead_cpus: f64, payoff: Payoff) -> JudgedMove {
        JudgedMove {
            group: GroupId(group),
            from: NodeId(0),
            to: NodeId(1),
            age_rounds: 4.0,
            used_cpus,
            instead_cpus,
            payoff,
        }
    }

    #[test]
    fn what_moves_brought_is_news_in_the_log_and_explained_move_by_move() {
        let mut round = round(STAYS, None);
        let before = round.plan.clone();
        assert!(!is_news(Some(&before), &round.plan));
        round.plan.judged = vec![
            judged(7, 0.9, 0.4, Payoff::Gained),
            judged(8, 0.3, 0.6, Payoff::Lost),
            judged(9, 0.5, 0.5, Payoff::Even),
        ];
        assert!(is_news(Some(&before), &round.plan));
        let line = line_of(&round);
        let wanted = "; 3 moves judged: 1 gained 0.50 CPU, 1 lost 0.30 CPU, 1 made no difference";
        assert!(line.contains(wanted), "{line}");
        let text = Decision::of(&round).explained();
        let wanted = "  judged   group 7 from node 0 to 1, 4 rounds ago: it uses 0.90 CPU, and would have got 0.40; the move paid\n";
        assert!(text.contains(wanted), "{text}");
        let (decision, silent) = (Decision::of(&round), super::super::tests::round(STAYS, None));
        assert!(!decision.is_like(&Decision::of(&silent)), "the history would lose it");
        assert_eq!(decision.report(4, 0.0).judged, round.plan.judged);
    }

    #[test]
    fn of_many_moves_some_are_shown_and_the_rest_counted() {
        let many: Vec<JudgedMove> = (0..20).map(|id| judged(id, 0.5, 0.5, Payoff::Even)).collect();
        let lines: Vec<String> = judged_lines(&many).collect();
        assert_eq!((lines.len(), lines[8].as_str()), (9, "and 12 more moves"));
        assert_eq!(judged_text(&[]), None);
    }
}
