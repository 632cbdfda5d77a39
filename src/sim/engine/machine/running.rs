//! A task on a machine, and the changes that are due for it.

use crate::sim::tasks::{exact, SimTask};
use crate::sim::trace::UsageWindow;

/// A point on a machine's work axis. It is finite, so it has a total order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Work(pub(super) f64);

impl Eq for Work {}

impl PartialOrd for Work {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Work {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The point at which a running task's usage changes or its work is done. Stale once the task has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) due: Work,
    pub(super) rank: u32,
    pub(super) slot: u32,
    pub(super) visit: u32,
}

/// A task that runs on the machine.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim::engine) struct Running {
    pub(in crate::sim::engine) rank: u32,
    /// Number of the stay in this slot. It tells the task's changes from those of earlier tasks in the slot.
    pub(super) visit: u32,
    /// The machine's work at which the task had done no work.
    pub(super) origin: f64,
    /// Position of the window after the current one.
    pub(super) next_window: u32,
    /// True if the next change is the end.
    pub(super) ends_next: bool,
    pub(in crate::sim::engine) cpus: f64,
    pub(in crate::sim::engine) usage: UsageWindow,
    pub(in crate::sim::engine) reserved_cpus: f64,
    // Copies of the task's own values, at hand for rebalances.
    pub(in crate::sim::engine) request_cpus: f64,
    pub(in crate::sim::engine) request_memory: f64,
    pub(in crate::sim::engine) priority: u32,
    /// Time at which it started, on any machine.
    pub(in crate::sim::engine) started_s: f64,
}

impl Running {
    /// Switch to the next window.
    pub(super) fn next_window(&mut self, task: &SimTask<'_>) {
        if let Some((_, window)) = task.window(self.next_window as usize) {
            self.usage = *window;
            self.cpus = exact(f64::from(window.cpu_mean));
            self.next_window += 1;
            task.prefetch(self.next_window as usize + 2);
        }
    }

    /// The machine's work at which the next change is due: the next window, or the end if that is earlier.
    pub(super) fn next_due(&mut self, task: &SimTask<'_>) -> Work {
        let window_work = task.window(self.next_window as usize).map(|(work, _)| work);
        let work = window_work.filter(|&work| work < task.duration_s);
        self.ends_next = work.is_none();
        Work(self.origin + work.unwrap_or(task.duration_s))
    }
}

/// A task on its way between two machines.
pub(in crate::sim::engine) struct Carried {
    pub(super) running: Running,
    pub(super) work_done: f64,
}

impl Carried {
    /// Network cost of the move, in whole bytes, if a move takes so many bytes of the largest machine's memory along.
    pub(in crate::sim::engine) fn bytes(&self, moved_bytes: f64) -> u64 {
        (f64::from(self.running.usage.memory) * moved_bytes).round() as u64
    }
}
