//! What one CPU's counters of a host advanced by between two answers, and whether that can be true.

use super::metrics::{Kind, MetricsError, CPU_METRIC, GUEST_METRIC};

/// Modes in which the CPU is free. Both may go backwards a little (proc(5) on iowait).
pub(super) const NOBODYS: [&str; 2] = ["idle", "iowait"];
/// Modes in which the CPU runs programs, guests included.
const PROGRAMS: [&str; 2] = ["nice", "user"];
/// Modes in which the kernel works, for anyone.
const KERNELS: [&str; 3] = ["irq", "softirq", "system"];

/// Counters of seconds are cut to ticks of 10 ms at both ends of a window, and not all are read at the same moment.
const SLACK_S: f64 = 0.1;
/// Counters that advance this many times faster than our clock are invalid: a cache answers, or they are wrong.
pub(super) const FASTER_MAX: f64 = 2.0;
/// This many times slower they may be: the kernel counts by ticks, and a host that is short of CPU itself, as a nested one may be,
/// misses most of them. Those that come are a sample, of which shares hold.
pub(super) const SLOWER_MAX: f64 = 8.0;

/// What the counters of one CPU advanced by, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Advance {
    pub(super) counted_s: f64,
    pub(super) busy_s: f64,
    pub(super) programs_s: f64,
    pub(super) kernel_s: f64,
    pub(super) guest_s: f64,
}

impl Advance {
    /// Add what one counter advanced by.
    pub(super) fn add(&mut self, kind: Kind, mode: &str, delta_s: f64) {
        if kind == Kind::Guest {
            self.guest_s += delta_s;
            return;
        }
        self.counted_s += delta_s;
        if !NOBODYS.contains(&mode) {
            self.busy_s += delta_s;
        }
        if PROGRAMS.contains(&mode) {
            self.programs_s += delta_s;
        }
        if KERNELS.contains(&mode) {
            self.kernel_s += delta_s;
        }
    }

    /// Check that no counter advanced by more than is possible in `passed_s` of wall time. The mean over all CPUs hides
    /// one CPU's jump, as of steal after the host was migrated itself.
    pub(super) fn check(&self, cpu: u32, passed_s: f64) -> Result<(), MetricsError> {
        check_part(|| format!("{CPU_METRIC} of CPU {cpu}"), self.counted_s, passed_s * FASTER_MAX)?;
        check_part(|| format!("{GUEST_METRIC} of CPU {cpu}"), self.guest_s, self.programs_s)
    }
}

/// Check that what a counter advanced by is a part of `of_s`, give or take a tenth and the counters' ticks.
pub(super) fn check_part(what: impl FnOnce() -> String, counted_s: f64, of_s: f64) -> Result<(), MetricsError> {
    if counted_s <= of_s * 1.1 + SLACK_S {
        return Ok(());
    }
    Err(MetricsError::TooMuch { what: what(), counted_s, of_s })
}
