//! The task_usage table: windows, gathered by task.

use super::csv::{Gather, Row, RowError, Table};
use super::events::{backwards, ByTask};
use super::{OddityKind, TaskId, Window};

/// The sampled CPU usage, the 20th field, came with version 2.1.
pub(super) const TASK_USAGE: Table = Table { name: "task_usage", min_fields: 19, max_fields: 20 };

/// A window, and what orders windows of one start.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsageRow {
    /// Position of its task among those kept.
    pub(super) task: u32,
    pub(super) end_us: i64,
    pub(super) window: Window,
}

/// The windows of one part whose tasks are known, and the span of all.
pub(super) struct UsageRows<'a> {
    /// Tasks with events, to their positions.
    positions: &'a ByTask<u32>,
    /// The tasks by position, in order of id.
    ids: &'a [TaskId],
    /// The position after the row above's: rows of one time are in order of id, so the next task is mostly there.
    likely: usize,
    keep: &'a (dyn Fn(TaskId) -> bool + Sync),
    last_start_us: i64,
    pub(super) rows: Vec<UsageRow>,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
}

impl<'a> UsageRows<'a> {
    pub(super) fn new(
        positions: &'a ByTask<u32>,
        ids: &'a [TaskId],
        keep: &'a (dyn Fn(TaskId) -> bool + Sync),
    ) -> Self {
        UsageRows {
            positions,
            ids,
            likely: 0,
            keep,
            last_start_us: 0,
            rows: Vec::new(),
            first_us: i64::MAX,
            last_us: i64::MIN,
        }
    }

    fn position(&mut self, id: TaskId) -> Option<u32> {
        let position = match self.ids.get(self.likely) {
            Some(&likely) if likely == id => self.likely as u32,
            _ => *self.positions.get(&id)?,
        };
        self.likely = position as usize + 1;
        Some(position)
    }
}

impl Gather for UsageRows<'_> {
    fn row(&mut self, row: &Row<'_>) -> Result<Option<RowError>, RowError> {
        let start_us = row.time_us(0, "start time")?;
        let end_us = row.time_us(1, "end time")?;
        let id = TaskId { job: row.integer(2, "job ID")?, index: row.index(3, "task index")? };
        let window = Window {
            start_us,
            cpu_mean: row.amount(5, "CPU rate")?,
            cpu_max: row.amount(13, "maximum CPU rate")?,
            memory: row.amount(7, "assigned memory usage")?,
            accesses_per_instruction: row.amount(16, "memory accesses per instruction")?,
        };
        if end_us == i64::MAX {
            let what = format!("field 2 (end time) is {end_us}, which means after the trace; a window has an end");
            return Err(RowError { kind: OddityKind::Number, what });
        }
        if end_us < start_us {
            let what = format!("field 2 (end time) is {end_us}, before the start time {start_us}");
            return Err(RowError { kind: OddityKind::WindowBackwards, what });
        }
        self.first_us = self.first_us.min(start_us);
        self.last_us = self.last_us.max(end_us);
        let odd = backwards(&mut self.last_start_us, start_us, "start time");
        match self.position(id) {
            Some(task) => self.rows.push(UsageRow { task, end_us, window }),
            None if (self.keep)(id) => {
                let what = format!("task {id} has usage but no row in task_events");
                return Ok(Some(RowError { kind: OddityKind::UsageWithoutEvents, what }));
            }
            None => {}
        }
        Ok(odd)
    }
}

/// Every task's windows in order of (start, end), task by task, and where each task's begin; one more entry ends the
/// last. Rows of equal start and end stay in file order.
pub(super) fn by_task(parts: Vec<Vec<UsageRow>>, nr_tasks: usize) -> (Vec<Window>, Vec<usize>) {
    let mut starts = vec![0; nr_tasks + 1];
    for row in parts.iter().flatten() {
        starts[row.task as usize + 1] += 1;
    }
    for task in 0..nr_tasks {
        starts[task + 1] += starts[task];
    }
    let nothing = (0, Window::default());
    let mut windows = vec![nothing; starts[nr_tasks]];
    let mut next = starts.clone();
    // Part by part, so that a part's memory is given back before the next one is placed.
    for row in parts.into_iter().flatten() {
        let place = &mut next[row.task as usize];
        windows[*place] = (row.end_us, row.window);
        *place += 1;
    }
    for range in starts.windows(2) {
        let windows = &mut windows[range[0]..range[1]];
        let key = |(end_us, window): &(i64, Window)| (window.start_us, *end_us);
        if !windows.is_sorted_by_key(key) {
            windows.sort_by_key(key);
        }
    }
    (windows.into_iter().map(|(_, window)| window).collect(), starts)
}
