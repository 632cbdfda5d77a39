//! A machine's memory: what tasks reserve of it, and what they use.

use super::{Running, ADMISSION_SLACK};
use crate::sim::tasks::exact;

/// The memory of one machine, as shares of the largest machine's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sim::engine) struct MachineMemory {
    capacity: f64,
    /// Sum of what the running tasks request.
    reserved: f64,
    /// Sum of what they are assigned.
    used: f64,
    /// ∫ min(used, capacity) dt.
    pub(in crate::sim::engine) used_s: f64,
    /// ∫ max(0, used - capacity) dt.
    pub(in crate::sim::engine) over_s: f64,
}

impl MachineMemory {
    pub(in crate::sim::engine) fn new(capacity: f64) -> MachineMemory {
        MachineMemory { capacity, reserved: 0.0, used: 0.0, used_s: 0.0, over_s: 0.0 }
    }

    pub(in crate::sim::engine) fn capacity(&self) -> f64 {
        self.capacity
    }

    /// Return true if a task with this request fits.
    pub(super) fn fits(&self, request: f64) -> bool {
        self.reserved + request <= self.capacity + ADMISSION_SLACK
    }

    /// What can be both reserved and used; 0 if there is none.
    pub(in crate::sim::engine) fn free(&self) -> f64 {
        (self.capacity - self.reserved.max(self.used)).max(0.0)
    }

    /// A task begins to run here. Amounts have exact sums, so nothing is left once it has left.
    pub(super) fn enter(&mut self, running: &Running) {
        self.reserved += running.request_memory;
        self.begin(running);
    }

    /// A task leaves.
    pub(super) fn leave(&mut self, running: &Running) {
        self.reserved -= running.request_memory;
        self.end(running);
    }

    /// A task's window begins here.
    pub(super) fn begin(&mut self, running: &Running) {
        self.used += exact(running.usage.memory.into());
    }

    /// A task's window ends here.
    pub(super) fn end(&mut self, running: &Running) {
        self.used -= exact(running.usage.memory.into());
    }

    /// Time passes.
    pub(super) fn pass(&mut self, dt_s: f64) {
        self.used_s += self.used.min(self.capacity) * dt_s;
        self.over_s += (self.used - self.capacity).max(0.0) * dt_s;
    }
}
