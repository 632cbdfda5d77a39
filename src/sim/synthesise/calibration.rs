//! Distributions measured on Google's cluster-usage traces (Reiss, Wilkes, Hellerstein 2011; Wilkes et al. 2019; CC-BY
//! 4.0). Tasks, requests, durations and machine load are from clusterdata-2011-2, usage relative to requests from both.

use crate::sim::random::Random;

/// Mean number of tasks that run on a machine at the start.
pub(super) const RUNNING_PER_MACHINE: f64 = 10.648;
/// Mean number of tasks submitted per machine and hour.
pub(super) const SUBMITTED_PER_MACHINE_HOUR: f64 = 2.4933;
/// Number of tasks of a submitted job.
pub(super) const TASKS_PER_JOB: Quantiles<'static> =
    Quantiles(&[(0.0, 1.0), (0.75, 1.0), (0.9, 16.0), (0.95, 85.1), (0.99, 1050.0), (1.0, 1050.0)]);
/// Share of a window's deviation that the next window keeps (autocorrelation at five minutes).
pub(super) const WINDOW_MEMORY: f64 = 0.64;
/// Standard deviation of the logarithm of a task's CPU from window to window.
pub(super) const WINDOW_SD_LOG: f64 = 0.35;

/// A distribution given by quantiles: pairs of probability and value, interpolated linearly.
#[derive(Clone, Copy)]
pub(super) struct Quantiles<'a>(&'a [(f64, f64)]);

impl Quantiles<'_> {
    pub(super) fn draw(self, random: &mut Random) -> f64 {
        self.at(random.share())
    }

    fn at(self, probability: f64) -> f64 {
        let above = self.0.partition_point(|(p, _)| *p <= probability);
        match (self.0.get(above.wrapping_sub(1)), self.0.get(above)) {
            (Some((p0, v0)), Some((p1, v1))) => v0 + (v1 - v0) * (probability - p0) / (p1 - p0),
            (Some((_, value)), None) | (None, Some((_, value))) => *value,
            (None, None) => 0.0,
        }
    }
}

/// Tasks of similar priority.
pub(super) struct Tier {
    pub(super) running_share: f64,
    pub(super) submitted_share: f64,
    /// Priorities, with their shares of the tier.
    pub(super) priorities: &'static [(u32, f64)],
    pub(super) cpu_request: Quantiles<'static>,
    pub(super) memory_request: Quantiles<'static>,
    pub(super) cpu_over_request: Quantiles<'static>,
    pub(super) max_over_mean_cpu: Quantiles<'static>,
    pub(super) memory_over_request: Quantiles<'static>,
    /// Mean and standard deviation of the logarithm of memory accesses per instruction.
    pub(super) mai_log: (f64, f64),
    /// Distribution of the run time of started tasks up to four hours, seconds.
    duration_s: Quantiles<'static>,
    /// Mean remaining time after four hours, chosen so that arrivals balance the tasks that run at the start.
    tail_s: f64,
}

impl Tier {
    /// Draw the run time of a task that starts, seconds.
    pub(super) fn duration_s(&self, random: &mut Random) -> f64 {
        let probability = random.share();
        match self.duration_s.0.last() {
            Some((last, longest_s)) if probability > *last => longest_s + random.exponential(self.tail_s),
            _ => self.duration_s.at(probability),
        }
    }

    /// Draw the remaining time of a task that runs at the start, seconds. Nearly all such tasks are long.
    pub(super) fn remaining_s(&self, random: &mut Random) -> f64 {
        random.exponential(self.tail_s)
    }
}

/// The tiers free, middle and production.
pub(super) const TIERS: [Tier; 3] = [
    Tier {
        running_share: 0.4107,
        submitted_share: 0.4057,
        priorities: &[(0, 0.696), (1, 0.304)],
        cpu_request: Quantiles(&[
            (0.0, 0.000625),
            (0.05, 0.000625),
            (0.1, 0.006248),
            (0.25, 0.0125),
            (0.5, 0.0125),
            (0.75, 0.04065),
            (0.9, 0.0625),
            (0.99, 0.125),
            (1.0, 0.25),
        ]),
        memory_request: Quantiles(&[
            (0.0, 0.000777),
            (0.05, 0.003109),
            (0.25, 0.004662),
            (0.5, 0.0159),
            (0.75, 0.01605),
            (0.9, 0.03516),
            (0.99, 0.09851),
            (1.0, 0.1),
        ]),
        cpu_over_request: Quantiles(&[
            (0.0, 0.0),
            (0.1, 0.0036),
            (0.25, 0.0311),
            (0.5, 0.2958),
            (0.75, 0.8824),
            (0.9, 1.5776),
            (0.95, 2.2895),
            (1.0, 3.0),
        ]),
        max_over_mean_cpu: MAX_OVER_MEAN,
        memory_over_request: MEMORY_OVER_REQUEST,
        mai_log: (-5.262, 0.936),
        duration_s: Quantiles(&[
            (0.0, 10.0),
            (0.2128, 30.0),
            (0.3266, 60.0),
            (0.3954, 120.0),
            (0.4528, 300.0),
            (0.4849, 600.0),
            (0.5193, 1800.0),
            (0.5595, 3600.0),
            (0.6674, 7200.0),
            (0.766, 14_400.0),
        ]),
        tail_s: 12.5 * 3600.0,
    },
    Tier {
        running_share: 0.1678,
        submitted_share: 0.5795,
        priorities: &[(2, 0.986), (8, 0.014)],
        cpu_request: Quantiles(&[
            (0.0, 0.006248),
            (0.05, 0.0125),
            (0.25, 0.03064),
            (0.5, 0.0625),
            (0.75, 0.0625),
            (0.9, 0.09998),
            (0.99, 0.25),
            (1.0, 0.25),
        ]),
        memory_request: Quantiles(&[
            (0.0, 0.004143),
            (0.1, 0.009796),
            (0.25, 0.01317),
            (0.5, 0.03339),
            (0.75, 0.0636),
            (0.9, 0.1184),
            (1.0, 0.1184),
        ]),
        cpu_over_request: Quantiles(&[
            (0.0, 0.0),
            (0.1, 0.0182),
            (0.25, 0.0468),
            (0.5, 0.1863),
            (0.75, 0.7331),
            (0.9, 1.3371),
            (0.95, 1.574),
            (1.0, 2.0),
        ]),
        max_over_mean_cpu: MAX_OVER_MEAN,
        memory_over_request: MEMORY_OVER_REQUEST,
        mai_log: (-5.320, 0.890),
        duration_s: Quantiles(&[
            (0.0, 20.0),
            (0.0492, 60.0),
            (0.1445, 120.0),
            (0.4278, 300.0),
            (0.6645, 600.0),
            (0.8323, 1200.0),
            (0.9512, 3600.0),
            (0.9907, 10_800.0),
            (0.9917, 14_400.0),
        ]),
        tail_s: 126.0 * 3600.0,
    },
    Tier {
        running_share: 0.4215,
        submitted_share: 0.0148,
        priorities: &[(9, 0.869), (10, 0.0145), (11, 0.1165)],
        cpu_request: Quantiles(&[
            (0.0, 0.003124),
            (0.05, 0.00625),
            (0.1, 0.01562),
            (0.25, 0.04999),
            (0.5, 0.0625),
            (0.75, 0.1106),
            (0.9, 0.1875),
            (0.99, 0.375),
            (1.0, 0.375),
        ]),
        memory_request: Quantiles(&[
            (0.0, 0.002),
            (0.1, 0.00622),
            (0.25, 0.0256),
            (0.5, 0.03821),
            (0.75, 0.07959),
            (0.9, 0.1528),
            (0.99, 0.2327),
            (1.0, 0.2327),
        ]),
        cpu_over_request: Quantiles(&[
            (0.0, 0.0),
            (0.05, 0.0227),
            (0.1, 0.0592),
            (0.25, 0.1067),
            (0.5, 0.1343),
            (0.75, 0.1894),
            (0.9, 0.5652),
            (0.99, 1.1484),
            (1.0, 1.15),
        ]),
        max_over_mean_cpu: MAX_OVER_MEAN,
        memory_over_request: MEMORY_OVER_REQUEST,
        mai_log: (-5.176, 0.682),
        duration_s: Quantiles(&[
            (0.0, 10.0),
            (0.2481, 30.0),
            (0.346, 60.0),
            (0.4251, 300.0),
            (0.5591, 600.0),
            (0.5919, 3600.0),
            (0.7108, 7200.0),
            (0.7311, 14_400.0),
        ]),
        tail_s: 448.0 * 3600.0,
    },
];

const MAX_OVER_MEAN: Quantiles<'static> = Quantiles(&[
    (0.0, 1.2),
    (0.05, 1.6),
    (0.1, 1.95),
    (0.25, 2.6),
    (0.5, 3.8),
    (0.75, 6.5),
    (0.9, 12.0),
    (0.99, 23.8),
    (1.0, 24.0),
]);

const MEMORY_OVER_REQUEST: Quantiles<'static> = Quantiles(&[
    (0.0, 0.0),
    (0.05, 0.05),
    (0.1, 0.2),
    (0.25, 0.45),
    (0.5, 0.65),
    (0.75, 0.77),
    (0.9, 0.85),
    (0.99, 0.98),
    (1.0, 1.0),
]);
