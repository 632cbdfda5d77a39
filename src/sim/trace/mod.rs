//! A cluster trace in memory: what is known of each task, and its usage windows.

mod csv;
mod events;
mod load;
pub mod machine_events;
mod oddities;
mod parquet;
mod scan;
mod source;
mod usage;

use std::fmt;
use std::ops::Range;

pub use load::{from_csv, from_readers, CsvTables};
pub use oddities::{Oddities, Oddity, OddityKind};
pub use parquet::{nr_row_groups, read as from_parquet, ParquetWriter};
pub use source::{expand, Input};

/// What names a task: its job and its index in it. Ordered as tasks without any other order are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId {
    /// The job.
    pub job: u64,
    /// The task's index in the job.
    pub index: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.job, self.index)
    }
}

/// What a task used from `start_us` on, until its next window starts. CPU and memory as shares of the trace's largest
/// machine, with the four significant digits that the trace gives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UsageWindow {
    /// Trace time, microseconds.
    pub start_us: i64,
    /// Mean CPU.
    pub cpu_mean: f32,
    /// Largest CPU.
    pub cpu_max: f32,
    /// Memory assigned: what a move takes along.
    pub memory: f32,
    /// Memory accesses per instruction (MAI).
    pub accesses_per_instruction: f32,
}

/// What the events say of a task, and where its windows are.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedTask {
    /// Its name.
    pub id: TaskId,
    /// Its first SUBMIT, trace time.
    pub submit_us: Option<i64>,
    /// Its first SCHEDULE, trace time.
    pub schedule_us: Option<i64>,
    /// The first EVICT, FAIL, FINISH, KILL or LOST that stands after that SCHEDULE in the file, trace time.
    pub end_us: Option<i64>,
    /// CPU asked for: the last value given.
    pub request_cpus: f64,
    /// Priority: the last value given.
    pub priority: u32,
    /// Its windows in [`Trace::windows`], in order of (start, end); never empty.
    pub windows: Range<usize>,
}

/// A loaded trace, or the part of it that a shard needs.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Tasks with at least one event and one usage window, in order of id.
    pub tasks: Vec<TracedTask>,
    /// Every task's usage windows, task by task.
    pub windows: Vec<UsageWindow>,
    /// The smallest window start over all usage rows read, even those of tasks left out; trace time.
    pub first_us: i64,
    /// The largest window end, likewise.
    pub last_us: i64,
    /// The files read.
    pub inputs: Vec<Input>,
    /// What was wrong with them.
    pub oddities: Oddities,
    /// Where the data come from and which of them are synthetic, when the trace says so.
    pub provenance: Option<String>,
}

impl Trace {
    /// One task's windows, in order of (start, end).
    pub fn windows_of(&self, task: &TracedTask) -> &[UsageWindow] {
        &self.windows[task.windows.clone()]
    }
}
