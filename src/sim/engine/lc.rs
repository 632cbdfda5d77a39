//! How much latency-critical work meets which load, and what that does to its latency.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashMap;

use super::machine::Running;
use crate::sim::models::lc::{slowdown_of, Bursts, Draws, State, BINS};
use crate::sim::models::LcModel;
use crate::sim::params::Params;

/// Which tasks are latency-critical.
#[derive(Clone, Copy, Debug)]
pub(super) struct LcRule {
    from_priority: Option<u32>,
    priority_below: u32,
    max_cpu: f32,
}

impl LcRule {
    pub(super) fn new(model: &LcModel, params: &Params) -> LcRule {
        let (priority_below, max_cpu) = (params.priority_below, params.max_cpu as f32);
        LcRule { from_priority: model.from_priority, priority_below, max_cpu }
    }

    fn has(self, running: &Running) -> bool {
        match self.from_priority {
            Some(priority) => running.priority >= priority,
            None => running.usage.cpu_max > self.max_cpu || running.priority >= self.priority_below,
        }
    }
}

/// Keeps a machine's latency-critical load, and the work that it did in each state of the machine.
#[derive(Debug)]
pub(super) struct Meter {
    rule: LcRule,
    lc_cpus: f64,
    work_cpu_s: FxHashMap<State, f64>,
}

impl Meter {
    pub(super) fn new(rule: LcRule) -> Meter {
        Meter { rule, lc_cpus: 0.0, work_cpu_s: FxHashMap::default() }
    }

    /// A task's usage begins here. Loads have exact sums, so nothing is left once it has ended.
    pub(super) fn begin(&mut self, running: &Running) {
        if self.rule.has(running) {
            self.lc_cpus += running.cpus;
        }
    }

    /// A task's usage ends here.
    pub(super) fn end(&mut self, running: &Running) {
        if self.rule.has(running) {
            self.lc_cpus -= running.cpus;
        }
    }

    /// Time passes with this load of all tasks.
    pub(super) fn pass(&mut self, dt_s: f64, load_cpus: f64, capacity_cpus: f64) {
        if self.lc_cpus > 0.0 {
            let state = State::of(self.lc_cpus, load_cpus - self.lc_cpus, capacity_cpus);
            *self.work_cpu_s.entry(state).or_default() += self.lc_cpus * dt_s;
        }
    }
}

/// Slowdowns of latency-critical work, in a cell or several.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LcOutcome {
    /// Latency-critical work by slowdown, CPU-seconds. Bins are as in a floating-point number, 64 between two powers of 2.
    pub work_cpu_s: BTreeMap<u32, f64>,
    /// Sum of work times slowdown, CPU-seconds.
    pub slowed_cpu_s: f64,
    /// For each machine of a cell the median slowdown; `None` where there was no such work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machine_p50: Vec<Option<f64>>,
    /// For each machine of a cell the 99th percentile of the slowdown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machine_p99: Vec<Option<f64>>,
}

impl LcOutcome {
    /// The work of all of these together.
    pub fn sum<'a>(outcomes: impl Iterator<Item = &'a LcOutcome>) -> LcOutcome {
        outcomes.fold(LcOutcome::default(), |mut sum, one| {
            sum.add(one);
            sum
        })
    }

    fn add(&mut self, other: &LcOutcome) {
        other.work_cpu_s.iter().for_each(|(&bin, work_cpu_s)| *self.work_cpu_s.entry(bin).or_default() += work_cpu_s);
        self.slowed_cpu_s += other.slowed_cpu_s;
    }

    /// The mean slowdown; `None` without latency-critical work.
    pub fn mean(&self) -> Option<f64> {
        let work_cpu_s: f64 = self.work_cpu_s.values().sum();
        (work_cpu_s > 0.0).then(|| self.slowed_cpu_s / work_cpu_s)
    }

    /// The least slowdown that at least a share of the work does not exceed, rounded down by less than 1/64.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        percentile(|| self.work_cpu_s.iter().map(|(&bin, &work_cpu_s)| (bin, work_cpu_s)), share)
    }

    /// Check what a result says of a cell with this many machines. The error says what is wrong.
    pub fn check(&self, machines: usize) -> Result<(), String> {
        let LcOutcome { work_cpu_s, slowed_cpu_s, machine_p50, machine_p99 } = self;
        let amounts =
            || work_cpu_s.values().chain([slowed_cpu_s]).chain(machine_p50.iter().chain(machine_p99).flatten());
        if amounts().any(|amount| !(0.0..1e300).contains(amount)) || work_cpu_s.keys().any(|&bin| bin >= BINS) {
            return Err("its latency-critical work has an impossible number".to_owned());
        }
        match [machine_p50, machine_p99].iter().all(|values| values.len() == machines) {
            true => Ok(()),
            false => Err(format!("it doesn't have the latency-critical work of its {machines} machines")),
        }
    }
}

/// The least slowdown that at least a share of the work does not exceed, of bins in ascending order.
fn percentile<I: Iterator<Item = (u32, f64)>>(bins: impl Fn() -> I, share: f64) -> Option<f64> {
    let wanted = bins().map(|(_, work_cpu_s)| work_cpu_s).sum::<f64>() * share;
    let mut seen = 0.0;
    let bin = bins().find(|(_, work_cpu_s)| {
        seen += work_cpu_s;
        seen >= wanted
    });
    bin.filter(|_| wanted > 0.0).map(|(bin, _)| slowdown_of(bin))
}

/// Work by slowdown with a place for each bin: adding to a tree took a quarter of the time of a comparison.
struct Histogram {
    work_cpu_s: [f64; BINS as usize],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { work_cpu_s: [0.0; BINS as usize] }
    }
}

impl Histogram {
    fn add(&mut self, other: &Histogram) {
        self.work_cpu_s.iter_mut().zip(&other.work_cpu_s).for_each(|(sum, work_cpu_s)| *sum += work_cpu_s);
    }

    /// The bins with work.
    fn bins(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        (0u32..).zip(self.work_cpu_s).filter(|&(_, work_cpu_s)| work_cpu_s > 0.0)
    }

    fn percentile(&self, share: f64) -> Option<f64> {
        percentile(|| self.bins(), share)
    }
}

/// The slowdowns of all states under a model and a seed, each computed once, whoever asks first: policies meet the same states.
pub(super) struct Slowed {
    draws: Draws,
    by_state: Vec<OnceLock<Bursts>>,
}

impl Slowed {
    fn new(model: &LcModel, seed: u64) -> Slowed {
        let by_state = std::iter::repeat_with(OnceLock::new).take(State::COUNT).collect();
        Slowed { draws: Draws::new(*model, seed), by_state }
    }

    /// Those of each run; runs of the same model share them.
    pub(super) fn of_runs<'a>(runs: impl Iterator<Item = &'a Params>) -> Vec<Option<Arc<Slowed>>> {
        let mut known: Vec<(LcModel, u64, Arc<Slowed>)> = Vec::new();
        let mut of_run = |params: &Params| {
            let (model, seed) = (params.models.lc?, params.seed);
            if let Some((.., slowed)) = known.iter().find(|(of, at, _)| (*of, *at) == (model, seed)) {
                return Some(slowed.clone());
            }
            let slowed = Arc::new(Slowed::new(&model, seed));
            known.push((model, seed, slowed.clone()));
            Some(slowed)
        };
        runs.map(&mut of_run).collect()
    }

    fn bursts(&self, state: State) -> &Bursts {
        self.by_state[state.index()].get_or_init(|| self.draws.bursts(state))
    }
}

/// Turns what the meters kept into slowdowns.
pub(super) struct LcReader {
    pub(super) rule: LcRule,
    slowed: Arc<Slowed>,
}

impl LcReader {
    /// A reader of a run; `None` if it has no latency-critical work.
    pub(super) fn new(params: &Params, slowed: Option<Arc<Slowed>>) -> Option<LcReader> {
        Some(LcReader { rule: LcRule::new(params.models.lc.as_ref()?, params), slowed: slowed? })
    }

    /// The slowdowns of a cell, from its machines' meters.
    pub(super) fn read<'a>(&self, meters: impl Iterator<Item = &'a Meter>) -> LcOutcome {
        let mut cell = LcOutcome::default();
        let mut of_cell = Histogram::default();
        for meter in meters {
            let mut machine = Histogram::default();
            cell.slowed_cpu_s += self.read_machine(meter, &mut machine);
            of_cell.add(&machine);
            cell.machine_p50.push(machine.percentile(0.5));
            cell.machine_p99.push(machine.percentile(0.99));
        }
        cell.work_cpu_s = of_cell.bins().collect();
        cell
    }

    /// Add a machine's work by slowdown, and return the sum of work times slowdown, CPU-seconds.
    fn read_machine(&self, meter: &Meter, machine: &mut Histogram) -> f64 {
        let mut slowed_cpu_s = 0.0;
        let mut states: Vec<(State, f64)> = meter.work_cpu_s.iter().map(|(&state, &work)| (state, work)).collect();
        // The order of addition decides how sums are rounded.
        states.sort_unstable_by_key(|&(state, _)| state);
        for (state, work_cpu_s) in states {
            let bursts = self.slowed.bursts(state);
            slowed_cpu_s += work_cpu_s * bursts.mean;
            for &(bin, share) in &bursts.bins {
                machine.work_cpu_s[bin as usize] += work_cpu_s * share;
            }
        }
        slowed_cpu_s
    }
}
