//! One machine: running tasks share its CPU, others wait.
//!
//! While tasks want more CPU than the machine has, all of them progress at the same rate below 1. A machine therefore
//! keeps a single number, its *lag*: the difference between the time that has passed and the work done. A task's next
//! change is due at a fixed amount of work, so the heap of these amounts is never reordered when the rate changes. At
//! full speed the lag is constant and rounding errors don't accumulate.

mod admission;
mod memory;
mod moves;
mod record;
mod running;

use std::cmp::Reverse;
use std::collections::binary_heap::{BinaryHeap, PeekMut};

use admission::Reservation;
pub(super) use memory::MachineMemory;
use running::Change;
pub(super) use running::{Carried, Running};

use super::lc::Meter;
use super::recording::{Recorder, Started};
use super::series::Bins;
use super::slowdowns::Slowdowns;
use super::INSTANT_S;
use crate::sim::tasks::{exact, SimTask};

/// Reservations may exceed the capacity by this much, because they are sums of decimal fractions.
const ADMISSION_SLACK: f64 = 1e-9;

/// What the machines of a cell have in common.
pub(super) struct World<'a> {
    pub(super) tasks: &'a [SimTask<'a>],
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
    capacity_cpus: f64,
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
    /// A lower bound of the waiting tasks' reservations, in both parts.
    least_waiting: Reservation,
    /// Position of the next arrival in the machine's arrivals.
    next_arrival: usize,
    pub(super) busy_s: f64,
    pub(super) over_s: f64,
    /// Work done by all tasks, in seconds at full speed.
    pub(super) work_done_s: f64,
    pub(super) bins: Option<Bins>,
    pub(super) recorder: Option<Recorder>,
    /// Latency-critical work, if it is asked for.
    pub(super) lc: Option<Box<Meter>>,
    /// Memory, if it is limited.
    pub(super) memory: Option<Box<MachineMemory>>,
    pub(super) events: u64,
}

impl Machine {
    /// Make the machine empty at t0 again, keeping its allocations.
    pub(super) fn reset(&mut self, capacity_cpus: f64, bins: Option<Bins>, lc: Option<Box<Meter>>) {
        let old = std::mem::take(self);
        *self = Machine {
            capacity_cpus,
            slots: cleared(old.slots),
            free: cleared(old.free),
            running: cleared(old.running),
            changes: BinaryHeap::from(cleared(old.changes.into_vec())),
            waiting: cleared(old.waiting),
            least_waiting: Reservation::MOST,
            bins,
            lc,
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
            let change_s = self.next_change_s();
            let arrival_s = match arrivals.get(self.next_arrival) {
                Some(&rank) => world.tasks[rank as usize].submit_s,
                None => f64::INFINITY,
            };
            let due_s = change_s.min(arrival_s);
            if due_s > last_due_s {
                break;
            }
            self.advance(due_s.min(until_s));
            if change_s <= due_s + INSTANT_S {
                self.apply_changes(world, finished);
            }
            if arrival_s <= due_s + INSTANT_S {
                self.apply_arrivals(due_s, arrivals, world);
            }
        }
        self.advance(until_s);
    }

    /// Advance the time to `to_s`. Nothing changes until then.
    fn advance(&mut self, to_s: f64) {
        let capacity_cpus = self.capacity_cpus;
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
        if let Some(lc) = &mut self.lc {
            lc.pass(dt_s, self.load_cpus, capacity_cpus);
        }
        if let Some(memory) = &mut self.memory {
            memory.pass(dt_s);
        }
        self.now_s = to_s;
    }

    /// The work that a task which has run here since t0 would have done.
    fn work(&self) -> f64 {
        self.now_s - self.lag_s
    }

    fn next_change_s(&mut self) -> f64 {
        let capacity_cpus = self.capacity_cpus;
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
        let rate = (self.capacity_cpus / self.load_cpus).min(1.0);
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
                if let Some(lc) = &mut self.lc {
                    lc.end(running);
                }
                if let Some(memory) = &mut self.memory {
                    memory.end(running);
                }
                running.next_window(task);
                self.load_cpus += running.cpus;
                if let Some(lc) = &mut self.lc {
                    lc.begin(running);
                }
                if let Some(memory) = &mut self.memory {
                    memory.begin(running);
                }
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
            if !self.try_start(rank, world) {
                self.waiting.push(rank);
            }
        }
    }

    fn start(&mut self, rank: u32, reservation: Reservation, world: &World<'_>) {
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
            reserved_cpus: reservation.cpus,
            request_memory: reservation.memory,
            request_cpus: task.request_cpus,
            priority: task.priority,
            started_s: self.now_s,
        };
        self.enter(running, world);
    }

    fn enter(&mut self, running: Running, world: &World<'_>) {
        self.load_cpus += running.cpus;
        self.reserved_cpus += running.reserved_cpus;
        if let Some(lc) = &mut self.lc {
            lc.begin(&running);
        }
        if let Some(memory) = &mut self.memory {
            memory.enter(&running);
        }
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

    fn remove(&mut self, rank: u32, slot: u32) {
        let running = &mut self.slots[slot as usize];
        running.visit += 1;
        self.load_cpus -= running.cpus;
        self.reserved_cpus -= running.reserved_cpus;
        if let Some(lc) = &mut self.lc {
            lc.end(running);
        }
        if let Some(memory) = &mut self.memory {
            memory.leave(running);
        }
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

fn cleared<T>(mut vec: Vec<T>) -> Vec<T> {
    vec.clear();
    vec
}

#[cfg(test)]
mod tests;
