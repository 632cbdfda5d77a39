//! The task_events table, with the events of each task combined in file order.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::csv::{Gather, Row, RowError, Table, LARGEST_MACHINE};
use super::row_times::RowTimes;
use super::{OddityKind, TaskId};
use crate::sim::placement::mix;

pub(super) const TASK_EVENTS: Table = Table { name: "task_events", min_fields: 13, max_fields: 13 };

const SUBMIT: u64 = 0;
const SCHEDULE: u64 = 1;
/// The event types EVICT, FAIL, FINISH, KILL and LOST.
const ENDS: std::ops::RangeInclusive<u64> = 2..=6;
const LAST_TYPE: u64 = 8;

/// Hashes a [`TaskId`] with SplitMix64: tables have millions of rows, and their input isn't hostile.
#[derive(Default)]
pub(super) struct TaskIdHasher(u64);

impl Hasher for TaskIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0 ^ value);
    }
}

impl std::hash::Hash for TaskId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.job ^ (u64::from(self.index) << 40));
    }
}

/// A map keyed by task.
pub(super) type ByTask<T> = HashMap<TaskId, T, BuildHasherDefault<TaskIdHasher>>;

/// The combined events of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Life {
    pub(super) submit_us: Option<i64>,
    pub(super) schedule_us: Option<i64>,
    pub(super) end_us: Option<i64>,
    pub(super) request_cpus: Option<f64>,
    pub(super) request_memory: Option<f64>,
    pub(super) priority: Option<u32>,
}

/// What an event of another format means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The task arrives.
    Submit,
    /// It starts.
    Schedule,
    /// It ends, for whatever reason.
    End,
    /// It asks for something else than before.
    Update,
}

/// The parts of an event that the model needs.
pub(super) struct Event {
    pub(super) task: TaskId,
    time_us: i64,
    kind: u8,
    request: Request,
    priority: Option<u32>,
}

/// What an event says that a task asks for; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Request {
    /// CPU, as a share of the largest machine's.
    pub(super) cpus: Option<f64>,
    /// Memory, likewise.
    pub(super) memory: Option<f64>,
}

impl Event {
    /// An event of another format.
    pub(super) fn new(task: TaskId, time_us: i64, kind: Kind, request: Request, priority: Option<u32>) -> Event {
        let kind = match kind {
            Kind::Submit => SUBMIT,
            Kind::Schedule => SCHEDULE,
            Kind::End => *ENDS.end(),
            Kind::Update => LAST_TYPE,
        };
        Event { task, time_us, kind: kind as u8, request, priority }
    }

    /// The order of a task's life: by time, and at one time by what comes first in it.
    pub(super) fn in_time(&self, other: &Event) -> Ordering {
        (self.task, self.time_us, self.kind).cmp(&(other.task, other.time_us, other.kind))
    }
}

impl Life {
    /// Add the next event in file order.
    pub(super) fn add(&mut self, event: &Event) {
        match u64::from(event.kind) {
            SUBMIT => {
                self.submit_us.get_or_insert(event.time_us);
            }
            SCHEDULE => {
                self.schedule_us.get_or_insert(event.time_us);
            }
            kind if ENDS.contains(&kind) && self.schedule_us.is_some() => {
                self.end_us.get_or_insert(event.time_us);
            }
            _ => {}
        }
        self.request_cpus = event.request.cpus.or(self.request_cpus);
        self.request_memory = event.request.memory.or(self.request_memory);
        self.priority = event.priority.or(self.priority);
    }
}

/// The events of one part that `keep` accepts, in file order.
pub(super) struct EventRows<'a> {
    keep: &'a (dyn Fn(TaskId) -> bool + Sync),
    pub(super) times: RowTimes,
    pub(super) events: Vec<Event>,
}

impl<'a> EventRows<'a> {
    pub(super) fn new(keep: &'a (dyn Fn(TaskId) -> bool + Sync)) -> Self {
        EventRows { keep, times: RowTimes::default(), events: Vec::new() }
    }
}

impl Gather for EventRows<'_> {
    fn row(&mut self, row: &Row<'_>) -> Result<Option<RowError>, RowError> {
        let time_us = row.time_us(0, "time")?;
        let task = TaskId { job: row.integer(2, "job ID")?, index: row.index(3, "task index")? };
        let kind = row.integer(5, "event type")?;
        if kind > LAST_TYPE {
            let what = format!("field 6 (event type) is {kind}; types are 0 to {LAST_TYPE}");
            return Err(RowError { kind: OddityKind::Number, what });
        }
        let priority = row.optional_integer(8, "priority")?;
        let priority = priority.map(|priority| u32::try_from(priority).unwrap_or(u32::MAX));
        let request =
            Request { cpus: row.optional_share(9, "CPU request")?, memory: row.optional_share(10, "memory request")? };
        if (self.keep)(task) {
            self.events.push(Event { task, time_us, kind: kind as u8, request, priority });
        }
        let backwards = self.times.add(time_us, "time");
        let requests = [(9, "CPU request", request.cpus), (10, "memory request", request.memory)];
        let mut above = requests.into_iter().filter(|(.., share)| share.is_some_and(|share| share > LARGEST_MACHINE));
        Ok(above.next().and_then(|(at, name, share)| Some(RowError::above_machine(at, name, share?))).or(backwards))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time_us: i64, kind: u64) -> Event {
        let task = TaskId { job: 1, index: 0 };
        Event { task, time_us, kind: kind as u8, request: Request::default(), priority: None }
    }

    fn life(events: &[(i64, u64)]) -> Life {
        let mut life = Life::default();
        events.iter().for_each(|&(time_us, kind)| life.add(&event(time_us, kind)));
        life
    }

    #[test]
    fn a_second_attempt_is_ignored() {
        let life = life(&[(1, 0), (2, 1), (3, 2), (4, 0), (5, 1), (6, 4)]);
        assert_eq!((life.submit_us, life.schedule_us, life.end_us), (Some(1), Some(2), Some(3)));
    }

    #[test]
    fn an_end_before_the_first_schedule_is_ignored() {
        let life = life(&[(9, 5), (2, 1), (7, 4)]);
        assert_eq!((life.submit_us, life.schedule_us, life.end_us), (None, Some(2), Some(7)));
    }

    #[test]
    fn the_last_value_counts_and_empty_ones_are_ignored() {
        let mut life = Life::default();
        let request = |cpus, memory| Request { cpus: Some(cpus), memory };
        life.add(&Event { request: request(0.5, Some(0.125)), priority: Some(9), ..event(0, 0) });
        life.add(&Event { request: request(0.25, None), ..event(0, 7) });
        life.add(&event(0, 1));
        assert_eq!((life.request_cpus, life.request_memory, life.priority), (Some(0.25), Some(0.125), Some(9)));
    }
}
