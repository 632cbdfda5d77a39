//! `vnuma-sim prepare`

use std::path::PathBuf;

use clap::Args;

use super::load::from_csv;
use super::options::{start_threads, ModelOptions, TraceOptions, MAX_THREADS};
use crate::sim::placement::Shard;
use crate::sim::trace::{ParquetWriter, TaskId, Trace};
use crate::sim::SimError;

/// Parse a trace once.
#[derive(Args)]
pub struct Prepare {
    #[command(flatten)]
    trace: TraceOptions,
    /// Where to write it
    #[arg(long, value_name = "T.parquet")]
    out: PathBuf,
    /// Lay the tasks out shard by shard, so that a later `run --shard i/N` reads little else. The tables are read once a
    /// shard, so memory is bounded by the largest one. Give the --machines, --cell and --seed of the later runs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    shards: u32,
    #[command(flatten)]
    model: ModelOptions,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=MAX_THREADS))]
    threads: Option<u16>,
}

impl Prepare {
    pub fn run(self) -> anyhow::Result<()> {
        if self.trace.events.is_empty() {
            anyhow::bail!("which trace? give --events and --usage");
        }
        start_threads(self.threads)?;
        let placement = self.model.params(false)?.placement();
        let mut writer = ParquetWriter::create(&self.out)?;
        let mut whole = Trace::default();
        let mut tasks = 0;
        for index in 0..self.shards {
            let shard = Shard { index, of: self.shards };
            let keep = |task: TaskId| shard.of == 1 || shard.has_cell(placement.cell(task));
            // Checksums are the same in each pass, and most of what is odd.
            let mut part = from_csv(&self.trace, &keep, index == 0)?;
            part.tasks.sort_by_key(|task| (placement.cell(task.id), task.id));
            writer.add(&part, &part.tasks)?;
            tasks += part.tasks.len();
            if index == 0 {
                whole = Trace { tasks: Vec::new(), windows: Vec::new(), ..part };
            } else {
                whole.oddities.merge_of_tasks(part.oddities);
            }
        }
        for line in whole.oddities.lines() {
            eprintln!("not fatal: {line}");
        }
        if tasks == 0 {
            return Err(SimError::NoTasks.into());
        }
        Ok(writer.finish(&whole)?)
    }
}
