//! Tasks that come from and go to other machines, or lose some of their progress.

use super::{Carried, Machine, Running, World};

impl Machine {
    /// Add a moved task, whatever the reservations are. It makes no progress in the first `warm_up_s` of its run time here.
    pub(in crate::sim::engine) fn put(&mut self, carried: Carried, warm_up_s: f64, world: &World<'_>) {
        let Carried { running, work_done } = carried;
        self.enter(Running { origin: self.work() - work_done + warm_up_s, ..running }, world);
    }

    /// Work that a task which has run here since t0 would have done, seconds at full speed.
    pub(in crate::sim::engine) fn progress_s(&self) -> f64 {
        self.work()
    }

    /// Take back some of a task's progress.
    pub(in crate::sim::engine) fn set_back(&mut self, rank: u32, by_s: f64, world: &World<'_>) {
        if let Some(Carried { running, work_done }) = self.take(rank) {
            self.enter(Running { origin: self.work() - work_done + by_s, ..running }, world);
        }
    }

    /// Time at which a running task started, on any machine.
    pub(in crate::sim::engine) fn started_s(&self, rank: u32) -> Option<f64> {
        let place = self.running.binary_search_by_key(&rank, |&(rank, _)| rank).ok()?;
        Some(self.task(self.running[place].1).started_s)
    }

    /// Remove a task for a move; `None` if it doesn't run here.
    pub(in crate::sim::engine) fn take(&mut self, rank: u32) -> Option<Carried> {
        let place = self.running.binary_search_by_key(&rank, |&(rank, _)| rank).ok()?;
        let (_, slot) = self.running[place];
        let running = self.slots[slot as usize];
        let work_done = self.work() - running.origin;
        self.remove(rank, slot);
        self.events += 1;
        self.forget_stale_changes();
        Some(Carried { running, work_done })
    }
}
