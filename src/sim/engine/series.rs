//! Time series of a run: the rebalances, and the busy time of some machines.

use crate::sim::params::Params;
use crate::sim::tasks::Horizon;

/// Sums over the cells for each rebalance. They are integers, so the order of addition doesn't matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rounds {
    /// Bytes moved.
    pub bytes: Vec<u64>,
    /// Number of migratable tasks.
    pub migratable: Vec<u64>,
    /// Number of tasks moved to a first destination.
    pub to_first: Vec<u64>,
    /// Number of tasks moved to a second destination.
    pub to_second: Vec<u64>,
}

impl Rounds {
    pub(super) fn new(params: &Params, horizon: Horizon) -> Self {
        let rounds = params.rounds(horizon);
        let none = vec![0; rounds];
        Rounds { bytes: none.clone(), migratable: none.clone(), to_first: none.clone(), to_second: none }
    }

    /// Add the sums of another part of the cluster.
    pub fn add(&mut self, other: &Rounds) {
        let add = |sums: &mut Vec<u64>, values: &[u64]| {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        };
        add(&mut self.bytes, &other.bytes);
        add(&mut self.migratable, &other.migratable);
        add(&mut self.to_first, &other.to_first);
        add(&mut self.to_second, &other.to_second);
    }
}

/// Number of time spans in a heat map.
const HEAT_BINS: usize = 120;

/// Busy CPU of each of the first machines in each of 120 equal spans of time, in CPU-milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heat {
    /// One row per machine.
    pub busy_cpu_ms: Vec<Vec<u64>>,
}

impl Heat {
    pub(super) fn new(machines: u32, horizon: Horizon) -> Self {
        let bins = if horizon.length_s() > 0.0 { HEAT_BINS } else { 0 };
        Heat { busy_cpu_ms: vec![vec![0; bins]; machines as usize] }
    }

    /// Add the values of another part of the cluster.
    pub fn add(&mut self, other: &Heat) {
        for (row, values) in self.busy_cpu_ms.iter_mut().zip(&other.busy_cpu_ms) {
            row.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }

    /// Store a machine's busy seconds by bin, if the machine is one of those shown.
    pub(super) fn record(&mut self, machine: u32, busy_s: &[f64]) {
        if let Some(row) = self.busy_cpu_ms.get_mut(machine as usize) {
            row.iter_mut().zip(busy_s).for_each(|(ms, s)| *ms = (s * 1e3).round() as u64);
        }
    }

    pub(super) fn has(&self, machine: u32) -> bool {
        (machine as usize) < self.busy_cpu_ms.len()
    }
}

/// Distributes busy time over bins as it accrues.
#[derive(Clone, Debug)]
pub(super) struct Bins {
    width_s: f64,
    pub(super) busy_s: Vec<f64>,
}

impl Bins {
    pub(super) fn new(length_s: f64) -> Self {
        Bins { width_s: length_s / HEAT_BINS as f64, busy_s: vec![0.0; HEAT_BINS] }
    }

    pub(super) fn add(&mut self, from_s: f64, to_s: f64, busy_cpus: f64) {
        let mut from_s = from_s;
        let mut bin = ((from_s / self.width_s) as usize).min(HEAT_BINS - 1);
        while from_s < to_s {
            let bin_end_s = if bin + 1 == HEAT_BINS { f64::INFINITY } else { (bin + 1) as f64 * self.width_s };
            let until_s = to_s.min(bin_end_s);
            self.busy_s[bin] += busy_cpus * (until_s - from_s).max(0.0);
            from_s = until_s.max(from_s);
            if bin + 1 < HEAT_BINS && until_s >= bin_end_s {
                bin += 1;
            }
        }
    }
}
