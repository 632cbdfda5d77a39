//! Where readers of other formats put events and windows.

use crate::sim::trace::csv::{RowError, LARGEST_MACHINE, MAX_RATIO, MAX_SHARE};
use crate::sim::trace::events::Event;
use crate::sim::trace::outliers::{is_long, Outliers};
use crate::sim::trace::{OddityKind, TaskId, UsageWindow};

use super::rows::RowResult;

/// A window, and its end, which orders windows with the same start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) task: TaskId,
    pub(super) end_us: i64,
    pub(super) window: UsageWindow,
}

/// The events and windows of the tasks that `keep` accepts, and the time span of all windows.
pub(super) struct Sink<'a> {
    keep: &'a (dyn Fn(TaskId) -> bool + Sync),
    pub(super) events: Vec<Event>,
    used: Vec<Used>,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    pub(super) outliers: Outliers,
}

impl<'a> Sink<'a> {
    pub(super) fn new(keep: &'a (dyn Fn(TaskId) -> bool + Sync)) -> Self {
        let (events, used, outliers) = (Vec::new(), Vec::new(), Outliers::default());
        Sink { keep, events, used, first_us: i64::MAX, last_us: i64::MIN, outliers }
    }

    /// Return true if a task is wanted.
    pub(super) fn keeps(&self, task: TaskId) -> bool {
        (self.keep)(task)
    }

    /// Add an event.
    pub(super) fn event(&mut self, event: Event) {
        if self.keeps(event.task) {
            self.events.push(event);
        }
    }

    /// Add a window. `is_known` is false if its task has no event, and `table` should have one.
    pub(super) fn usage(
        &mut self,
        task: TaskId,
        end_us: i64,
        window: UsageWindow,
        (is_known, table): (bool, &str),
    ) -> RowResult {
        check(&window)?;
        let time_us = window.start_us..end_us;
        if end_us < window.start_us {
            let what = format!("the window ends at {end_us}, before it starts at {} µs", window.start_us);
            return Err(RowError { kind: OddityKind::WindowBackwards, what });
        }
        self.first_us = self.first_us.min(time_us.start);
        self.last_us = self.last_us.max(time_us.end);
        self.outliers.add(&time_us, &window);
        let keeps = self.keeps(task);
        if keeps && !is_known {
            let what = format!("task {task} has usage but no row in {table}");
            return Ok(Some(RowError { kind: OddityKind::UsageWithoutEvents, what }));
        }
        if keeps {
            self.used.push(Used { task, end_us, window });
        }
        Ok(odd(&window, is_long(&time_us)))
    }

    /// Add what a later part has, and return its windows.
    pub(super) fn absorb(&mut self, later: Sink<'_>) -> Vec<Used> {
        self.events.extend(later.events);
        self.first_us = self.first_us.min(later.first_us);
        self.last_us = self.last_us.max(later.last_us);
        self.outliers = self.outliers.and(later.outliers);
        later.used
    }
}

/// Refuse what no window of the tables of 2011 could have.
fn check(window: &UsageWindow) -> Result<(), RowError> {
    let shares = [("mean CPU", window.cpu_mean), ("maximum CPU", window.cpu_max), ("memory", window.memory)];
    let shares = shares.into_iter().map(|(name, value)| (name, value, MAX_SHARE));
    let ratio = ("memory accesses per instruction", window.accesses_per_instruction, MAX_RATIO);
    for (name, value, most) in shares.chain([ratio]) {
        if !(0.0..=most).contains(&f64::from(value)) {
            let what = format!("{name} is {value} of the largest machine, not a number from 0 to {most:?}");
            return Err(RowError { kind: OddityKind::Number, what });
        }
    }
    let what = || format!("the window starts at {} µs, before the trace", window.start_us);
    match window.start_us < 0 {
        true => Err(RowError { kind: OddityKind::Number, what: what() }),
        false => Ok(()),
    }
}

fn odd(window: &UsageWindow, is_long: bool) -> Option<RowError> {
    let shares = [("mean CPU", window.cpu_mean), ("maximum CPU", window.cpu_max), ("memory", window.memory)];
    if let Some((name, value)) = shares.into_iter().find(|(_, value)| f64::from(*value) > LARGEST_MACHINE) {
        let what = format!("{name} is {value} of the largest machine");
        return Some(RowError { kind: OddityKind::AboveMachine, what });
    }
    is_long.then(|| RowError { kind: OddityKind::LongWindow, what: "the window lasts more than an hour".to_owned() })
}
