//! What other settings would have done in the time of a decision log, as far as the log can tell.
//!
//! Each setting is simulated over the log's rounds by [`what_if`](super::what_if), twice: once as if others kept the CPU that they
//! took in the log whatever the work does, and once as if they shared a full node with it by what each wants. What is true lies
//! between. A setting is called better or worse only if it is so both times, by more than chance, and by more than the
//! simulation of the log's own settings is off from what the log measured.

mod merged;
mod settings;

use std::collections::BTreeSet;

pub use settings::{settings, Setting};

use super::replay::replay;
use super::spread::Spread;
use super::what_if::{simulate, Assumptions, UNPRESSED_SHARE};
use crate::cell::{CellView, Node, NodeId, Plan};
use crate::decision_log::{Header, LoggedRound};
use crate::policy::{PolicyName, PAGE_COST_S};

/// Differences are compared over parts of the log that last at least this long: what happens within a stay depends on each other.
const PART_S: f64 = 10.0;
/// At most this many parts.
const PARTS_MAX: f64 = 20.0;
/// With fewer parts, chance can't be told from an effect.
const PARTS_MIN: usize = 4;
/// The interval of logs that don't name it, in seconds.
const OLD_INTERVAL_S: f64 = 2.0;

/// What a log tells of other settings.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Advice {
    /// The policy of the log.
    pub policy: String,
    /// Rounds of the log.
    pub rounds: usize,
    /// Rounds in which what others took of a node with CPUs was not known.
    pub blind_rounds: usize,
    /// Rounds in which the log's own settings, as far as they are known, decide as the log did.
    pub same_rounds: usize,
    /// The time of the log, in seconds.
    pub seconds: f64,
    /// CPU that the work used, as measured, a mean.
    pub used_cpus: f64,
    /// Between the simulation of the log's own settings and what was measured, in CPUs.
    pub error_cpus: f64,
    /// Parts of the log over which differences were compared.
    pub parts: usize,
    /// The settings; the log's own come first.
    pub settings: Vec<Judged>,
    /// The position in `settings` of the best that is better than the log's own.
    pub best: Option<usize>,
}

/// What a setting would have done.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Judged {
    /// The setting, as options.
    pub name: String,
    /// The least and the most CPU that the work would have got, a mean, without what it would have waited for pages of moves.
    pub got_cpus: [f64; 2],
    /// The least and the most that it would have got more than under the log's own settings. `None` of those.
    pub gain_cpus: Option<[f64; 2]>,
    /// CPU that the work wanted, a mean.
    pub wanted_cpus: f64,
    /// Of the CPU that it would have got, that on nodes of which others took at least a twentieth.
    pub pressed_cpus: f64,
    /// Groups that would have moved.
    pub moved_groups: u64,
    /// Their resident memory, in bytes.
    pub moved_bytes: f64,
    /// Compared with the log's own settings.
    pub verdict: Verdict,
}

/// A setting compared with the log's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// These are the log's own settings.
    Own,
    /// Work would have got more CPU.
    Better,
    /// Work would have got less CPU.
    Worse,
    /// The log can't tell.
    Unclear,
}

/// Why there is no advice.
#[derive(Debug, thiserror::Error)]
pub enum AdviceError {
    /// The log has no round.
    #[error("the log has no round: let scx_vnuma run for longer")]
    NoRounds,
    /// The policy of the log is not a policy of this version.
    #[error("the log is of the policy '{0}', which this version doesn't have")]
    Policy(String),
}

/// Simulate other settings over the rounds of a log.
pub fn advise(header: &Header, rounds: &[LoggedRound]) -> Result<Advice, AdviceError> {
    let first = rounds.first().ok_or(AdviceError::NoRounds)?;
    let policy: PolicyName = header.policy.parse().map_err(|_| AdviceError::Policy(header.policy.clone()))?;
    let logged = header.interval_s.filter(|interval_s| (1e-3..=1e6).contains(interval_s));
    let interval_s = logged.unwrap_or(OLD_INTERVAL_S);
    let seconds: f64 = rounds.iter().map(|round| round.view.window_rounds * interval_s).sum();
    let parts = (seconds / PART_S).clamp(1.0, PARTS_MAX) as usize;
    let settings = settings(policy, header.guards, &first.view, &by_pressure(rounds));
    let outcomes: Vec<[Totals; 2]> = settings
        .iter()
        .map(|setting| [false, true].map(|give_way| outcome(rounds, setting, give_way, interval_s, parts)))
        .collect();
    let used_cpus = used_cpus(rounds);
    let own = &outcomes[0];
    let error_cpus = (own[0].got_cpus() - used_cpus).max(used_cpus - own[1].got_cpus()).max(0.0);
    let judged = settings.iter().zip(&outcomes).enumerate().map(|(at, (setting, outcome))| {
        let comparison = (at > 0).then(|| Comparison::of(outcome, own, error_cpus));
        outcome[0].judged(&setting.name, outcome, comparison)
    });
    let judged: Vec<Judged> = judged.collect();
    let least_gain = |judged: &Judged| judged.gain_cpus.map_or(0.0, |gain| gain[0]);
    let better = judged.iter().enumerate().filter(|(_, judged)| judged.verdict == Verdict::Better);
    let best = better.max_by(|(_, a), (_, b)| least_gain(a).total_cmp(&least_gain(b))).map(|(at, _)| at);
    let mut again = settings[0].decider(interval_s);
    let same = rounds.iter().filter(|round| replay((*round).clone(), again.as_mut()).same);
    Ok(Advice {
        policy: header.policy.clone(),
        rounds: rounds.len(),
        blind_rounds: rounds.iter().filter(|round| round.view.nodes.iter().any(is_unknown)).count(),
        same_rounds: same.count(),
        seconds,
        used_cpus,
        error_cpus,
        parts,
        settings: judged,
        best,
    })
}

fn is_unknown(node: &Node) -> bool {
    node.capacity_cpus > 0.0 && node.pressure.share().is_none()
}

/// The nodes with CPUs that aren't drained, the one of which others took most first.
fn by_pressure(rounds: &[LoggedRound]) -> Vec<NodeId> {
    let nodes: BTreeSet<NodeId> = rounds[0]
        .view
        .nodes
        .iter()
        .filter(|node| node.capacity_cpus > 0.0 && !node.drained)
        .map(|node| node.id)
        .collect();
    let taken = |node: &NodeId| -> f64 {
        rounds.iter().filter_map(|round| round.view.node(*node)?.pressure_cpus()).sum::<f64>()
    };
    let mut nodes: Vec<(NodeId, f64)> = nodes.into_iter().map(|node| (node, taken(&node))).collect();
    nodes.sort_by(|a, b| b.1.total_cmp(&a.1));
    nodes.into_iter().map(|(node, _)| node).collect()
}

/// CPU that the work used as the log has it, a mean over time.
fn used_cpus(rounds: &[LoggedRound]) -> f64 {
    let used = |view: &CellView| view.groups.iter().map(|group| group.demand.usage_cpus).sum::<f64>();
    let (sum, time) = rounds.iter().fold((0.0, 0.0), |(sum, time), LoggedRound { view, .. }| {
        (sum + used(view) * view.window_rounds, time + view.window_rounds)
    });
    sum / time.max(f64::MIN_POSITIVE)
}

/// Simulate a setting.
fn outcome(rounds: &[LoggedRound], setting: &Setting, others_give_way: bool, interval_s: f64, parts: usize) -> Totals {
    let seconds: f64 = rounds.iter().map(|round| round.view.window_rounds * interval_s).sum();
    let mut rounds = merged::merged(rounds, setting.merged);
    for node in rounds.iter_mut().flat_map(|round| &mut round.view.nodes) {
        node.drained |= setting.drained.contains(&node.id);
    }
    let round_s = interval_s * setting.merged as f64;
    let mut totals = Totals { parts: vec![Part::default(); parts], ..Totals::default() };
    let assumptions = Assumptions { others_give_way, by_waiting: true };
    simulate(rounds, setting.decider(round_s), assumptions, |view, plan| totals.add(view, plan, round_s, seconds));
    totals
}

/// What a setting did, summed up over time.
#[derive(Clone, Debug, Default)]
struct Totals {
    seconds: f64,
    wanted_cpu_s: f64,
    pressed_cpu_s: f64,
    moved_groups: u64,
    moved_bytes: f64,
    parts: Vec<Part>,
}

/// A part of the log's time.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    got_cpu_s: f64,
    seconds: f64,
}

impl Totals {
    fn add(&mut self, view: &CellView, plan: &Plan, round_s: f64, all_s: f64) {
        /// Bytes of a page.
        const PAGE_BYTES: f64 = 4096.0;

        let time_s = view.window_rounds * round_s;
        let at = self.parts.len() as f64 * (self.seconds + time_s / 2.0) / all_s;
        let last = self.parts.len() - 1;
        self.seconds += time_s;
        let moved = plan.moved(view);
        self.moved_groups += moved.groups;
        self.moved_bytes += moved.bytes;
        let part = &mut self.parts[(at as usize).min(last)];
        part.seconds += time_s;
        part.got_cpu_s -= moved.bytes / PAGE_BYTES * PAGE_COST_S;
        for node in &view.nodes {
            let groups = view.groups_on(node.id);
            let got: f64 = groups.iter().map(|group| group.demand.usage_cpus).sum();
            let wanted = groups.iter().map(|group| group.wanted_cpus.unwrap_or(group.demand.usage_cpus));
            part.got_cpu_s += got * time_s;
            self.wanted_cpu_s += wanted.sum::<f64>() * time_s;
            if node.pressure.share().is_some_and(|share| share >= UNPRESSED_SHARE) {
                self.pressed_cpu_s += got * time_s;
            }
        }
    }

    fn got_cpus(&self) -> f64 {
        self.parts.iter().map(|part| part.got_cpu_s).sum::<f64>() / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// CPU that the work got in each part.
    fn by_part(&self) -> Vec<f64> {
        self.parts.iter().map(|part| part.got_cpu_s / part.seconds.max(f64::MIN_POSITIVE)).collect()
    }

    /// `both` are the outcomes under both assumptions, of which this is the one in which others keep their CPU.
    fn judged(&self, name: &str, both: &[Totals; 2], comparison: Option<Comparison>) -> Judged {
        let seconds = self.seconds.max(f64::MIN_POSITIVE);
        Judged {
            name: name.to_owned(),
            got_cpus: in_order(both[0].got_cpus(), both[1].got_cpus()),
            gain_cpus: comparison.map(|comparison| comparison.gain_cpus),
            wanted_cpus: self.wanted_cpu_s / seconds,
            pressed_cpus: self.pressed_cpu_s / seconds,
            moved_groups: self.moved_groups,
            moved_bytes: self.moved_bytes,
            verdict: comparison.map_or(Verdict::Own, |comparison| comparison.verdict),
        }
    }
}

fn in_order(a: f64, b: f64) -> [f64; 2] {
    [a.min(b), a.max(b)]
}

/// A setting against the log's own.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    gain_cpus: [f64; 2],
    verdict: Verdict,
}

impl Comparison {
    fn of(one: &[Totals; 2], own: &[Totals; 2], error_cpus: f64) -> Self {
        let of = |at: usize| Spread::of_differences(&one[at].by_part(), &own[at].by_part());
        let gains = [0, 1].map(|at| one[at].got_cpus() - own[at].got_cpus());
        let is_sure = [0, 1].iter().all(|&at| {
            let spread = of(at).filter(|_| one[at].parts.len() >= PARTS_MIN);
            spread.is_some_and(|spread| !spread.may_be_zero())
        });
        let gain_cpus = in_order(gains[0], gains[1]);
        let verdict = match is_sure {
            true if gain_cpus[0] > error_cpus => Verdict::Better,
            true if gain_cpus[1] < -error_cpus => Verdict::Worse,
            _ => Verdict::Unclear,
        };
        Comparison { gain_cpus, verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Group, Pressure};
    use crate::policy::test_cell::{cell, group, node};

    /// A minute of rounds of half a second, in which others take `taken` of node 0, the only one that the work ran on.
    fn log(taken: f64, rounds: u64) -> (Header, Vec<LoggedRound>) {
        let header = Header { interval_s: Some(0.5), ..Header::new("none", None) };
        let round = |number| {
            let group = Group { wanted_cpus: Some(0.9), ..group(7, 0, 1.0 - taken) };
            let view = cell(vec![node(0, 1.0, taken), node(1, 1.0, 0.0)], vec![group]);
            LoggedRound { round: number, view, plan: Plan::default(), observed: None }
        };
        (header, (1..=rounds).map(round).collect())
    }

    fn of<'a>(advice: &'a Advice, name: &str) -> &'a Judged {
        advice.settings.iter().find(|judged| judged.name == name).unwrap()
    }

    #[test]
    fn where_work_stayed_on_a_busy_node_moving_is_better_and_the_least_gain_is_said() {
        let (header, rounds) = log(0.6, 120);
        let advice = advise(&header, &rounds).unwrap();
        assert_eq!((advice.same_rounds, advice.parts, advice.settings[0].verdict), (120, 6, Verdict::Own));
        // 0.4 is left if others keep theirs; by what each wants it is 0.9 of 1.5.
        assert_eq!(advice.settings[0].got_cpus.map(|cpus| (100.0 * cpus).round()), [40.0, 60.0]);
        assert!((advice.used_cpus - 0.4).abs() < 1e-9 && advice.error_cpus < 1e-9, "{advice:?}");
        let coarse = of(&advice, "--policy coarse");
        assert_eq!(coarse.verdict, Verdict::Better);
        let [least, most] = coarse.gain_cpus.unwrap();
        assert!((0.25..0.3).contains(&least) && (0.45..0.5).contains(&most), "{coarse:?}");
        assert_eq!(coarse.moved_groups, 1);
        assert!(advice.best.is_some_and(|best| advice.settings[best].verdict == Verdict::Better));
    }

    #[test]
    fn where_nothing_was_wrong_no_setting_is_better() {
        let (header, rounds) = log(0.1, 120);
        let advice = advise(&header, &rounds).unwrap();
        assert_eq!(advice.best, None);
        assert!(advice.settings.iter().all(|judged| judged.verdict != Verdict::Better), "{advice:?}");
    }

    #[test]
    fn a_short_log_gives_no_verdict() {
        let (header, rounds) = log(0.6, 40);
        let advice = advise(&header, &rounds).unwrap();
        assert_eq!((advice.parts, advice.best), (2, None));
        assert!(advice.settings[1..].iter().all(|judged| judged.verdict == Verdict::Unclear));
    }

    #[test]
    fn a_simulation_that_is_far_off_gives_no_verdict() {
        let (header, mut rounds) = log(0.6, 120);
        // What the work used can't come from what others left.
        for view in rounds.iter_mut().map(|round| &mut round.view) {
            view.groups[0].demand.usage_cpus = 0.01;
            view.nodes[0].load_cpus = 0.61;
        }
        let advice = advise(&header, &rounds).unwrap();
        assert!(advice.error_cpus > 0.38, "{}", advice.error_cpus);
        assert_eq!(of(&advice, "--policy coarse").verdict, Verdict::Unclear);
    }

    #[test]
    fn blind_rounds_are_counted_and_an_empty_log_is_refused() {
        let (header, mut rounds) = log(0.6, 40);
        rounds[3].view.nodes[1].pressure = Pressure::Unknown;
        assert_eq!(advise(&header, &rounds).unwrap().blind_rounds, 1);
        assert!(matches!(advise(&header, &[]), Err(AdviceError::NoRounds)));
        let header = Header { policy: "finest".to_owned(), ..header };
        assert!(matches!(advise(&header, &rounds), Err(AdviceError::Policy(_))));
    }
}
