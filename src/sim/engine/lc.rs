//! How much latency-critical work meets which load, and what that does to its latency.

use std::collections::BTreeMap;

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
        let wanted = self.work_cpu_s.values().sum::<f64>() * share;
        let mut seen = 0.0;
        let bin = self.work_cpu_s.iter().find(|(_, work_cpu_s)| {
            seen += **work_cpu_s;
            seen >= wanted
        });
        bin.filter(|_| wanted > 0.0).map(|(&bin, _)| slowdown_of(bin))
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

/// Turns what the meters kept into slowdowns.
pub(super) struct LcReader {
    pub(super) rule: LcRule,
    draws: Draws,
    known: FxHashMap<State, Bursts>,
}

impl LcReader {
    pub(super) fn new(model: &LcModel, params: &Params) -> LcReader {
        let rule = LcRule::new(model, params);
        LcReader { rule, draws: Draws::new(*model, params.seed), known: FxHashMap::default() }
    }

    /// The slowdowns of a cell, from its machines' meters.
    pub(super) fn read<'a>(&mut self, meters: impl Iterator<Item = &'a Meter>) -> LcOutcome {
        let mut cell = LcOutcome::default();
        for meter in meters {
            let machine = self.read_machine(meter);
            cell.add(&machine);
            cell.machine_p50.push(machine.percentile(0.5));
            cell.machine_p99.push(machine.percentile(0.99));
        }
        cell
    }

    fn read_machine(&mut self, meter: &Meter) -> LcOutcome {
        let mut machine = LcOutcome::default();
        let mut states: Vec<(State, f64)> = meter.work_cpu_s.iter().map(|(&state, &work)| (state, work)).collect();
        // The order of addition decides how sums are rounded.
        states.sort_unstable_by_key(|&(state, _)| state);
        for (state, work_cpu_s) in states {
            let bursts = self.known.entry(state).or_insert_with(|| self.draws.bursts(state));
            machine.slowed_cpu_s += work_cpu_s * bursts.mean;
            for &(bin, share) in &bursts.bins {
                *machine.work_cpu_s.entry(bin).or_default() += work_cpu_s * share;
            }
        }
        machine
    }
}
