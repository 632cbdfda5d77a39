//! Memory and the bytes of moves, in words.

use super::{counted, mib};
use crate::cell::{Bytes, Fetched};
use crate::sense::DsmLoad;

/// Lines of a text: it has to end.
const SHOWN: usize = 8;

/// What a node's host counts of its distributed memory.
pub(super) fn dsm_text(dsm: DsmLoad) -> String {
    let waiting = dsm.waiting_cpus.map(|cpus| format!(", for which {cpus:.2} CPU waits")).unwrap_or_default();
    format!("; {:.0} faults/s of distributed memory{waiting}", dsm.faults_per_s)
}

/// What keeps groups where they are, if memory or bytes do.
pub(super) fn kept_text(bytes: Option<Bytes>) -> Option<String> {
    let Bytes { nr_no_room, nr_over_budget, .. } = bytes?;
    let no_room = (nr_no_room > 0).then(|| {
        let (it, they) = (counted(nr_no_room.into(), "group"), if nr_no_room == 1 { "it" } else { "them" });
        format!("no node with CPU for {it} has memory for {they}")
    });
    let over_budget = (nr_over_budget > 0)
        .then(|| format!("{} can't go until moves may take more bytes", counted(nr_over_budget.into(), "group")));
    let parts: Vec<String> = no_room.into_iter().chain(over_budget).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What moves take and may take, and what earlier ones took by the hosts' own count.
pub(super) fn bytes_lines(bytes: Option<Bytes>, fetched: &[Fetched]) -> impl Iterator<Item = String> + '_ {
    let taken = bytes.map(|Bytes { fetched, left, .. }| {
        format!("the moves fetch about {}, and further ones may take {}", mib(fetched), mib(left))
    });
    taken.into_iter().chain(kept_text(bytes)).chain(fetched_lines(fetched))
}

/// What groups fetched after earlier moves.
pub(super) fn fetched_lines(fetched: &[Fetched]) -> impl Iterator<Item = String> + '_ {
    let line = |it: &Fetched| {
        let (came, all) = (mib(it.bytes), mib(it.of_bytes));
        format!("group {} fetched {came} of its {all} after it came to node {}", it.group.0, it.to)
    };
    fetched.iter().take(SHOWN).map(line)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{line_of, round, MOVES, STAYS};
    use super::super::{is_news, Decision};
    use super::*;
    use crate::cell::{GroupId, NodeId};

    #[test]
    fn what_memory_and_the_budget_hold_back_is_said_in_the_line_and_the_rest_in_the_explanation() {
        let mut round = round(STAYS, None);
        assert!(!Decision::of(&round).explained().contains("  bytes "), "where nothing is known");
        let bytes = Bytes { fetched: 0.0, left: 3.0 * 1048576.0, nr_no_room: 1, nr_over_budget: 2 };
        round.plan.bytes = Some(bytes);
        round.view.nodes[1].free_bytes = Some(512.0 * 1024.0);
        let fetched = Fetched { group: GroupId(7), to: NodeId(1), bytes: 1048576.0, of_bytes: 2097152.0 };
        round.plan.fetched = vec![fetched];
        let dsm = DsmLoad { faults_per_s: 1234.5, waiting_cpus: Some(0.25), ..DsmLoad::default() };
        round.readings.entry(NodeId(1)).or_default().dsm = Some(dsm);
        let line = line_of(&round);
        let kept =
            "; no node with CPU for 1 group has memory for it; 2 groups can't go until moves may take more bytes";
        assert!(line.contains(kept), "{line}");
        assert!(line.contains("; group 7 fetched 1.0 MiB of its 2.0 MiB after it came to node 1"), "{line}");
        assert!(is_news(Some(&round.plan), &round.plan), "it is known just once");
        let text = Decision::of(&round).explained();
        let node = "load 0.00 of 1 CPUs; 0.5 MiB of memory for work; 1234 faults/s of distributed memory, for which 0.25 CPU waits\n";
        assert!(text.contains(node), "{text}");
        let expected =
            "  bytes    the moves fetch about 0.0 MiB, and further ones may take 3.0 MiB\n           no node";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("group 7 fetched 1.0 MiB of its 2.0 MiB after it came to node 1\n"), "{text}");
    }

    #[test]
    fn a_line_says_nothing_of_bytes_where_they_hold_nothing_back() {
        let mut round = round(MOVES, None);
        let before = line_of(&round);
        round.plan.bytes = Some(Bytes { fetched: 1e6, left: 1e6, ..Bytes::default() });
        assert_eq!(line_of(&round), before);
        assert_eq!(
            kept_text(Some(Bytes { nr_no_room: 3, ..Bytes::default() })).unwrap(),
            "no node with CPU for 3 groups has memory for them"
        );
    }
}
