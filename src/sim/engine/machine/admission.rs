//! Which tasks may start, and which wait.

use super::{Machine, World, ADMISSION_SLACK};
use crate::cell::Admission;
use crate::sim::tasks::exact;

/// What a task reserves of a machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reservation {
    pub(super) cpus: f64,
    /// As a share of the largest machine's memory.
    pub(super) memory: f64,
}

impl Reservation {
    /// More than any task reserves.
    pub(super) const MOST: Reservation = Reservation { cpus: f64::INFINITY, memory: f64::INFINITY };

    fn of(rank: u32, world: &World<'_>) -> Reservation {
        let task = &world.tasks[rank as usize];
        Reservation { cpus: exact(world.overcommit * task.request_cpus), memory: task.request_memory }
    }
}

impl Machine {
    /// Return true if a task may start: its reservation fits, or nothing runs.
    fn admits(&self, reservation: Reservation) -> bool {
        self.running.is_empty()
            || (self.reserved_cpus + reservation.cpus <= self.capacity_cpus + ADMISSION_SLACK
                && self.has_memory_for(reservation.memory))
    }

    fn has_memory_for(&self, request: f64) -> bool {
        self.memory.as_ref().is_none_or(|memory| memory.fits(request))
    }

    /// Start a task if it may start.
    pub(super) fn try_start(&mut self, rank: u32, world: &World<'_>) -> bool {
        let reservation = Reservation::of(rank, world);
        let admitted = self.admits(reservation);
        if admitted {
            self.start(rank, reservation, world);
        } else {
            let Reservation { cpus, memory } = self.least_waiting;
            self.least_waiting =
                Reservation { cpus: cpus.min(reservation.cpus), memory: memory.min(reservation.memory) };
        }
        admitted
    }

    /// Start each waiting task that fits, in order of arrival.
    pub(in crate::sim::engine) fn start_waiting(&mut self, world: &World<'_>) {
        if self.waiting.is_empty() || !self.admits(self.least_waiting) {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        self.least_waiting = Reservation::MOST;
        waiting.retain(|&rank| !self.try_start(rank, world));
        self.waiting = waiting;
    }

    /// The CPU left to reserve and the requests of the tasks that wait for it, smallest first, as many as a rebalance could need.
    /// Tasks that wait for memory are left out: CPU would not let them start.
    pub(in crate::sim::engine) fn admission(&self, world: &World<'_>, admission: &mut Admission) {
        /// More tasks than can start at once.
        const MOST: usize = 256;

        let tasks = self.waiting.iter().map(|&rank| &world.tasks[rank as usize]);
        admission.free_cpus = (self.capacity_cpus + ADMISSION_SLACK - self.reserved_cpus) / world.overcommit;
        admission.waiting_cpus.clear();
        admission
            .waiting_cpus
            .extend(tasks.filter(|task| self.has_memory_for(task.request_memory)).map(|task| task.request_cpus));
        admission.waiting_cpus.sort_unstable_by(f64::total_cmp);
        admission.waiting_cpus.truncate(MOST);
    }

    /// Sum of the requests of all waiting tasks.
    pub(in crate::sim::engine) fn waiting_cpus(&self, world: &World<'_>) -> f64 {
        self.waiting.iter().map(|&rank| world.tasks[rank as usize].request_cpus).sum()
    }
}
