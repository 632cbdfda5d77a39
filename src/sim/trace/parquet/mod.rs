//! A trace in one Parquet file: parsed once, then loaded by every command. A shard reads only the parts with its tasks.
//!
//! There is one row per task, with its usage windows as a list. Row groups are of bounded size and read in parallel.

mod positioned;
mod read;
mod write;

use std::path::Path;

use parquet::errors::ParquetError;

pub use read::{nr_row_groups, read};
pub use write::ParquetWriter;

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
}";

/// Changed when a reader of older files would misread newer ones.
const FORMAT: &str = "vnuma-sim trace 1";
/// The key of the file's metadata.
const HEAD_KEY: &str = "vnuma-sim";

/// The metadata of a file: everything except the tasks.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Head {
    format: String,
    first_us: i64,
    last_us: i64,
    inputs: Vec<Input>,
    oddities: Oddities,
    provenance: Option<String>,
}

fn failed(path: &Path) -> impl Fn(ParquetError) -> SimError + '_ {
    move |error| SimError::Format { path: path.to_owned(), what: format!("{error}; create it again with `prepare`") }
}
