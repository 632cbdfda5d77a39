//! The option to write series.

use std::path::PathBuf;

use clap::Args;

use crate::sim::engine::{Outcome, Prepared};
use crate::sim::params::Params;
use crate::sim::placement::Shard;
use crate::sim::series::{Series, SeriesFormat};
use crate::sim::SimError;

/// Where series go. They don't affect figures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Series")]
pub struct SeriesOptions {
    /// Write what happened to each task, on each machine and in each round to DIR: tables tasks, machines, rounds and moves
    #[arg(long, value_name = "DIR")]
    series: Option<PathBuf>,
    /// Format of these tables
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", requires = "series")]
    series_format: SeriesFormat,
}

impl SeriesOptions {
    /// Record a run whose series are wanted, if they would fit into memory.
    pub fn recording<'a>(
        &self,
        prepared: Prepared<'a>,
        params: &Params,
        shard: Shard,
    ) -> Result<Prepared<'a>, SimError> {
        if self.series.is_none() {
            return Ok(prepared);
        }
        Series::check(params, shard, prepared.horizon())?;
        Ok(prepared.recording())
    }

    /// Write the series of a run, if they are wanted.
    pub fn write(&self, prepared: &Prepared<'_>, params: &Params, outcome: &Outcome) -> Result<(), SimError> {
        match &self.series {
            Some(folder) => Series::new(prepared, params, outcome).write(folder, self.series_format),
            None => Ok(()),
        }
    }
}
