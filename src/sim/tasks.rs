//! Turns a traced task into the work that it brings to the cluster.

use super::trace::{TaskId, Trace, TracedTask, UsageWindow};

/// Loads and reservations are multiples of this. Sums of such numbers are exact in an `f64` (up to 8192 machines'
/// worth), so they don't depend on the order of addition and never drift while tasks come and go.
const GRAIN: f64 = 1.0 / (1u64 << 40) as f64;

/// The nearest multiple of the grain.
pub fn exact(cpus: f64) -> f64 {
    (cpus / GRAIN).round() * GRAIN
}

/// The simulated time span, in trace time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// t0, microseconds.
    pub start_us: i64,
    /// t1, microseconds.
    pub end_us: i64,
}

impl Horizon {
    /// T, in seconds.
    pub fn length_s(self) -> f64 {
        seconds(self.end_us.saturating_sub(self.start_us))
    }
}

/// Convert microseconds to seconds.
pub fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

/// A task as the model runs it. Times are in seconds since t0 unless their names say otherwise.
#[derive(Clone, Debug)]
pub struct SimTask<'a> {
    /// Unique id.
    pub id: TaskId,
    /// Arrival in trace time, by which arrivals are ordered.
    pub submit_us: i64,
    /// Arrival.
    pub submit_s: f64,
    /// Work: seconds at full speed.
    pub duration_s: f64,
    /// Requested CPU.
    pub request_cpus: f64,
    /// Requested memory, as a share of the largest machine's. Sums are exact.
    pub request_memory: f64,
    /// Priority; higher is more important.
    pub priority: u32,
    /// CPU that it uses until t1 if it runs at full speed from its submission, CPU-seconds.
    pub unhindered_cpu_s: f64,
    /// Number of windows that have begun before any work is done: those that start at or before the base.
    pub windows_at_start: u32,
    /// Trace time at which the task has done no work.
    base_us: i64,
    windows: &'a [UsageWindow],
}

impl<'a> SimTask<'a> {
    /// The part of a task inside the horizon; `None` if there is none.
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
        let mut task = SimTask {
            id: task.id,
            submit_us,
            submit_s: seconds(submit_us - horizon.start_us),
            duration_s: seconds(end_us - base_us),
            request_cpus: task.request_cpus,
            request_memory: exact(task.request_memory),
            priority: task.priority,
            windows_at_start: windows.partition_point(|window| window.start_us <= base_us) as u32,
            unhindered_cpu_s: 0.0,
            base_us,
            windows,
        };
        task.unhindered_cpu_s = task.cpu_s(task.duration_s.min(seconds(horizon.end_us - submit_us)));
        Some(task)
    }

    /// CPU that the task uses for its first `work_s`, CPU-seconds.
    fn cpu_s(&self, work_s: f64) -> f64 {
        let starts = || self.windows.iter().map(|window| seconds(window.start_us - self.base_us).clamp(0.0, work_s));
        let ends = starts().skip(1).chain([work_s]);
        let spans = starts().zip(ends).zip(self.windows);
        spans.map(|((start, end), window)| exact(window.cpu_mean.into()) * (end - start)).sum()
    }

    /// Ask for a window that is needed later, since memory takes its time.
    #[inline]
    pub fn prefetch(&self, position: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(window) = self.windows.get(position) {
            use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
            // SAFETY: a prefetch reads nothing that the program sees, and the address is that of a window.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(window).cast()) };
        }
    }

    /// A window, and the amount of work done at which it begins.
    pub fn window(&self, position: usize) -> Option<(f64, &'a UsageWindow)> {
        let window = self.windows.get(position)?;
        Some((seconds(window.start_us - self.base_us), window))
    }
}
