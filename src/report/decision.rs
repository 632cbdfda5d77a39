//! A decision in words, with the numbers that made it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::sources::{said, Said};
use super::Round;
use crate::bpf::Retargeted;
use crate::cell::{Moved, Node, NodeId, Outcome, Plan, Pressure, Verdict};
use crate::sense::Words;

/// Return true if `now` says something else than `before`: worth a line of its own.
pub fn is_news(before: Option<&Plan>, now: &Plan) -> bool {
    !now.moves.is_empty() || before.is_none_or(|before| kinds(&before.verdicts) != kinds(&now.verdicts))
}

fn kinds(verdicts: &[Verdict]) -> Vec<(NodeId, std::mem::Discriminant<Outcome>)> {
    verdicts.iter().map(|verdict| (verdict.node, std::mem::discriminant(&verdict.outcome))).collect()
}

/// What a round is told from: all of it but its groups, of which there may be thousands.
#[derive(Clone, Debug)]
pub struct Decision {
    number: u64,
    nodes: Vec<Node>,
    words: BTreeMap<NodeId, Words>,
    /// Where migratable work was: the nodes that it ran on, else the one that it was sent to.
    places: Vec<NodeId>,
    first: Option<NodeId>,
    second: Option<NodeId>,
    verdicts: Vec<Verdict>,
    routes: BTreeMap<(NodeId, NodeId), Moved>,
    retargeted: Option<Retargeted>,
    retarget_cpu_us: u64,
    picked_by: Option<&'static str>,
}

impl Decision {
    /// What there is to tell of a round.
    pub fn of(round: &Round) -> Self {
        // In order of node, so that equal ones are neighbours.
        let mut places: Vec<NodeId> = round.view.groups.iter().map(|group| group.node).collect();
        places.dedup();
        if places.is_empty() {
            places.push(round.destination);
        }
        Decision {
            number: round.number,
            nodes: round.view.nodes.clone(),
            words: round.words.clone(),
            places,
            first: round.plan.first,
            second: round.plan.second,
            verdicts: round.plan.verdicts.clone(),
            routes: round.plan.routes(&round.view),
            retargeted: round.retargeted,
            retarget_cpu_us: round.retarget_cpu_us,
            picked_by: round.picked_by,
        }
    }

    /// What moves, by the node that it leaves and the node that it goes to.
    pub(super) fn routes(&self) -> &BTreeMap<(NodeId, NodeId), Moved> {
        &self.routes
    }

    /// The round's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Return true if both leave all work where it is, for the same reasons.
    pub fn is_like(&self, other: &Decision) -> bool {
        let stays = self.routes.is_empty() && other.routes.is_empty();
        stays && self.places == other.places && kinds(&self.verdicts) == kinds(&other.verdicts)
    }

    /// One line: what happens, why, and what was seen.
    pub fn line(&self) -> String {
        let mut line = format!("round {}: {}: {}; {}", self.number, self.what(), self.why(), self.pressures());
        if let Some(done) = self.done() {
            line += "; ";
            line += &done;
        }
        line
    }

    /// What happens: `stay on node 0`, or `epoch 3: move from node 3 to 1`.
    pub fn what(&self) -> String {
        if self.routes.is_empty() {
            return format!("stay on node {}", listed(&self.places));
        }
        let route = format!("move from node {} to {}", listed(&self.sources()), listed(&self.destinations()));
        match self.retargeted {
            Some(done) => format!("epoch {}: {route}", done.epoch),
            None => format!("would {route}"),
        }
    }

    /// What was seen, chosen, moved, refused and done, a line each; every line is indented.
    pub fn explained(&self) -> String {
        let mut text = String::new();
        add(&mut text, "seen", self.nodes.iter().map(|node| self.seen(node)));
        add(&mut text, "chosen", [self.chosen()]);
        if self.verdicts.is_empty() {
            add(&mut text, "because", [self.why_without_verdict()]);
        }
        let (go, stay): (Vec<&Verdict>, _) =
            self.verdicts.iter().partition(|verdict| matches!(verdict.outcome, Outcome::Moves { .. }));
        let told = |verdict: &&Verdict| format!("node {}: {}", verdict.node, self.reason(verdict));
        add(&mut text, "moves", go.iter().map(told));
        add(&mut text, "refused", stay.iter().map(told));
        let done = self.done().or_else(|| (!self.routes.is_empty()).then(|| "nothing: it is a dry run".into()));
        add(&mut text, "done", done);
        text
    }

    fn sources(&self) -> Vec<NodeId> {
        distinct(self.routes.keys().map(|(from, _)| *from))
    }

    fn destinations(&self) -> Vec<NodeId> {
        distinct(self.routes.keys().map(|(_, to)| *to))
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    fn why(&self) -> String {
        match self.verdicts.as_slice() {
            [] => self.why_without_verdict(),
            [one] if self.places == [one.node] => self.reason(one),
            several => {
                let told = several.iter().map(|verdict| format!("node {}: {}", verdict.node, self.reason(verdict)));
                told.collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn why_without_verdict(&self) -> String {
        match self.first {
            None => "no node's pressure is known".into(),
            Some(first) if self.places.contains(&first) || self.second.is_some_and(|it| self.places.contains(&it)) => {
                if self.places.len() == 1 { "it is the least loaded node" } else { "they are the least loaded nodes" }
                    .into()
            }
            Some(_) => "no migratable task ran".into(),
        }
    }

    /// Why the work of a node, "it", stays or goes.
    fn reason(&self, verdict: &Verdict) -> String {
        let node = verdict.node;
        match verdict.outcome {
            Outcome::Moves { moved_cpus } => {
                let seen = self.node(node);
                let others = match seen.and_then(|node| node.pressure_cpus()) {
                    Some(cpus) => format!("others take {cpus:.2} CPU of node {node}"),
                    None if seen.is_some_and(|node| node.capacity_cpus > 0.0) => {
                        format!("nothing is known of node {node}'s host")
                    }
                    None => format!("node {node} has no CPU online"),
                };
                let moved = self.routes.iter().filter(|((from, _), _)| *from == node).map(|(_, moved)| *moved);
                let Moved { groups, bytes, .. } = moved.fold(Moved::default(), Moved::and);
                format!(
                    "{others}; {} using {moved_cpus:.2} CPU and {} {}",
                    counted(groups, "group"),
                    mib(bytes),
                    if groups == 1 { "moves" } else { "move" }
                )
            }
            // Any pressure would do, and less than this is shown as none.
            Outcome::BelowTrigger { trigger_cpus, .. } if trigger_cpus < 0.005 => "others take nothing of it".into(),
            Outcome::BelowTrigger { pressure_cpus, trigger_cpus } => {
                format!("others take {pressure_cpus:.2} CPU of it, less than {trigger_cpus:.2}")
            }
            Outcome::DestinationWouldExceedSource { destination_cpus, source_cpus } => {
                format!("the least loaded node would be at {destination_cpus:.2} CPU, more than its {source_cpus:.2}")
            }
            Outcome::MostlyOwnLoad { moved_cpus, source_cpus } => {
                format!("{moved_cpus:.2} of its {source_cpus:.2} CPU is the migratable work itself")
            }
            Outcome::PastWarning { destination_cpus, warning_cpus } => format!(
                "the least loaded node would be at {destination_cpus:.2} CPU, past the line of {warning_cpus:.2}"
            ),
            Outcome::TooLittle { moved_cpus, min_gain_cpus } => {
                format!("only {moved_cpus:.2} CPU would move, not more than {min_gain_cpus:.2}")
            }
            Outcome::Calm { pressure_share, bad_share } => {
                format!("others take {:.1} % of it, less than {:.1} %", pressure_share * 100.0, bad_share * 100.0)
            }
            Outcome::NotYet { bad_rounds, needed_rounds } => {
                format!("it has been bad for {bad_rounds} of {}", counted(needed_rounds.into(), "round"))
            }
            Outcome::LittleBetter { pressure_share, destination_share } => format!(
                "others take {:.0} % of it and {:.0} % of the destination, which is too little better",
                100.0 * pressure_share,
                100.0 * destination_share
            ),
            Outcome::CoolingDown { rounds_left } => {
                format!("it is bad, but the last move was too recent: {}", counted(rounds_left.into(), "more round"))
            }
            Outcome::Fits { wanted_cpus, supply_cpus } => {
                format!("its work wants {wanted_cpus:.2} CPU and gets it: {supply_cpus:.2} are to be had")
            }
            Outcome::Folds { wanted_cpus, limit_cpus } => {
                format!("others need it; its work wants {wanted_cpus:.2} CPU and is held to {limit_cpus:.2}")
            }
            Outcome::Short { wanted_cpus, supply_cpus } => format!(
                "its work wants {wanted_cpus:.2} CPU of {supply_cpus:.2} to be had, and no other node has enough more"
            ),
        }
    }

    /// Each node's pressure: `pressure 0:52% 1:0% 2:?`.
    fn pressures(&self) -> String {
        let nodes = self.nodes.iter().map(|node| match node.pressure {
            Pressure::Fresh { share } => format!("{}:{:.0}%", node.id, share * 100.0),
            Pressure::Stale { .. } | Pressure::Unknown => format!("{}:?", node.id),
        });
        format!("pressure {}", nodes.collect::<Vec<_>>().join(" "))
    }

    /// A node's pressure and what each source said of it.
    fn seen(&self, node: &Node) -> String {
        let id = node.id;
        if node.capacity_cpus == 0.0 {
            return format!("node {id}: no CPU is online");
        }
        let taken = match node.pressure {
            Pressure::Fresh { share } => format!("others take {:.0} %", share * 100.0),
            Pressure::Stale { age_rounds, .. } => {
                format!("unknown, the last answer is {} old", counted(age_rounds.into(), "round"))
            }
            Pressure::Unknown => "unknown".into(),
        };
        let words = self.words.get(&id);
        let psi =
            words.and_then(|words| words.host_psi_share).map(|psi| format!("PSI of the host {:.0} %", psi * 100.0));
        let sources: Vec<String> = words.into_iter().flat_map(said).map(source_in_words).chain(psi).collect();
        let Node { load_cpus, capacity_cpus, .. } = node;
        format!("node {id}: {taken} ({}); load {load_cpus:.2} of {capacity_cpus} CPUs", sources.join("; "))
    }

    fn chosen(&self) -> String {
        let order = self.picked_by.map(|by| format!("; fewest {by} first")).unwrap_or_default();
        match (self.first, self.second) {
            (None, _) => "no node, since no node's pressure is known".into(),
            (Some(first), None) => format!("node {first} for what moves{order}"),
            (Some(first), Some(second)) => format!("node {first} for what moves, then node {second}{order}"),
        }
    }

    fn done(&self) -> Option<String> {
        let Retargeted { nr_moved, nr_kicked, .. } = self.retargeted?;
        let (moved, kicked) = (counted(nr_moved.into(), "queued task"), counted(nr_kicked.into(), "CPU"));
        Some(format!("{moved} moved, {kicked} kicked, {} us", self.retarget_cpu_us))
    }
}

/// A heading and its lines, under each other; nothing without lines.
fn add(text: &mut String, heading: &str, lines: impl IntoIterator<Item = String>) {
    let mut heading = heading;
    for line in lines {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {heading:<8} {line}");
        heading = "";
    }
}

fn source_in_words(said: Said) -> String {
    match (said.source, said.reading) {
        ("steal", None) => "too idle for steal to show".into(),
        (source, None) => format!("{source} does not answer"),
        (source, Some(reading)) if reading.age.is_zero() => format!("{source} {:.0} %", reading.share * 100.0),
        (source, Some(reading)) => {
            format!("{source} {:.0} %, {:.1} s old", reading.share * 100.0, reading.age.as_secs_f64())
        }
    }
}

fn distinct(nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = nodes.collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// `1 group`, `2 groups`.
fn counted(nr: u64, noun: &str) -> String {
    match nr {
        1 => format!("1 {noun}"),
        _ => format!("{nr} {noun}s"),
    }
}

/// `0 and 2`.
fn listed(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" and ")
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cell::{CellView, Demand, Group, GroupId, Move};
    use crate::sense::Word;

    fn in_words(round: &Round) -> String {
        Decision::of(round).line()
    }

    fn node(id: u32, pressure: Pressure) -> Node {
        Node {
            id: NodeId(id),
            capacity_cpus: 1.0,
            pressure,
            load_cpus: pressure.share().unwrap_or(0.0),
            ..Node::default()
        }
    }

    /// Round 4: node 0 with a group of 0.48 CPU and 3 MiB, and node 1, which is idle.
    pub(in crate::report) fn round(outcome: Outcome, retargeted: Option<Retargeted>) -> Round {
        let demand = Demand { usage_cpus: 0.48, memory_bytes: 3.0 * 1048576.0, ..Demand::default() };
        let groups = vec![Group { id: GroupId(7), node: NodeId(0), nr_tasks: 1, demand, ..Group::default() }];
        let moves = match outcome {
            Outcome::Moves { .. } => vec![Move { group: GroupId(7), from: NodeId(0), to: NodeId(1) }],
            _ => vec![],
        };
        let nodes = vec![node(0, Pressure::Fresh { share: 0.52 }), node(1, Pressure::Fresh { share: 0.0 })];
        let probe = Word::Taken { share: 0.0, age: Duration::from_millis(400), period: Duration::from_secs(1) };
        Round {
            number: 4,
            destination: NodeId(0),
            words: BTreeMap::from([
                (NodeId(0), Words { steal_share: 0.52, has_run: true, ..Words::default() }),
                (NodeId(1), Words { probe: Some(probe), ..Words::default() }),
            ]),
            view: CellView { nodes, groups, ..CellView::default() },
            plan: Plan {
                first: Some(NodeId(1)),
                second: None,
                moves,
                verdicts: vec![Verdict { node: NodeId(0), outcome }],
                ..Plan::default()
            },
            retargeted,
            retarget_cpu_us: 85,
            nr_queued: vec![6, 0],
            ..Round::default()
        }
    }

    pub(in crate::report) const MOVES: Outcome = Outcome::Moves { moved_cpus: 0.48 };
    pub(in crate::report) const STAYS: Outcome = Outcome::BelowTrigger { pressure_cpus: 0.1, trigger_cpus: 0.25 };
    pub(in crate::report) const DONE: Retargeted = Retargeted { epoch: 3, nr_moved: 6, nr_kicked: 1 };

    #[test]
    fn a_move_says_why_and_what_it_did() {
        assert_eq!(
            in_words(&round(MOVES, Some(DONE))),
            "round 4: epoch 3: move from node 0 to 1: others take 0.52 CPU of node 0; 1 group using 0.48 CPU and \
             3.0 MiB moves; pressure 0:52% 1:0%; 6 queued tasks moved, 1 CPU kicked, 85 us"
        );
    }

    #[test]
    fn staying_gives_the_condition_that_failed() {
        let line = in_words(&round(STAYS, None));
        assert!(line.contains("stay on node 0: others take 0.10 CPU of it, less than 0.25"), "{line}");
        let any = Outcome::BelowTrigger { pressure_cpus: 0.0, trigger_cpus: f64::MIN_POSITIVE };
        let line = in_words(&round(any, None));
        assert!(line.contains("stay on node 0: others take nothing of it;"), "{line}");
    }

    #[test]
    fn a_dry_run_says_would() {
        let round = round(MOVES, None);
        assert!(in_words(&round).contains("would move from node 0 to 1"), "{}", in_words(&round));
        assert!(Decision::of(&round).explained().contains("  done     nothing: it is a dry run\n"));
    }

    #[test]
    fn an_explanation_has_every_source_and_every_verdict() {
        let mut round = round(MOVES, Some(DONE));
        round.view.nodes.push(node(2, Pressure::Unknown));
        round.words.insert(NodeId(2), Words { host: Some(Word::Failed), ..Words::default() });
        round.view.nodes.push(node(3, Pressure::Stale { share: 0.1, age_rounds: 4 }));
        let old = Word::Taken { share: 0.1, age: Duration::from_secs(4), period: Duration::from_secs(1) };
        round.words.insert(NodeId(3), Words { host: Some(old), host_psi_share: Some(0.25), ..Words::default() });
        round.picked_by = Some("page faults per second of CPU time");
        round.plan.second = Some(NodeId(3));
        let too_recent = Outcome::CoolingDown { rounds_left: 2 };
        round.plan.verdicts.push(Verdict { node: NodeId(2), outcome: too_recent });
        assert_eq!(
            Decision::of(&round).explained(),
            "  seen     node 0: others take 52 % (steal 52 %); load 0.52 of 1 CPUs\n           \
             node 1: others take 0 % (too idle for steal to show; probe 0 %, 0.4 s old); load 0.00 of 1 CPUs\n           \
             node 2: unknown (too idle for steal to show; host does not answer); load 0.00 of 1 CPUs\n           \
             node 3: unknown, the last answer is 4 rounds old \
             (too idle for steal to show; host 10 %, 4.0 s old; PSI of the host 25 %); load 0.00 of 1 CPUs\n  \
             chosen   node 1 for what moves, then node 3; fewest page faults per second of CPU time first\n  \
             moves    node 0: others take 0.52 CPU of node 0; 1 group using 0.48 CPU and 3.0 MiB moves\n  \
             refused  node 2: it is bad, but the last move was too recent: 2 more rounds\n  \
             done     6 queued tasks moved, 1 CPU kicked, 85 us\n"
        );
        let line = in_words(&round);
        assert!(line.contains("to 1: node 0: others") && line.contains(", node 2: it is bad"), "{line}");
    }

    #[test]
    fn without_a_verdict_there_still_is_a_reason() {
        let mut round = round(STAYS, None);
        round.plan = Plan { first: Some(NodeId(0)), ..Plan::default() };
        assert!(in_words(&round).contains("stay on node 0: it is the least loaded node"), "{}", in_words(&round));
        round.plan.first = None;
        let explained = Decision::of(&round).explained();
        assert!(explained.contains("  because  no node's pressure is known\n"), "{explained}");
        round.view.groups.clear();
        round.plan.first = Some(NodeId(1));
        assert!(in_words(&round).contains("stay on node 0: no migratable task ran"), "{}", in_words(&round));
    }

    #[test]
    fn the_same_verdict_again_is_no_news_but_a_move_always_is() {
        let stay = round(STAYS, None).plan;
        let still = round(Outcome::BelowTrigger { pressure_cpus: 0.2, trigger_cpus: 0.25 }, None).plan;
        let moves = round(MOVES, None).plan;
        assert!(is_news(None, &stay));
        assert!(!is_news(Some(&stay), &still));
        assert!(is_news(Some(&moves), &moves));
    }
}
