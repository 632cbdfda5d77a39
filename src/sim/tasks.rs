//! From what a trace says of a task to the work that it brings to the cluster.

use super::trace::{TaskId, Trace, TracedTask, UsageWindow};

/// Loads and reservations are multiples of this. Sums of such numbers are exact in an `f64` (up to 8192 machines' worth),
/// so they don't depend on the order of adding and never drift while tasks come and go.
const GRAIN: f64 = 1.0 / (1u64 << 40) as f64;

/// The nearest number whose sums are exact.
pub fn exact(cpus: f64) -> f64 {
    (cpus / GRAIN).round() * GRAIN
}

/// The time that is simulated, in trace time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// t0.
    pub start_us: i64,
    /// t1.
    pub end_us: i64,
}

impl Horizon {
    /// T, seconds.
    pub fn length_s(self) -> f64 {
        seconds(self.end_us.saturating_sub(self.start_us))
    }
}

/// Seconds of microseconds.
pub fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

/// A task as the model runs it. Times in seconds since t0.
#[derive(Clone, Debug)]
pub struct SimTask<'a> {
    /// Its name.
    pub id: TaskId,
    /// When it arrives, trace time: what arrivals are ordered by.
    pub submit_us: i64,
    /// When it arrives.
    pub submit_s: f64,
    /// Its work: seconds at full speed.
    pub duration_s: f64,
    /// CPU that it asks for.
    pub request_cpus: f64,
    /// Its priority.
    pub priority: u32,
    /// How many windows hold once no work is done: those that start at or before the base.
    pub windows_at_start: u32,
    /// Trace time at which its work is 0.
    base_us: i64,
    windows: &'a [UsageWindow],
}

impl<'a> SimTask<'a> {
    /// The work of a task inside the horizon, if there is any.
    pub fn new(trace: &'a Trace, task: &TracedTask, horizon: Horizon) -> Option<Self> {
        let windows = trace.windows_of(task);
        let first_window_us = windows.first()?.start_us;
        let schedule_us = task.schedule_us.filter(|&schedule| schedule <= first_window_us).unwrap_or(first_window_us);
        let submit_us = task.submit_us.unwrap_or(schedule_us).max(horizon.start_us);
        let base_us = schedule_us.max(horizon.start_us);
        let end_us = task.end_us.unwrap_or(horizon.end_us);
        if submit_us >= horizon.end_us || end_us <= base_us {
            return None;
        }
        Some(SimTask {
            id: task.id,
            submit_us,
            submit_s: seconds(submit_us - horizon.start_us),
            duration_s: seconds(end_us - base_us),
            request_cpus: task.request_cpus,
            priority: task.priority,
            windows_at_start: windows.partition_point(|window| window.start_us <= base_us) as u32,
            base_us,
            windows,
        })
    }

    /// The work done at which a window starts to hold, and the window.
    pub fn window(&self, position: usize) -> Option<(f64, &'a UsageWindow)> {
        let window = self.windows.get(position)?;
        Some((seconds(window.start_us - self.base_us), window))
    }
}
