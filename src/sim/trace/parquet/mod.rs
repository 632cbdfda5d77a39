//! A trace in one Parquet file: parsed once, then loaded by every command. A shard reads only the parts with its tasks.
//!
//! There is one row per task, with its usage windows as a list. Row groups are of bounded size and read in parallel.
//!
//! Nothing of a file is believed. Every page has a checksum, which other readers verify too. A page's header and the file's
//! footer have none in Parquet, so each row also has a checksum of all that was read of it, and the metadata one of
//! itself. Values are checked like those of the CSV tables.

mod check;
mod checksum;
#[cfg(test)]
mod mutants;
mod page;
mod page_header;
mod page_reader;
mod positioned;
mod read;
mod runs;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::path::Path;

use parquet::errors::ParquetError;

pub(in crate::sim) use page::{Column, Encoded};
pub use read::{nr_row_groups, read};
pub use write::ParquetWriter;

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use read::read_from;

use super::{Input, Oddities};
use crate::sim::error::SimError;

const SCHEMA: &str = "
message trace {
    required int64 job (INTEGER(64, false));
    required int32 index (INTEGER(32, false));
    optional int64 submit_us;
    optional int64 schedule_us;
    optional int64 end_us;
    required double request_cpus;
    required int32 priority (INTEGER(32, false));
    required int32 nr_windows (INTEGER(32, false));
    required group windows (LIST) {
        repeated group list {
            required group element {
                required int64 start_us;
                required float cpu_mean;
                required float cpu_max;
                required float memory;
                required float accesses_per_instruction;
            }
        }
    }
    required int32 crc32 (INTEGER(32, false));
    required double request_memory;
}";

/// The number of columns, and of those that files of earlier releases have: without the memory request, and without the checksum.
const NR_COLUMNS: usize = 15;
const NR_COLUMNS_1: usize = 14;
const NR_COLUMNS_UNSUMMED: usize = 13;

/// Windows of a row group, unless it is one task's: enough to make it worth its overhead, and few enough to give every core one.
const ROW_GROUP_WINDOWS: usize = 1 << 17;

/// Changed when a reader of older files would misread newer ones.
const FORMAT: &str = "vnuma-sim trace 2";
/// The format of an earlier release, without memory requests.
const FORMAT_1: &str = "vnuma-sim trace 1";
/// The key of the file's metadata.
const HEAD_KEY: &str = "vnuma-sim";

/// The metadata of a file: everything except the tasks.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    first_us: i64,
    last_us: i64,
    inputs: Vec<Input>,
    oddities: Oddities,
    provenance: Option<String>,
    /// `None` in a file of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sums: Option<Sums>,
}

/// What shows that nothing was lost or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sums {
    tasks: u64,
    windows: u64,
    /// CRC-32 of the head with 0 here, as JSON.
    head_crc32: u32,
}

impl Head {
    /// Return true if the tasks of the file have memory requests.
    fn has_memory_requests(&self) -> bool {
        self.format == FORMAT
    }

    /// The number of the file's columns.
    fn nr_columns(&self) -> usize {
        match (self.has_memory_requests(), self.sums) {
            (true, _) => NR_COLUMNS,
            (false, Some(_)) => NR_COLUMNS_1,
            (false, None) => NR_COLUMNS_UNSUMMED,
        }
    }
}

/// An error of writing: what the system says, such as of a full disk.
pub(in crate::sim) fn not_written(path: &Path) -> impl Fn(ParquetError) -> SimError + '_ {
    move |error| {
        SimError::file(path)(match error {
            ParquetError::External(cause) => io::Error::other(cause),
            other => io::Error::other(other),
        })
    }
}

/// An error of reading.
fn failed(path: &Path) -> impl Fn(ParquetError) -> SimError + '_ {
    move |error| {
        let error = match error {
            // Without the words "Parquet error: ".
            ParquetError::General(what) => what,
            other => other.to_string(),
        };
        SimError::Format { path: path.to_owned(), what: format!("{error}; create it again with `prepare`") }
    }
}
