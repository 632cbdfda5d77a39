//! Ratios of arms that ran side by side, with their goals.

use crate::bench::sample::Sample;

/// An arm compared with a baseline. Values are costs, so less is better.
pub struct Comparison {
    pub measurement: &'static str,
    pub arm: &'static str,
    pub baseline: &'static str,
    /// The goal for the median of the ratios.
    pub at_most: f64,
}

const PIPE: &str = "pipe, 5000 round trips";
const MESSAGING: &str = "messaging, a group of 40 processes";
const FIXED_MEAN: &str = "wakeup of a fixed task, mean";
const FIXED_P99: &str = "wakeup of a fixed task, P99";
const MIGRATABLE_MEAN: &str = "wakeup of a migratable task, mean";
const MIGRATABLE_P99: &str = "wakeup of a migratable task, P99";

const FAIR: &str = "fair class";
const BPFLAND: &str = "scx_bpfland";
const RUSTY: &str = "scx_rusty";
const BESIDE_HOGS: &str = "beside migratable hogs";
/// Extrapolated, because starting a program for each of thousands of tasks would take minutes in an emulated machine.
pub const TASKSETS: &str = "taskset loop (reckoned from 20)";

/// At least 0.95 of the fair class's throughput.
const SWITCHES_MAX: f64 = 1.0 / 0.95;

/// An arm that is no worse than each peer is no worse than the best of them.
pub const COMPARISONS: &[Comparison] = &[
    cost(PIPE, "fixed", FAIR, SWITCHES_MAX),
    cost(PIPE, "migratable", FAIR, SWITCHES_MAX),
    cost(PIPE, "migratable", BPFLAND, 1.0),
    cost(PIPE, "migratable", RUSTY, 1.0),
    cost(MESSAGING, "fixed", FAIR, SWITCHES_MAX),
    cost(MESSAGING, "migratable", FAIR, SWITCHES_MAX),
    cost(MESSAGING, "migratable", BPFLAND, 1.0),
    cost(MESSAGING, "migratable", RUSTY, 1.0),
    cost(FIXED_MEAN, BESIDE_HOGS, "fair class, alone", 1.05),
    cost(FIXED_P99, BESIDE_HOGS, "fair class, alone", 1.05),
    cost(MIGRATABLE_MEAN, BESIDE_HOGS, "fair class, beside nice 5 hogs", 1.0),
    cost(MIGRATABLE_MEAN, BESIDE_HOGS, BPFLAND, 1.0),
    cost(MIGRATABLE_MEAN, BESIDE_HOGS, RUSTY, 1.0),
    cost(MIGRATABLE_P99, BESIDE_HOGS, BPFLAND, 1.0),
    cost(MIGRATABLE_P99, BESIDE_HOGS, RUSTY, 1.0),
    cost("retarget, 2000 asleep and 4 running, CPU time", "scx_vnuma", TASKSETS, 0.01),
    cost("retarget, 2000 asleep and 4 running, until all run there", "scx_vnuma", TASKSETS, 1.0),
    cost("retarget, 10000 asleep and 4 running, CPU time", "scx_vnuma", "sched_setaffinity loop", 1.0),
];

const fn cost(measurement: &'static str, arm: &'static str, baseline: &'static str, at_most: f64) -> Comparison {
    Comparison { measurement, arm, baseline, at_most }
}

impl Comparison {
    /// Lowest, median and highest ratio over the pairs in which both arms were measured.
    pub fn ratio(&self, samples: &[Sample]) -> Option<(f64, f64, f64)> {
        let baseline = values(samples, self.measurement, self.baseline);
        let baseline_of = |pair| baseline.iter().find(|&&(nr, _)| nr == pair).map(|&(_, value)| value);
        let ours = values(samples, self.measurement, self.arm);
        let ratios: Vec<f64> = ours.iter().filter_map(|&(pair, value)| Some(value / baseline_of(pair)?)).collect();
        (!ratios.is_empty()).then(|| spread(ratios))
    }
}

/// An arm's values with their pairs.
pub fn values(samples: &[Sample], measurement: &str, arm: &str) -> Vec<(u32, f64)> {
    let of_it = samples.iter().filter(|sample| sample.measurement == measurement && sample.arm == arm);
    of_it.map(|sample| (sample.pair, sample.value)).collect()
}

/// Lowest, median and highest of the values. There must be at least one.
pub fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(arm: &str, pair: u32, value: f64) -> Sample {
        Sample { measurement: PIPE.into(), arm: arm.into(), pair, value, unit: "s".into() }
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let samples = [sample(FAIR, 0, 1.0), sample("fixed", 0, 2.0), sample(FAIR, 1, 10.0), sample("fixed", 1, 10.0)];
        assert_eq!(cost(PIPE, "fixed", FAIR, 1.0).ratio(&samples), Some((1.0, 2.0, 2.0)));
        assert_eq!(cost(PIPE, "migratable", FAIR, 1.0).ratio(&samples), None);
    }

    #[test]
    fn a_pair_without_its_baseline_has_no_ratio() {
        let samples = [sample(FAIR, 0, 4.0), sample("fixed", 0, 2.0), sample("fixed", 1, 8.0)];
        assert_eq!(cost(PIPE, "fixed", FAIR, 1.0).ratio(&samples), Some((0.5, 0.5, 0.5)));
    }
}
