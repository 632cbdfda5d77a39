//! A decision in plain text, with the numbers that it is based on.

use std::collections::BTreeMap;
use std::fmt::Write;

mod clusters;
mod judged;
mod memory;
mod structured;

pub use structured::DecisionReport;

use super::sources::{source_lines, SourceLine};
use super::{Round, SloReport};
use crate::bpf::Retargeted;
use crate::cell::{
    Balance, Bytes, Fetched, GroupId, JudgedMove, Moved, Node, NodeId, Outcome, Plan, Pressure, Verdict,
};
use crate::sense::NodeReadings;

/// Return true if `now` moves work, judges earlier moves or has other reasons than `before`, so that it deserves a log line.
pub fn is_news(before: Option<&Plan>, now: &Plan) -> bool {
    !now.moves.is_empty()
        || !now.judged.is_empty()
        || !now.fetched.is_empty()
        || before.is_some_and(|before| keeps(before) != keeps(now))
        || before.is_none_or(|before| kinds(&before.verdicts) != kinds(&now.verdicts))
}

/// Whether memory, and whether bytes keep groups where they are.
fn keeps(plan: &Plan) -> (bool, bool) {
    plan.bytes.map_or((false, false), |bytes| (bytes.nr_no_room > 0, bytes.nr_over_budget > 0))
}

fn kinds(verdicts: &[Verdict]) -> Vec<(NodeId, std::mem::Discriminant<Outcome>)> {
    verdicts.iter().map(|verdict| (verdict.node, std::mem::discriminant(&verdict.outcome))).collect()
}

/// The part of a round that its text needs: everything but the groups, of which there may be thousands.
#[derive(Clone, Debug)]
pub struct Decision {
    number: u64,
    nodes: Vec<Node>,
    readings: BTreeMap<NodeId, NodeReadings>,
    /// The nodes that migratable work ran on; if none ran, the one that it is sent to.
    places: Vec<NodeId>,
    first: Option<NodeId>,
    second: Option<NodeId>,
    verdicts: Vec<Verdict>,
    balance: Option<Balance>,
    /// The groups that move because of each other or together, by the node that they leave, each cluster in order of id.
    clusters: Vec<(NodeId, Vec<GroupId>)>,
    routes: BTreeMap<(NodeId, NodeId), Moved>,
    judged: Vec<JudgedMove>,
    bytes: Option<Bytes>,
    fetched: Vec<Fetched>,
    retargeted: Option<Retargeted>,
    retarget_cpu_us: u64,
    picked_by: Option<&'static str>,
    slos: Vec<SloReport>,
}

impl Decision {
    /// The decision of a round.
    pub fn of(round: &Round) -> Self {
        // Groups are in order of node, so equal nodes are adjacent.
        let mut places: Vec<NodeId> = round.view.groups.iter().map(|group| group.node).collect();
        places.dedup();
        if places.is_empty() {
            places.push(round.destination);
        }
        Decision {
            number: round.number,
            nodes: round.view.nodes.clone(),
            readings: round.readings.clone(),
            places,
            first: round.plan.first,
            second: round.plan.second,
            verdicts: round.plan.verdicts.clone(),
            balance: round.plan.balance,
            clusters: clusters::moving(&round.plan),
            routes: round.plan.routes(&round.view),
            judged: round.plan.judged.clone(),
            bytes: round.plan.bytes,
            fetched: round.plan.fetched.clone(),
            retargeted: round.retargeted,
            retarget_cpu_us: round.retarget_cpu_us,
            picked_by: round.picked_by,
            slos: round.slos.clone(),
        }
    }

    /// What moves, by (source, destination).
    pub(super) fn routes(&self) -> &BTreeMap<(NodeId, NodeId), Moved> {
        &self.routes
    }

    /// Number of the round.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Return true if both decisions leave all work where it is, for the same reasons, and judge no earlier move.
    pub fn is_like(&self, other: &Decision) -> bool {
        let is_quiet = |it: &Decision| it.routes.is_empty() && it.judged.is_empty() && it.fetched.is_empty();
        is_quiet(self)
            && is_quiet(other)
            && self.places == other.places
            && kinds(&self.verdicts) == kinds(&other.verdicts)
    }

    /// One line: what is done, why, and the pressure of each node.
    pub fn line(&self) -> String {
        let mut line = format!("round {}: {}: {}; {}", self.number, self.what(), self.why(), self.pressures());
        let drained: Vec<NodeId> = self.nodes.iter().filter(|node| node.drained).map(|node| node.id).collect();
        if !drained.is_empty() {
            line += &format!("; drained: {}", listed(&drained));
        }
        for slo in self.slos.iter().filter(|slo| slo.room_share < 1.0) {
            line += "; ";
            line += &slo.text();
        }
        let kept = memory::kept_text(self.bytes);
        let fetched = memory::fetched_lines(&self.fetched);
        for more in kept.into_iter().chain(self.done()).chain(judged::judged_text(&self.judged)).chain(fetched) {
            line += "; ";
            line += &more;
        }
        line
    }

    /// What is done and why: the line without the number and the measurements.
    pub fn summary(&self) -> String {
        format!("{}: {}", self.what(), self.why())
    }

    /// The latency objectives, in order of the options.
    pub(super) fn slos(&self) -> &[SloReport] {
        &self.slos
    }

    /// The nodes that migratable work ran on; if none ran, the one that it is sent to.
    pub fn places(&self) -> &[NodeId] {
        &self.places
    }

    /// What is done: `stay on node 0`, or `epoch 3: move from node 3 to 1`.
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

    /// What was measured and chosen, what moves and stays, and what was done. Every line is indented.
    pub fn explained(&self) -> String {
        let mut text = String::new();
        add(&mut text, "measured", self.nodes.iter().map(|node| self.measured(node)));
        add(&mut text, "chosen", [self.chosen()]);
        add(&mut text, "latency", self.slos.iter().map(SloReport::text));
        add(&mut text, "demand", self.balance.map(balance_text));
        if self.verdicts.is_empty() {
            add(&mut text, "because", [self.why_without_verdict()]);
        }
        let (go, stay): (Vec<&Verdict>, _) =
            self.verdicts.iter().partition(|verdict| matches!(verdict.outcome, Outcome::Moves { .. }));
        let verdict_text = |verdict: &&Verdict| format!("node {}: {}", verdict.node, self.reason(verdict));
        add(&mut text, "moves", go.iter().map(verdict_text));
        add(&mut text, "stays", stay.iter().map(verdict_text));
        let done = self.done().or_else(|| (!self.routes.is_empty()).then(|| "nothing (dry run)".into()));
        add(&mut text, "done", done);
        add(&mut text, "bytes", memory::bytes_lines(self.bytes, &self.fetched));
        add(&mut text, "judged", judged::judged_lines(&self.judged));
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

    /// Why the work stays or goes, in one line.
    pub(super) fn why(&self) -> String {
        if let Some(balance) = self.balance {
            return self.why_balanced(balance);
        }
        match self.verdicts.as_slice() {
            [] => self.why_without_verdict(),
            [one] if self.places == [one.node] => self.reason(one),
            several => {
                let reasons = several.iter().map(|verdict| format!("node {}: {}", verdict.node, self.reason(verdict)));
                reasons.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Demand and supply, and only the verdicts that say more: with many nodes a line of all would be unreadable.
    fn why_balanced(&self, balance: Balance) -> String {
        let says_more = |verdict: &&Verdict| !matches!(verdict.outcome, Outcome::Fits { .. } | Outcome::Short { .. });
        let reason = |verdict: &Verdict| match verdict.outcome {
            // It names its node.
            Outcome::Moves { .. } => self.reason(verdict),
            _ => format!("node {}: {}", verdict.node, self.reason(verdict)),
        };
        let reasons = self.verdicts.iter().filter(says_more).map(reason);
        reasons.chain([balance_text(balance)]).collect::<Vec<_>>().join("; ")
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

    /// Why the work of a node stays or goes. "it" is the node.
    fn reason(&self, verdict: &Verdict) -> String {
        let node = verdict.node;
        match verdict.outcome {
            Outcome::Moves { moved_cpus } => {
                let source = self.node(node);
                let others = match source.and_then(|node| node.pressure_cpus()) {
                    _ if source.is_some_and(|node| node.drained) => format!("node {node} is drained"),
                    Some(cpus) => format!("others take {cpus:.2} CPU of node {node}"),
                    None if source.is_some_and(|node| node.capacity_cpus > 0.0) => {
                        format!("node {node}'s pressure is unknown")
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
                ) + &self.clusters_text(node)
            }
            // The trigger is any pressure at all, and a pressure below this is displayed as 0.
            Outcome::BelowTrigger { trigger_cpus, .. } if trigger_cpus < 0.005 => "others take none of its CPU".into(),
            Outcome::BelowTrigger { pressure_cpus, trigger_cpus } => {
                format!("others take {pressure_cpus:.2} CPU of it, below the trigger of {trigger_cpus:.2}")
            }
            Outcome::DestinationWouldExceedSource { destination_cpus, source_cpus } => format!(
                "the least loaded node would be at {destination_cpus:.2} CPU, above this node's {source_cpus:.2}"
            ),
            Outcome::SelfInflicted { moved_cpus, source_cpus } => {
                format!("the migratable work itself is {moved_cpus:.2} CPU of its load of {source_cpus:.2}")
            }
            Outcome::PastWarning { destination_cpus, warning_cpus } => format!(
                "the least loaded node would be at {destination_cpus:.2} CPU, above the warning line of \
                 {warning_cpus:.2}"
            ),
            Outcome::BelowMinGain { moved_cpus, min_gain_cpus } => {
                format!("only {moved_cpus:.2} CPU would move, and a move must exceed {min_gain_cpus:.2}")
            }
            Outcome::Calm { pressure_share, enter_share } => format!(
                "others take {:.1} % of it, below the {:.1} % of a bad round",
                pressure_share * 100.0,
                enter_share * 100.0
            ),
            Outcome::NotSustained { bad_rounds, needed_rounds } => {
                format!("it has been bad for {bad_rounds} of the required {}", counted(needed_rounds.into(), "round"))
            }
            Outcome::GainTooSmall { pressure_share, destination_share } => format!(
                "others take {:.0} % of it and {:.0} % of the destination, so a move would gain too little",
                100.0 * pressure_share,
                100.0 * destination_share
            ),
            Outcome::CoolingDown { rounds_left } => {
                format!("it is bad, but the cool-down lasts {}", counted(rounds_left.into(), "more round"))
            }
            Outcome::Fits { wanted_cpus, supply_cpus } => {
                format!("its work wants {wanted_cpus:.2} CPU, and the node can supply {supply_cpus:.2}")
            }
            Outcome::Folds { wanted_cpus, limit_cpus } => {
                let room_share = self.node(node).map_or(1.0, |node| node.room_share);
                let why = match room_share {
                    1.0.. => "others need its CPU".to_owned(),
                    _ => format!("a latency objective leaves {:.0} % of its room", 100.0 * room_share),
                };
                format!("{why}; its work wants {wanted_cpus:.2} CPU and is limited to {limit_cpus:.2}")
            }
            Outcome::Short { wanted_cpus, supply_cpus } => format!(
                "its work wants {wanted_cpus:.2} CPU, the node can supply only {supply_cpus:.2}, and no other node can \
                 supply so much more that a move pays"
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

    /// A node's pressure and the readings of its sources.
    fn measured(&self, node: &Node) -> String {
        let id = node.id;
        if node.capacity_cpus == 0.0 {
            return format!("node {id}: no CPU online");
        }
        let drained = if node.drained { "drained; " } else { "" };
        let taken = match node.pressure {
            Pressure::Fresh { share } => format!("{drained}others take {:.0} %", share * 100.0),
            Pressure::Stale { age_rounds, .. } => {
                format!("{drained}unknown, since the last reading is {} old", counted(age_rounds.into(), "round"))
            }
            Pressure::Unknown => format!("{drained}unknown"),
        };
        let readings = self.readings.get(&id);
        let psi = readings
            .and_then(|readings| readings.host_psi_share)
            .map(|psi| format!("PSI of the host {:.0} %", psi * 100.0));
        let sources: Vec<String> = readings.into_iter().flat_map(source_lines).map(source_text).chain(psi).collect();
        let Node { load_cpus, capacity_cpus, .. } = node;
        let dsm = readings.and_then(|readings| readings.dsm).map(memory::dsm_text).unwrap_or_default();
        let memory = node.free_bytes.map(|bytes| format!("; {} of memory for work", mib(bytes))).unwrap_or_default();
        format!("node {id}: {taken} ({}); load {load_cpus:.2} of {capacity_cpus} CPUs{memory}{dsm}", sources.join("; "))
    }

    fn chosen(&self) -> String {
        let order = self.picked_by.map(|by| format!("; fewest {by} first")).unwrap_or_default();
        match (self.first, self.second) {
            (None, _) => "no destination, since no node's pressure is known".into(),
            (Some(first), None) => format!("node {first} as destination{order}"),
            (Some(first), Some(second)) => format!("node {first} as destination, then node {second}{order}"),
        }
    }

    fn done(&self) -> Option<String> {
        let Retargeted { nr_moved, nr_kicked, .. } = self.retargeted?;
        let (moved, kicked) = (counted(nr_moved.into(), "queued task"), counted(nr_kicked.into(), "CPU"));
        Some(format!("{moved} moved, {kicked} kicked, {} us", self.retarget_cpu_us))
    }
}

/// Add a heading and its lines, one below the other; nothing if there are no lines.
fn add(text: &mut String, heading: &str, lines: impl IntoIterator<Item = String>) {
    let mut heading = heading;
    for line in lines {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {heading:<8} {line}");
        heading = "";
    }
}

/// `work wants 2.95 CPU, and 2.00 can be supplied: short of 0.95`.
fn balance_text(Balance { wanted_cpus, supply_cpus, short_cpus }: Balance) -> String {
    let short = if short_cpus >= 0.05 { format!(": short of {short_cpus:.2}") } else { String::new() };
    format!("work wants {wanted_cpus:.2} CPU, and {supply_cpus:.2} can be supplied{short}")
}

fn source_text(line: SourceLine) -> String {
    match (line.source, line.reading) {
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
pub(super) mod tests;
