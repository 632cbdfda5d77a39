//! Ratios of arms that ran side by side, and what they should be.

use crate::sample::Sample;

/// An arm beside a baseline. Values are costs, so less is better.
pub struct Comparison {
    pub measurement: &'static str,
    pub arm: &'static str,
    pub baseline: &'static str,
    /// The goal for the median of the ratios.
    pub at_most: f64,
}

/// At least 0.95 of the fair class's throughput.
const SWITCHES_MAX: f64 = 1.0 / 0.95;
const PIPE: &str = "pipe, 5000 round trips";
const MESSAGING: &str = "messaging, a group of 40 processes";
const FAIR: &str = "fair class";

pub const COMPARISONS: &[Comparison] = &[
    Comparison { measurement: PIPE, arm: "fixed", baseline: FAIR, at_most: SWITCHES_MAX },
    Comparison { measurement: PIPE, arm: "migratable", baseline: FAIR, at_most: SWITCHES_MAX },
    Comparison { measurement: MESSAGING, arm: "fixed", baseline: FAIR, at_most: SWITCHES_MAX },
    Comparison { measurement: MESSAGING, arm: "migratable", baseline: FAIR, at_most: SWITCHES_MAX },
    Comparison {
        measurement: "wakeup of a fixed task, mean",
        arm: "beside migratable hogs",
        baseline: "fair class, alone",
        at_most: 1.05,
    },
    Comparison {
        measurement: "wakeup of a fixed task, P99",
        arm: "beside migratable hogs",
        baseline: "fair class, alone",
        at_most: 1.05,
    },
    Comparison {
        measurement: "wakeup of a migratable task, mean",
        arm: "beside migratable hogs",
        baseline: "fair class at nice 5, beside nice 5 hogs",
        at_most: 1.0,
    },
    Comparison {
        measurement: "retarget, 2000 asleep and 4 running, CPU time",
        arm: "scx_vnuma",
        baseline: "taskset loop",
        at_most: 0.01,
    },
    Comparison {
        measurement: "retarget, 10000 asleep and 4 running, CPU time",
        arm: "scx_vnuma",
        baseline: "sched_setaffinity loop",
        at_most: 1.0,
    },
];

impl Comparison {
    /// Lowest, median and highest ratio over the pairs; an arm that was measured once is compared with by its one value.
    pub fn ratio(&self, samples: &[Sample]) -> Option<(f64, f64, f64)> {
        let baseline = values(samples, self.measurement, self.baseline);
        let first = baseline.first()?.1;
        let beside = |pair| baseline.iter().find(|&&(nr, _)| nr == pair).map_or(first, |&(_, value)| value);
        let ours = values(samples, self.measurement, self.arm);
        let ratios: Vec<f64> = ours.iter().map(|&(pair, value)| value / beside(pair)).collect();
        (!ratios.is_empty()).then(|| spread(ratios))
    }
}

/// An arm's values with their pairs.
pub fn values(samples: &[Sample], measurement: &str, arm: &str) -> Vec<(u32, f64)> {
    let of_it = samples.iter().filter(|sample| sample.measurement == measurement && sample.arm == arm);
    of_it.map(|sample| (sample.pair, sample.value)).collect()
}

/// Lowest, median and highest of values, of which there is at least one.
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
        assert_eq!(COMPARISONS[0].ratio(&samples), Some((1.0, 2.0, 2.0)));
        assert_eq!(COMPARISONS[1].ratio(&samples), None);
    }

    #[test]
    fn a_baseline_measured_once_stands_for_all_pairs() {
        let samples = [sample(FAIR, 0, 4.0), sample("fixed", 0, 2.0), sample("fixed", 1, 8.0)];
        assert_eq!(COMPARISONS[0].ratio(&samples), Some((0.5, 2.0, 2.0)));
    }
}
