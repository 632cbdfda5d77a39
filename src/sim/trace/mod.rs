//! A cluster trace in memory: its tasks and their usage windows.

mod csv;
mod events;
pub mod foreign;
#[cfg(any(all(test, feature = "daemon"), feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod gzip;
mod input;
mod load;
pub mod machine_events;
mod oddities;
mod outliers;
mod parquet;
mod parts;
mod row_times;
mod scan;
mod source;
mod usage;

use std::fmt;
use std::ops::Range;

pub use input::Input;
pub use load::{from_csv, from_readers, CsvTables};
pub use oddities::{Oddities, Oddity, OddityKind};
pub(in crate::sim) use parquet::{not_written, Column as ParquetColumn, Encoded as EncodedColumn};
pub use parquet::{nr_row_groups, read as from_parquet, ParquetWriter};
pub use parts::expand;
pub use source::open_file as open;

/// Identifies a task. The order is the one used where no other order is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId {
    /// Id of the job.
    pub job: u64,
    /// Index of the task in the job.
    pub index: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.job, self.index)
    }
}

/// A task's usage from `start_us` until its next window starts. CPU and memory are shares of the trace's largest
/// machine, with the four significant digits of the trace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UsageWindow {
    /// Start in trace time, microseconds.
    pub start_us: i64,
    /// Mean CPU.
    pub cpu_mean: f32,
    /// Maximum CPU.
    pub cpu_max: f32,
    /// Assigned memory, which a move takes along.
    pub memory: f32,
    /// Memory accesses per instruction (MAI).
    pub accesses_per_instruction: f32,
}

/// A task's events, and the place of its windows.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedTask {
    /// Unique id.
    pub id: TaskId,
    /// Time of its first SUBMIT, in trace time.
    pub submit_us: Option<i64>,
    /// Time of its first SCHEDULE, in trace time.
    pub schedule_us: Option<i64>,
    /// Time of the first EVICT, FAIL, FINISH, KILL or LOST that follows that SCHEDULE in the file, in trace time.
    pub end_us: Option<i64>,
    /// Requested CPU: the last value given.
    pub request_cpus: f64,
    /// Requested memory, as a share of the largest machine's: the last value given.
    pub request_memory: f64,
    /// Priority: the last value given.
    pub priority: u32,
    /// Range of its windows in [`Trace::windows`], in order of (start, end). Never empty.
    pub windows: Range<usize>,
}

/// A loaded trace, or the part of it that a shard needs.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Tasks with at least one event and one usage window, in order of id.
    pub tasks: Vec<TracedTask>,
    /// The usage windows of all tasks, grouped by task.
    pub windows: Vec<UsageWindow>,
    /// Smallest window start in all usage rows, including those of tasks left out; trace time.
    pub first_us: i64,
    /// Largest window end, likewise.
    pub last_us: i64,
    /// The files that were read.
    pub inputs: Vec<Input>,
    /// The oddities found in them.
    pub oddities: Oddities,
    /// Where the data come from and which of them are synthetic, if the trace has this information.
    pub provenance: Option<String>,
    /// True if it was prepared by a release that left memory requests out, so that those of tasks are 0.
    pub lacks_memory_requests: bool,
}

impl Trace {
    /// The windows of a task, in order of (start, end).
    pub fn windows_of(&self, task: &TracedTask) -> &[UsageWindow] {
        &self.windows[task.windows.clone()]
    }
}
