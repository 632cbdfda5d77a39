//! The task_usage table: usage windows, collected by task.

use std::ops::Range;

use rayon::prelude::*;

use super::csv::{Gather, Row, RowError, Table, LARGEST_MACHINE};
use super::events::ByTask;
use super::outliers::{is_long, Outliers};
use super::row_times::RowTimes;
use super::{OddityKind, TaskId, UsageWindow};

/// The 20th field, sampled CPU usage, was added in version 2.1.
pub(super) const TASK_USAGE: Table = Table { name: "task_usage", min_fields: 19, max_fields: 20 };

/// A window, and its end, which orders windows with the same start.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsageRow {
    /// Position of its task among the kept ones.
    pub(super) task: u32,
    pub(super) end_us: i64,
    pub(super) window: UsageWindow,
}

/// The windows of one part whose tasks are known, and the time span of all windows.
pub(super) struct UsageRows<'a> {
    /// Positions of the tasks that have events.
    positions: &'a ByTask<u32>,
    /// The tasks by position, in order of id.
    ids: &'a [TaskId],
    /// For each position, the position in the row that last followed it. Rows with the same time are in order of id, so
    /// the same one mostly follows again.
    below: Vec<u32>,
    /// Position of the previous row.
    above: usize,
    keep: &'a (dyn Fn(TaskId) -> bool + Sync),
    pub(super) starts: RowTimes,
    pub(super) rows: Vec<UsageRow>,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    pub(super) outliers: Outliers,
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
            below: (1..).take(ids.len()).collect(),
            above: usize::MAX,
            keep,
            starts: RowTimes::default(),
            rows: Vec::new(),
            first_us: i64::MAX,
            last_us: i64::MIN,
            outliers: Outliers::default(),
        }
    }

    /// Count a window among all, and return what is odd about it.
    fn outlier(&mut self, time_us: Range<i64>, window: &UsageWindow) -> Option<RowError> {
        self.outliers.add(&time_us, window);
        let values = [(5, "CPU rate", window.cpu_mean), (13, "maximum CPU rate", window.cpu_max)];
        let values = values.into_iter().chain([(7, "assigned memory usage", window.memory)]);
        let above = values.into_iter().find(|(_, _, value)| f64::from(*value) > LARGEST_MACHINE);
        if let Some((field, name, value)) = above {
            return Some(RowError::above_machine(field, name, value));
        }
        is_long(&time_us).then(|| RowError {
            kind: OddityKind::LongWindow,
            what: format!(
                "field 2 (end time) is {}, more than an hour after the start time {}",
                time_us.end, time_us.start
            ),
        })
    }

    fn position(&mut self, id: TaskId) -> Option<u32> {
        let likely = self.below.get(self.above).map_or(0, |&below| below);
        let position = match self.ids.get(likely as usize) {
            Some(&found) if found == id => likely,
            _ => *self.positions.get(&id)?,
        };
        if let Some(below) = self.below.get_mut(self.above) {
            *below = position;
        }
        self.above = position as usize;
        Some(position)
    }
}

impl Gather for UsageRows<'_> {
    fn row(&mut self, row: &Row<'_>) -> Result<Option<RowError>, RowError> {
        let start_us = row.time_us(0, "start time")?;
        let end_us = row.time_us(1, "end time")?;
        let id = TaskId { job: row.integer(2, "job ID")?, index: row.index(3, "task index")? };
        let window = UsageWindow {
            start_us,
            cpu_mean: row.share(5, "CPU rate")?,
            cpu_max: row.share(13, "maximum CPU rate")?,
            memory: row.share(7, "assigned memory usage")?,
            accesses_per_instruction: row.ratio(16, "memory accesses per instruction")?,
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
        let backwards = self.starts.add(start_us, "start time");
        let odd = self.outlier(start_us..end_us, &window).or(backwards);
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

/// Maximum number of stretches in which tasks are placed in parallel. Each takes a pass over all rows.
const MAX_STRETCHES: usize = 4;

/// The windows of all tasks in order of (start, end), grouped by task, and where each task's windows begin; one more
/// entry marks the end. Rows with equal start and end stay in file order.
pub(super) fn by_task(parts: &[Vec<UsageRow>], nr_tasks: usize) -> (Vec<UsageWindow>, Vec<usize>) {
    let mut starts = vec![0; nr_tasks + 1];
    for row in parts.iter().flatten() {
        starts[row.task as usize + 1] += 1;
    }
    for task in 0..nr_tasks {
        starts[task + 1] += starts[task];
    }
    let mut windows = vec![UsageWindow::default(); starts[nr_tasks]];
    let mut stretches = Vec::new();
    let mut rest = windows.as_mut_slice();
    let len = nr_tasks.div_ceil(rayon::current_num_threads().min(MAX_STRETCHES)).max(1);
    for first in (0..nr_tasks).step_by(len) {
        let starts = &starts[first..=nr_tasks.min(first + len)];
        let (windows, others) = rest.split_at_mut(starts[starts.len() - 1] - starts[0]);
        stretches.push((first, starts, windows));
        rest = others;
    }
    stretches.into_par_iter().for_each(|(first, starts, windows)| place(parts, first, starts, windows));
    (windows, starts)
}

/// Put the windows of the tasks from `first` on into `windows`, which holds only theirs. `starts` are the positions
/// among all windows at which each of these tasks begins, and at which the last one ends.
fn place(parts: &[Vec<UsageRow>], first: usize, starts: &[usize], windows: &mut [UsageWindow]) {
    let bounds: Vec<usize> = starts.iter().map(|start| start - starts[0]).collect();
    let mut next = bounds[..bounds.len() - 1].to_vec();
    let mut ends_us = vec![0; windows.len()];
    for row in parts.iter().flatten() {
        let task = (row.task as usize).wrapping_sub(first);
        if let Some(place) = next.get_mut(task) {
            windows[*place] = row.window;
            ends_us[*place] = row.end_us;
            *place += 1;
        }
    }
    for range in bounds.windows(2).map(|bounds| bounds[0]..bounds[1]) {
        in_order(&mut windows[range.clone()], &ends_us[range]);
    }
}

/// Sort a task's windows by (start, end). Most are sorted already.
fn in_order(windows: &mut [UsageWindow], ends_us: &[i64]) {
    let keys = || windows.iter().map(|window| window.start_us).zip(ends_us.iter().copied());
    if keys().is_sorted() {
        return;
    }
    let mut sorted: Vec<_> = keys().zip(windows.iter().copied()).collect();
    sorted.sort_by_key(|&(key, _)| key);
    windows.iter_mut().zip(sorted).for_each(|(window, (_, sorted))| *window = sorted);
}
