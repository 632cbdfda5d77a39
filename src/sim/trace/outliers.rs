//! Usage windows that are valid but implausible, and what they do to the figures.

use std::ops::Range;

use super::csv::LARGEST_MACHINE;
use super::{Oddities, OddityKind, UsageWindow};

/// Windows of the published trace last five minutes at most.
const LONG_US: i64 = 3_600_000_000;

/// Return true for the time of a window that is many times as long as those of the published trace.
pub(super) fn is_long(time_us: &Range<i64>) -> bool {
    time_us.end.saturating_sub(time_us.start) > LONG_US
}

/// Sums over the windows of a part, or of several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outliers {
    /// The last end of windows that are not long.
    last_us: i64,
    /// CPU time of all windows, and of those that use more CPU than the largest machine has. In microseconds of that
    /// machine.
    cpu_us: f64,
    above_cpu_us: f64,
}

impl Default for Outliers {
    fn default() -> Self {
        Outliers { last_us: i64::MIN, cpu_us: 0.0, above_cpu_us: 0.0 }
    }
}

impl Outliers {
    /// Add a window.
    #[inline]
    pub(super) fn add(&mut self, time_us: &Range<i64>, window: &UsageWindow) {
        if !is_long(time_us) {
            self.last_us = self.last_us.max(time_us.end);
        }
        let cpus = f64::from(window.cpu_mean);
        let cpu_us = cpus * (time_us.end - time_us.start) as f64;
        self.cpu_us += cpu_us;
        if cpus > LARGEST_MACHINE {
            self.above_cpu_us += cpu_us;
        }
    }

    /// Add the sums of the next part.
    pub(super) fn and(self, next: Outliers) -> Outliers {
        Outliers {
            last_us: self.last_us.max(next.last_us),
            cpu_us: self.cpu_us + next.cpu_us,
            above_cpu_us: self.above_cpu_us + next.above_cpu_us,
        }
    }

    /// Tell with the oddities what the outliers do. `last_us` is the last end of all windows.
    pub(super) fn explain(&self, last_us: i64, oddities: &mut Oddities) {
        oddities.explain(OddityKind::LongWindow, || {
            let later_s = last_us.saturating_sub(self.last_us) as f64 / 1e6;
            match self.last_us {
                i64::MIN => "; no window is shorter".to_owned(),
                last if last < last_us => format!("; with such windows the trace ends {later_s} s later"),
                _ => "; the trace doesn't end later for such windows".to_owned(),
            }
        });
        oddities.explain(OddityKind::AboveMachine, || {
            let percent = if self.cpu_us > 0.0 { 100.0 * self.above_cpu_us / self.cpu_us } else { 0.0 };
            format!("; windows with more CPU than that have {percent:.4} % of the trace's CPU time")
        });
    }
}
