//! Series: what happened to each task, on each machine and in each round of a run, as tables for other tools.
//!
//! docs/series.md describes the columns. Times are in seconds since t0, CPU is in shares of the trace's largest machine.

mod csv;
mod parquet;
mod table;
mod tables;

use std::path::{Path, PathBuf};

pub use table::{Column, Table, Values};

use super::engine::{intervals, Outcome, Prepared};
use super::error::SimError;
use super::output::NewFile;
use super::params::Params;
use super::placement::Shard;
use super::tasks::Horizon;

/// How series are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SeriesFormat {
    /// Comma-separated values, with a line of names at the top
    #[default]
    Csv,
    /// Parquet
    Parquet,
}

impl SeriesFormat {
    fn extension(self) -> &'static str {
        match self {
            SeriesFormat::Csv => "csv",
            SeriesFormat::Parquet => "parquet",
        }
    }

    fn other(self) -> SeriesFormat {
        match self {
            SeriesFormat::Csv => SeriesFormat::Parquet,
            SeriesFormat::Parquet => SeriesFormat::Csv,
        }
    }
}

/// Maximum number of rows of a table: in memory, such a table of machines takes 6 GB.
const MAX_ROWS: u64 = 50_000_000;

/// The tables of a run, or of one of its shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The tables `tasks`, `machines`, `rounds` and `moves`.
    pub tables: [Table; 4],
}

impl Series {
    /// The tables of a [recorded](Prepared::recording) run.
    pub fn new(prepared: &Prepared<'_>, params: &Params, outcome: &Outcome) -> Series {
        Series {
            tables: [
                tables::tasks(prepared, params, outcome),
                tables::machines(prepared, params, outcome),
                tables::rounds(prepared, params, outcome),
                tables::moves(prepared, params, outcome),
            ],
        }
    }

    /// Refuse series that would not fit into memory.
    pub fn check(params: &Params, shard: Shard, horizon: Horizon) -> Result<(), SimError> {
        let machines = u64::from(params.machines).div_ceil(shard.of.into());
        let rows = machines.saturating_mul(intervals(params, horizon) as u64);
        if rows <= MAX_ROWS {
            return Ok(());
        }
        let refused = format!(
            "--series: a table of {machines} machines in every --interval {} s would have {rows} rows, more than {MAX_ROWS}; \
             run it in shards, with --shard, or shorter, with --start and --end",
            params.interval_s
        );
        Err(SimError::Parameters(refused))
    }

    /// Write the tables to a folder, one file for each. They replace those of an earlier run once all of them are written.
    pub fn write(&self, folder: &Path, format: SeriesFormat) -> Result<(), SimError> {
        std::fs::create_dir_all(folder).map_err(SimError::file(folder))?;
        let path = |table: &Table, format: SeriesFormat| folder.join(format!("{}.{}", table.name, format.extension()));
        let stale = self.tables.iter().map(|table| path(table, format.other())).find(|path| path.exists());
        if let Some(path) = stale {
            let what = "it is of another run, in another format; remove it, or name another folder with --series";
            return Err(SimError::Format { path, what: what.to_owned() });
        }
        let written: Vec<NewFile> = self
            .tables
            .iter()
            .map(|table| {
                let path: PathBuf = path(table, format);
                let file = NewFile::create(&path)?;
                match format {
                    SeriesFormat::Csv => csv::write(table, &path, file),
                    SeriesFormat::Parquet => parquet::write(table, &path, file),
                }
            })
            .collect::<Result<_, SimError>>()?;
        written.into_iter().try_for_each(NewFile::finish)
    }
}
