//! One machine: running tasks share its CPU, others wait.
//!
//! While tasks want more CPU than the machine has, all of them progress at the same rate below 1. A machine therefore
//! keeps a single number, its *lag*: the difference between the time that has passed and the work done. A task's next
//! change is due at a fixed amount of work, so the heap of these amounts is never reordered when the rate changes. At
//! full speed the lag is constant and rounding errors don't accumulate.

mod record;
mod running;

use std::cmp::Reverse;
use std::collections::binary_heap::{BinaryHeap, PeekMut};

use running::Change;
pub(super) use running::{Carried, Running};

use super::recording::{Recorder, Started};
use super::series::Bins;
use super::slowdowns::Slowdowns;
use super::INSTANT_S;
use crate::cell::Admission;
use crate::sim::tasks::{exact, SimTask};

/// Reservations may exceed the capacity by this much, because they are sums of decimal fractions.
const ADMISSION_SLACK_CPUS: f64 = 1e-9;

/// What the machines of a cell have in common.
pub(super) struct World<'a> {
    pub(super) tasks: &'a [SimTask<'a>],
    pub(super) capacity_cpus: f64,
    pub(super) overcommit: f64,
}

/// The tasks that finished on a machine or in a cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Finished {
    pub(super) count: u64,
    /// Sum of the times from submission to end.
    pub(super) turnaround_s: f64,
    /// These times divided by the tasks' work.
    pub(super) slowdowns: Slowdowns,
    /// Rank and time from submission to end of each task.
    pub(super) turnarounds_s: Vec<(u32, f64)>,
    /// The same tasks, if the run is recorded.
    pub(super) recorded: Option<Vec<Started>>,
}

/// One machine. Times are in seconds since t0.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) now_s: f64,
    lag_s: f64,
    pub(super) load_cpus: f64,
    reserved_cpus: f64,
    slots: Vec<Running>,
    free: Vec<u32>,
    /// (rank, slot) of the running tasks, in order of rank.
    pub(super) running: Vec<(u32, u32)>,
    changes: BinaryHeap<Reverse<Change>>,
    /// Ranks in order of arrival.
    waiting: Vec<u32>,
    /// A lower bound of the waiting tasks' reservations.
    least_waiting_cpus: f64,
    /// Position of the next arrival in the machine's arrivals.
    next_arrival: usize,
    pub(super) busy_s: f64,
    pub(super) over_s: f64,
    /// Work done by all tasks, in seconds at full speed.
    pub(super) work_done_s: f64,
    pub(super) bins: Option<Bins>,
    pub(super) recorder: Option<Recorder>,
    pub(super) events: u64,
}

impl Machine {
    /// Make the machine empty at t0 again, keeping its allocations.
    pub(super) fn reset(&mut self, bins: Option<Bins>) {
        let old = std::mem::take(self);
        *self = Machine {
            slots: cleared(old.slots),
            free: cleared(old.free),
            running: cleared(old.running),
            changes: BinaryHeap::from(cleared(old.changes.into_vec())),
            waiting: cleared(old.waiting),
            least_waiting_cpus: f64::INFINITY,
            bins,
            ..Machine::default()
        };
    }

    /// The running task in `slot`.
    pub(super) fn task(&self, slot: u32) -> &Running {
        &self.slots[slot as usize]
    }

    /// Process everything that is due at the instant `until_s` or earlier, and stop at `until_s`.
    pub(super) fn run_until(&mut self, until_s: f64, arrivals: &[u32], world: &World<'_>, finished: &mut Finished) {
        self.run(until_s, until_s + INSTANT_S, arrivals, world, finished);
    }

    /// Process everything that is due before the instant `end_s`, and stop at `end_s`. A task that ends with the trace,
    /// or has no known end, does not finish.
    pub(super) fn run_before(&mut self, end_s: f64, arrivals: &[u32], world: &World<'_>, finished: &mut Finished) {
        self.run(end_s, end_s - INSTANT_S, arrivals, world, finished);
    }

    fn run(&mut self, until_s: f64, last_due_s: f64, arrivals: &[u32], world: &World<'_>, finished: &mut Finished) {
        loop {
            let change_s = self.next_change_s(world.capacity_cpus);
            let arrival_s = match arrivals.get(self.next_arrival) {
                Some(&rank) => world.tasks[rank as usize].submit_s,
                None => f64::INFINITY,
            };
            let due_s = change_s.min(arrival_s);
            if due_s > last_due_s {
                break;
            }
            self.advance(due_s.min(until_s), world.capacity_cpus);
            if change_s <= due_s + INSTANT_S {
                self.apply_changes(world, finished);
            }
            if arrival_s <= due_s + INSTANT_S {
                self.apply_arrivals(due_s, arrivals, world);
            }
        }
        self.advance(until_s, world.capacity_cpus);
    }

    /// Advance the time to `to_s`. Nothing changes until then.
    fn advance(&mut self, to_s: f64, capacity_cpus: f64) {
        let dt_s = to_s - self.now_s;
        if dt_s <= 0.0 {
            return;
        }
        let busy_cpus = self.load_cpus.min(capacity_cpus);
        self.busy_s += busy_cpus * dt_s;
        let mut progress_s = dt_s;
        if self.load_cpus > capacity_cpus {
            self.over_s += (self.load_cpus - capacity_cpus) * dt_s;
            progress_s = dt_s * (capacity_cpus / self.load_cpus);
            self.lag_s += dt_s - progress_s;
        }
        self.work_done_s += progress_s * self.running.len() as f64;
        if let Some(bins) = &mut self.bins {
            bins.add(self.now_s, to_s, busy_cpus);
        }
        if self.recorder.is_some() {
            self.record(to_s, capacity_cpus);
        }
        self.now_s = to_s;
    }

    /// The work that a task which has run here since t0 would have done.
    fn work(&self) -> f64 {
        self.now_s - self.lag_s
    }

    fn next_change_s(&mut self, capacity_cpus: f64) -> f64 {
        let Some(due) = self.next_due() else {
            return f64::INFINITY;
        };
        let at_s = if self.load_cpus <= capacity_cpus {
            due + self.lag_s
        } else {
            self.now_s + (due - self.work()) * (self.load_cpus / capacity_cpus)
        };
        at_s.max(self.now_s)
    }

    /// The work at which the next change is due. Stale changes are dropped.
    fn next_due(&mut self) -> Option<f64> {
        while let Some(Reverse(change)) = self.changes.peek() {
            let running = &self.slots[change.slot as usize];
            if running.visit == change.visit {
                return Some(change.due.0);
            }
            self.changes.pop();
        }
        None
    }

    /// Apply all changes due at this instant, then start waiting tasks that fit.
    fn apply_changes(&mut self, world: &World<'_>, finished: &mut Finished) {
        let rate = (world.capacity_cpus / self.load_cpus).min(1.0);
        let instant_work = self.work() + INSTANT_S * rate;
        let mut released = false;
        while self.next_due().is_some_and(|due| due <= instant_work) {
            let Some(mut next) = self.changes.peek_mut() else { break };
            let Reverse(change) = *next;
            self.events += 1;
            let running = &mut self.slots[change.slot as usize];
            let task = &world.tasks[change.rank as usize];
            if running.ends_next {
                PeekMut::pop(next);
                let turnaround_s = self.now_s - task.submit_s;
                finished.count += 1;
                finished.turnaround_s += turnaround_s;
                finished.turnarounds_s.push((change.rank, turnaround_s));
                finished.slowdowns.count(turnaround_s / task.duration_s);
                finished.record(change.rank, running.started_s, self.now_s, task.duration_s);
                self.remove(change.rank, change.slot);
                released = true;
            } else {
                self.load_cpus -= running.cpus;
                running.next_window(task);
                self.load_cpus += running.cpus;
                // Reuse the place of the processed change, which is cheaper than a pop and a push.
                next.0.due = running.next_due(task);
            }
        }
        if released {
            self.start_waiting(world);
        }
    }

    /// Start the tasks that arrive at this instant, or let them wait.
    fn apply_arrivals(&mut self, due_s: f64, arrivals: &[u32], world: &World<'_>) {
        while let Some(&rank) = arrivals.get(self.next_arrival) {
            if world.tasks[rank as usize].submit_s > due_s + INSTANT_S {
                break;
            }
            self.next_arrival += 1;
            self.events += 1;
            let reserve_cpus = reservation(rank, world);
            if self.admits(reserve_cpus, world.capacity_cpus) {
                self.start(rank, reserve_cpus, world);
            } else {
                self.least_waiting_cpus = self.least_waiting_cpus.min(reserve_cpus);
                self.waiting.push(rank);
            }
        }
    }

    /// Return true if a task may start: its reservation fits, or nothing runs.
    fn admits(&self, reserve_cpus: f64, capacity_cpus: f64) -> bool {
        self.running.is_empty() || self.reserved_cpus + reserve_cpus <= capacity_cpus + ADMISSION_SLACK_CPUS
    }

    /// Start each waiting task that fits, in order of arrival.
    pub(super) fn start_waiting(&mut self, world: &World<'_>) {
        if self.waiting.is_empty() || !self.admits(self.least_waiting_cpus, world.capacity_cpus) {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        self.least_waiting_cpus = f64::INFINITY;
        waiting.retain(|&rank| {
            let reserve_cpus = reservation(rank, world);
            let admitted = self.admits(reserve_cpus, world.capacity_cpus);
            if admitted {
                self.start(rank, reserve_cpus, world);
            } else {
                self.least_waiting_cpus = self.least_waiting_cpus.min(reserve_cpus);
            }
            !admitted
        });
        self.waiting = waiting;
    }

    /// The CPU left to reserve and the waiting tasks' requests, smallest first, as many as a rebalance could need.
    pub(super) fn admission(&self, world: &World<'_>, admission: &mut Admission) {
        /// More tasks than can start at once.
        const MOST: usize = 256;

        let request_cpus = |&rank: &u32| world.tasks[rank as usize].request_cpus;
        admission.free_cpus = (world.capacity_cpus + ADMISSION_SLACK_CPUS - self.reserved_cpus) / world.overcommit;
        admission.waiting_cpus.clear();
        admission.waiting_cpus.extend(self.waiting.iter().map(request_cpus));
        admission.waiting_cpus.sort_unstable_by(f64::total_cmp);
        admission.waiting_cpus.truncate(MOST);
    }

    /// Sum of the requests of all waiting tasks.
    pub(super) fn waiting_cpus(&self, world: &World<'_>) -> f64 {
        self.waiting.iter().map(|&rank| world.tasks[rank as usize].request_cpus).sum()
    }

    fn start(&mut self, rank: u32, reserved_cpus: f64, world: &World<'_>) {
        let task = &world.tasks[rank as usize];
        let next_window = task.windows_at_start;
        // A task uses nothing before its first window.
        let last = next_window.checked_sub(1);
        let usage = last.and_then(|last| task.window(last as usize)).map(|(_, window)| *window);
        let usage = usage.unwrap_or_default();
        let running = Running {
            rank,
            visit: 0,
            origin: self.work(),
            next_window,
            ends_next: false,
            cpus: exact(f64::from(usage.cpu_mean)),
            usage,
            reserved_cpus,
            request_cpus: task.request_cpus,
            priority: task.priority,
            started_s: self.now_s,
        };
        self.enter(running, world);
    }

    /// Add a moved task, whatever the reservations are.
    pub(super) fn put(&mut self, carried: Carried, world: &World<'_>) {
        let Carried { running, work_done } = carried;
        self.enter(Running { origin: self.work() - work_done, ..running }, world);
    }

    fn enter(&mut self, running: Running, world: &World<'_>) {
        self.load_cpus += running.cpus;
        self.reserved_cpus += running.reserved_cpus;
        let slot = match self.free.pop() {
            Some(slot) => {
                let visit = self.slots[slot as usize].visit;
                self.slots[slot as usize] = Running { visit, ..running };
                slot
            }
            None => {
                self.slots.push(Running { visit: 0, ..running });
                (self.slots.len() - 1) as u32
            }
        };
        let place = self.running.partition_point(|&(rank, _)| rank < running.rank);
        self.running.insert(place, (running.rank, slot));
        let running = &mut self.slots[slot as usize];
        let due = running.next_due(&world.tasks[running.rank as usize]);
        self.changes.push(Reverse(Change { due, rank: running.rank, slot, visit: running.visit }));
    }

    /// Remove a task for a move; `None` if it doesn't run here.
    pub(super) fn take(&mut self, rank: u32) -> Option<Carried> {
        let place = self.running.binary_search_by_key(&rank, |&(rank, _)| rank).ok()?;
        let (_, slot) = self.running[place];
        let running = self.slots[slot as usize];
        let work_done = self.work() - running.origin;
        self.remove(rank, slot);
        self.events += 1;
        self.forget_stale_changes();
        Some(Carried { running, work_done })
    }

    fn remove(&mut self, rank: u32, slot: u32) {
        let running = &mut self.slots[slot as usize];
        running.visit += 1;
        self.load_cpus -= running.cpus;
        self.reserved_cpus -= running.reserved_cpus;
        self.free.push(slot);
        if let Ok(place) = self.running.binary_search_by_key(&rank, |&(rank, _)| rank) {
            self.running.remove(place);
        }
        if self.running.is_empty() {
            // The sums are 0 already, unless numbers were too large for exact addition.
            (self.load_cpus, self.reserved_cpus) = (0.0, 0.0);
        }
    }

    /// The tasks here, running and waiting, each with its work left in seconds at full speed.
    fn unfinished<'a>(&'a self, world: &'a World<'_>) -> impl Iterator<Item = (&'a SimTask<'a>, f64)> {
        let task = |rank: u32| &world.tasks[rank as usize];
        let running = self.running.iter().map(move |&(rank, slot)| {
            (task(rank), task(rank).duration_s - (self.work() - self.slots[slot as usize].origin))
        });
        running.chain(self.waiting.iter().map(move |&rank| (task(rank), task(rank).duration_s)))
    }

    /// Work left of the tasks here, in seconds at full speed.
    pub(super) fn work_left_s(&self, world: &World<'_>) -> f64 {
        self.unfinished(world).map(|(_, left_s)| left_s).sum()
    }

    /// Count the tasks here with the slowdown that they will have if nothing holds them up any more.
    pub(super) fn count_unfinished(&self, world: &World<'_>, slowdowns: &mut Slowdowns) {
        for (task, left_s) in self.unfinished(world) {
            slowdowns.count((self.now_s - task.submit_s + left_s) / task.duration_s);
        }
    }

    /// Number of tasks here, running and waiting.
    pub(super) fn nr_tasks(&self) -> u64 {
        (self.running.len() + self.waiting.len()) as u64
    }

    /// Drop stale changes. Tasks that move often leave many behind, and this keeps them in proportion to the tasks.
    fn forget_stale_changes(&mut self) {
        if self.changes.len() > 2 * self.running.len() + 64 {
            let slots = &self.slots;
            self.changes.retain(|Reverse(change)| slots[change.slot as usize].visit == change.visit);
        }
    }
}

fn reservation(rank: u32, world: &World<'_>) -> f64 {
    exact(world.overcommit * world.tasks[rank as usize].request_cpus)
}

fn cleared<T>(mut vec: Vec<T>) -> Vec<T> {
    vec.clear();
    vec
}

#[cfg(test)]
mod tests;
