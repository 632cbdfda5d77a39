//! A run in at most a thousand bins of equal length, however long it lasted, and its totals.

use std::collections::BTreeMap;

use super::text;
use crate::cell::{Moved, Node, NodeId, Outcome, Payoff};
use crate::decision_log::LoggedRound;
use crate::report::{Decision, Round};

/// With more bins than this, pairs of them are merged.
const BINS_MAX: usize = 1024;
/// Texts that a bin keeps: of rounds that move something, and else of the last round.
const TEXTS_MAX: usize = 4;
/// Moving rounds whose text is kept for the table of moves.
const MOVES_MAX: usize = 1000;

/// A run. All times are in rounds of the configured length; those of missing rounds count as one each.
#[derive(Debug)]
pub(super) struct Timeline {
    /// Length of a bin, a power of two.
    pub bin_rounds: f64,
    pub bins: Vec<Bin>,
    pub nodes: BTreeMap<NodeId, NodeTotals>,
    pub totals: Totals,
    /// The first rounds that moved something.
    pub moves: Vec<MovingRound>,
    /// When the scheduler class was loaded again.
    pub reloads: Vec<f64>,
    last_round: Option<u64>,
    end: f64,
}

/// A part of the run, of which the log covers `covered` rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Bin {
    pub covered: f64,
    pub nodes: BTreeMap<NodeId, NodeBin>,
    /// CPU wanted and CPU that could be supplied, times rounds; what `balanced` rounds knew.
    pub wanted: f64,
    pub supply: f64,
    pub balanced: f64,
    pub moved_bytes: f64,
    /// What was decided, and how many moving rounds were left out.
    pub texts: Vec<String>,
    pub nr_left_out: u64,
    has_moves: bool,
}

/// A node in a bin. Sums are of CPUs times rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct NodeBin {
    /// Rounds in which it had CPUs, and those of them in which its pressure was known.
    pub online: f64,
    pub known: f64,
    /// The largest number of CPUs.
    pub capacity_cpus: f64,
    /// What others took, in the rounds that know.
    pub others: f64,
    /// What migratable work used.
    pub work: f64,
    /// What the guest's other tasks used.
    pub rest: f64,
    /// What others left, and what work used in the same rounds: those that know.
    pub left: f64,
    pub work_known: f64,
    /// The lowest limit below the capacity.
    pub limit_cpus: Option<f64>,
    /// Rounds with such a limit.
    pub limited: f64,
    pub groups_in: u64,
    pub groups_out: u64,
    /// Times that the kernel side saw others' use jump.
    pub hits: u64,
}

/// A node over the whole run.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeTotals {
    pub sums: NodeBin,
    /// Rounds by kind of verdict.
    pub verdicts: BTreeMap<&'static str, u64>,
}

/// The whole run.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Rounds in the log.
    pub rounds: u64,
    /// Their length.
    pub covered: f64,
    /// Rounds whose numbers are missing in between.
    pub missing: f64,
    pub moving_rounds: u64,
    pub moved: Moved,
    pub wanted: f64,
    pub supply: f64,
    pub short: f64,
    pub balanced: f64,
    /// Moves that were judged, by what they brought, and the CPU that they gained.
    pub judged: BTreeMap<Payoff, u64>,
    pub gained_cpus: f64,
}

/// A round that moved something.
#[derive(Clone, Debug)]
pub(super) struct MovingRound {
    pub at: f64,
    pub round: u64,
    pub routes: Vec<((NodeId, NodeId), Moved)>,
    pub why: String,
}

impl Timeline {
    pub fn new() -> Self {
        Timeline {
            bin_rounds: 1.0,
            bins: Vec::new(),
            nodes: BTreeMap::new(),
            totals: Totals::default(),
            moves: Vec::new(),
            reloads: Vec::new(),
            last_round: None,
            end: 0.0,
        }
    }

    /// When the last round ended.
    pub fn end(&self) -> f64 {
        self.end
    }

    /// Add the next round of the log.
    pub fn add(&mut self, logged: LoggedRound) {
        self.skip_missing(logged.round);
        let start = self.end;
        let length = logged.view.window_rounds;
        self.end += length;
        self.make_room();
        self.totals.rounds += 1;
        self.totals.covered += length;

        let round = Round { number: logged.round, view: logged.view, plan: logged.plan, ..Round::default() };
        let whole = node_bins(&round, length);
        for (&id, bin) in &whole {
            self.nodes.entry(id).or_default().sums.merge(bin);
        }
        for verdict in &round.plan.verdicts {
            let verdicts = &mut self.nodes.entry(verdict.node).or_default().verdicts;
            *verdicts.entry(kind(&verdict.outcome)).or_default() += 1;
        }
        for judged in &round.plan.judged {
            *self.totals.judged.entry(judged.payoff).or_default() += 1;
            self.totals.gained_cpus += judged.used_cpus - judged.instead_cpus;
        }
        self.spread(start, length, &whole, &round);
        self.note_decision(&whole, &round);
    }

    /// Leave out the time of rounds that the log doesn't have. Numbers begin again when the class is loaded again.
    fn skip_missing(&mut self, round: u64) {
        match self.last_round.replace(round) {
            Some(last) if round > last => {
                let missing = (round - last - 1) as f64;
                self.totals.missing += missing;
                self.end += missing;
            }
            Some(_) => self.reloads.push(self.end),
            None => {}
        }
    }

    fn make_room(&mut self) {
        while self.end > self.bin_rounds * BINS_MAX as f64 {
            self.bin_rounds *= 2.0;
            let mut merged: Vec<Bin> = Vec::with_capacity(BINS_MAX);
            for pair in self.bins.chunks_mut(2) {
                let mut first = std::mem::take(&mut pair[0]);
                if let Some(second) = pair.get_mut(1) {
                    first.merge(std::mem::take(second));
                }
                merged.push(first);
            }
            self.bins = merged;
        }
    }

    fn bin(&mut self, at: usize) -> &mut Bin {
        if self.bins.len() <= at {
            self.bins.resize_with(at + 1, Bin::default);
        }
        &mut self.bins[at]
    }

    /// Add a round's amounts to the bins that it lies in.
    fn spread(&mut self, start: f64, length: f64, whole: &BTreeMap<NodeId, NodeBin>, round: &Round) {
        let width = self.bin_rounds;
        let (first, last) = ((start / width) as usize, self.last_bin());
        for at in first.min(last)..=last {
            let (from, to) = (start.max(at as f64 * width), (start + length).min((at + 1) as f64 * width));
            let part = if length > 0.0 { ((to - from) / length).clamp(0.0, 1.0) } else { 0.0 };
            let bin = self.bin(at);
            bin.covered += part * length;
            for (&id, amounts) in whole {
                bin.nodes.entry(id).or_default().merge(&amounts.scaled(part));
            }
            if let Some(balance) = round.plan.balance {
                bin.wanted += balance.wanted_cpus * part * length;
                bin.supply += balance.supply_cpus * part * length;
                bin.balanced += part * length;
            }
        }
        if let Some(balance) = round.plan.balance {
            self.totals.wanted += balance.wanted_cpus * length;
            self.totals.supply += balance.supply_cpus * length;
            self.totals.short += balance.short_cpus * length;
            self.totals.balanced += length;
        }
    }

    /// The bin in which the last round ends.
    fn last_bin(&self) -> usize {
        ((self.end / self.bin_rounds).ceil() as usize).saturating_sub(1).min(BINS_MAX - 1)
    }

    /// Add what happened at the end of a round: moves, hits, and the decision in words.
    fn note_decision(&mut self, whole: &BTreeMap<NodeId, NodeBin>, round: &Round) {
        let decision = Decision::of(round);
        let routes: Vec<_> = decision.routes().iter().map(|(&route, &moved)| (route, moved)).collect();
        let why = text::cut(decision.why());
        let moved = routes.iter().map(|(_, moved)| *moved).fold(Moved::default(), Moved::and);
        let said = match routes.is_empty() {
            true => format!("round {}: {why}", round.number),
            false => format!("round {}: {}: {why}", round.number, text::routes(&routes)),
        };
        let at = self.last_bin();
        let bin = self.bin(at);
        bin.say(said, !routes.is_empty());
        bin.moved_bytes += moved.bytes;
        for ((from, to), moved) in &routes {
            bin.nodes.entry(*from).or_default().groups_out += moved.groups;
            bin.nodes.entry(*to).or_default().groups_in += moved.groups;
        }
        for (id, amounts) in whole {
            bin.nodes.entry(*id).or_default().hits += amounts.hits;
        }
        if routes.is_empty() {
            return;
        }
        self.totals.moving_rounds += 1;
        self.totals.moved = self.totals.moved.and(moved);
        for ((from, to), moved) in &routes {
            self.nodes.entry(*from).or_default().sums.groups_out += moved.groups;
            self.nodes.entry(*to).or_default().sums.groups_in += moved.groups;
        }
        if self.moves.len() < MOVES_MAX {
            self.moves.push(MovingRound { at: self.end, round: round.number, routes, why });
        }
    }
}

/// The amounts of a round, by node.
fn node_bins(round: &Round, length: f64) -> BTreeMap<NodeId, NodeBin> {
    let bin = |node: &Node| {
        let groups = round.view.groups_on(node.id);
        let work_cpus: f64 = groups.iter().map(|group| group.demand.usage_cpus).sum();
        let is_online = node.capacity_cpus > 0.0;
        let others_cpus = node.pressure_cpus().filter(|_| is_online);
        let limit = round.plan.limits.get(&node.id).copied().filter(|&limit| limit < node.capacity_cpus);
        let known = if others_cpus.is_some() { length } else { 0.0 };
        let bin = NodeBin {
            online: if is_online { length } else { 0.0 },
            known,
            capacity_cpus: node.capacity_cpus,
            others: others_cpus.unwrap_or(0.0) * length,
            work: work_cpus * length,
            rest: (node.load_cpus - others_cpus.unwrap_or(0.0) - work_cpus).max(0.0) * length,
            left: others_cpus.map_or(0.0, |cpus| node.capacity_cpus - cpus) * length,
            work_known: work_cpus * known,
            limit_cpus: limit,
            limited: if limit.is_some() { length } else { 0.0 },
            hits: node.alarm.into(),
            ..NodeBin::default()
        };
        (node.id, bin)
    };
    round.view.nodes.iter().map(bin).collect()
}

impl NodeBin {
    /// A part of the amounts. What happened once is no amount, and stays out.
    fn scaled(&self, part: f64) -> NodeBin {
        NodeBin {
            online: self.online * part,
            known: self.known * part,
            others: self.others * part,
            work: self.work * part,
            rest: self.rest * part,
            left: self.left * part,
            work_known: self.work_known * part,
            limited: self.limited * part,
            groups_in: 0,
            groups_out: 0,
            hits: 0,
            ..*self
        }
    }

    pub fn merge(&mut self, other: &NodeBin) {
        self.online += other.online;
        self.known += other.known;
        self.capacity_cpus = self.capacity_cpus.max(other.capacity_cpus);
        self.others += other.others;
        self.work += other.work;
        self.rest += other.rest;
        self.left += other.left;
        self.work_known += other.work_known;
        self.limit_cpus = match (self.limit_cpus, other.limit_cpus) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.limited += other.limited;
        self.groups_in += other.groups_in;
        self.groups_out += other.groups_out;
        self.hits += other.hits;
    }
}

impl Bin {
    /// Note what a round decided. Rounds that move something displace those that don't.
    fn say(&mut self, said: String, moves: bool) {
        if self.has_moves && !moves {
            return;
        }
        if !self.has_moves {
            self.texts.clear();
        }
        self.has_moves |= moves;
        match self.texts.len() < TEXTS_MAX {
            true => self.texts.push(said),
            false => self.nr_left_out += 1,
        }
    }

    /// Append the bin that follows.
    fn merge(&mut self, next: Bin) {
        self.covered += next.covered;
        for (id, amounts) in &next.nodes {
            self.nodes.entry(*id).or_default().merge(amounts);
        }
        self.wanted += next.wanted;
        self.supply += next.supply;
        self.balanced += next.balanced;
        self.moved_bytes += next.moved_bytes;
        for said in next.texts {
            self.say(said, next.has_moves);
        }
        if next.has_moves {
            self.nr_left_out += next.nr_left_out;
        }
    }
}

/// A verdict in a word or two.
fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Moves { .. } => "moves",
        Outcome::BelowTrigger { .. } => "below the trigger",
        Outcome::DestinationWouldExceedSource { .. } => "no less loaded node",
        Outcome::SelfInflicted { .. } => "its own load",
        Outcome::PastWarning { .. } => "destination full",
        Outcome::BelowMinGain { .. } => "too little to move",
        Outcome::Calm { .. } => "calm",
        Outcome::NotSustained { .. } => "not bad for long",
        Outcome::GainTooSmall { .. } => "no better node",
        Outcome::CoolingDown { .. } => "cooling down",
        Outcome::Fits { .. } => "fits",
        Outcome::Folds { .. } => "limited",
        Outcome::Short { .. } => "short",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{logged, moving};
    use super::*;

    fn timeline(rounds: impl IntoIterator<Item = LoggedRound>) -> Timeline {
        let mut timeline = Timeline::new();
        rounds.into_iter().for_each(|round| timeline.add(round));
        timeline
    }

    #[test]
    fn a_long_run_has_as_many_bins_as_a_page_can_show_and_the_same_sums() {
        let timeline = timeline((1..=7200).map(logged));
        assert_eq!((timeline.bin_rounds, timeline.bins.len()), (8.0, 900));
        let in_bins = |of: fn(&NodeBin) -> f64| {
            timeline.bins.iter().flat_map(|bin| bin.nodes.get(&NodeId(0))).map(of).sum::<f64>()
        };
        let totals = timeline.nodes[&NodeId(0)].sums;
        assert!((in_bins(|node| node.work) - totals.work).abs() < 1e-6 && totals.work > 0.0);
        assert!((in_bins(|node| node.others) - totals.others).abs() < 1e-6 && totals.others > 0.0);
        assert_eq!(timeline.totals.covered, 7200.0);
    }

    #[test]
    fn missing_rounds_leave_a_gap_and_a_new_load_none() {
        let timeline = timeline([1, 2, 5, 1, 2].map(logged));
        let covered: Vec<f64> = timeline.bins.iter().map(|bin| bin.covered).collect();
        assert_eq!(covered, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!((timeline.totals.missing, timeline.reloads.as_slice()), (2.0, [5.0].as_slice()));
    }

    #[test]
    fn a_round_that_moves_is_told_of_rather_than_those_around_it() {
        let mut rounds: Vec<LoggedRound> = (1..=4096).map(logged).collect();
        rounds[1] = moving(2);
        let timeline = timeline(rounds);
        assert_eq!(timeline.bin_rounds, 4.0);
        assert_eq!(timeline.bins[0].texts.len(), 1);
        assert!(timeline.bins[0].texts[0].starts_with("round 2: 0 → 1: 1 group"), "{:?}", timeline.bins[0].texts);
        assert!(timeline.bins[1].texts[0].starts_with("round 8:"), "{:?}", timeline.bins[1].texts);
        assert_eq!((timeline.totals.moving_rounds, timeline.moves[0].round), (1, 2));
        assert_eq!(timeline.bins[0].nodes[&NodeId(1)].groups_in, 1);
    }

    #[test]
    fn a_long_and_an_empty_window_are_spread_and_not_lost() {
        let mut rounds: Vec<LoggedRound> = (1..=3).map(logged).collect();
        (rounds[1].view.window_rounds, rounds[2].view.window_rounds) = (2.5, 0.0);
        let timeline = timeline(rounds);
        let covered: Vec<f64> = timeline.bins.iter().map(|bin| bin.covered).collect();
        assert_eq!(covered, [1.0, 1.0, 1.0, 0.5]);
        assert!(timeline.bins[3].texts[0].starts_with("round 3:"));
    }

    #[test]
    fn numbers_far_beyond_any_run_end_in_few_bins() {
        let timeline = timeline([1, u64::MAX].map(logged));
        assert!(timeline.bins.len() <= BINS_MAX);
    }
}
