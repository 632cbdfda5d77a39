//! `vnuma-sim prepare`

use std::path::{Path, PathBuf};

use clap::Args;

use super::load::from_csv;
use super::options::{start_threads, ModelOptions, TraceOptions, MAX_THREADS};
use super::say::say;
use crate::sim::placement::Shard;
use crate::sim::trace::{ParquetWriter, TaskId, Trace};
use crate::sim::SimError;

/// Options of `prepare`.
#[derive(Args)]
pub struct Prepare {
    #[command(flatten)]
    trace: TraceOptions,
    /// File to write
    #[arg(long, value_name = "T.parquet")]
    out: PathBuf,
    /// Order the tasks by shard, so that a later `run --shard i/N` reads little else. The tables are read once per
    /// shard, so memory is bounded by the largest shard. Use the same --machines, --cell and --seed as in the later
    /// runs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    shards: u32,
    #[command(flatten)]
    model: ModelOptions,
    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=MAX_THREADS))]
    threads: Option<u16>,
}

impl Prepare {
    pub fn run(self) -> anyhow::Result<()> {
        if self.trace.events.is_empty() {
            anyhow::bail!("no trace given: name one with --events and --usage");
        }
        self.check_pipes()?;
        start_threads(self.threads)?;
        let placement = self.model.params(false)?.placement();
        let mut writer = ParquetWriter::create(&self.out)?;
        let mut whole = Trace::default();
        let mut tasks = 0;
        for index in 0..self.shards {
            let shard = Shard { index, of: self.shards };
            let keep = |task: TaskId| shard.of == 1 || shard.has_cell(placement.cell(task));
            // Every pass gives the same checksums, and the same oddities except those of tasks.
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
            say(format_args!("not fatal: {line}"));
        }
        if tasks == 0 {
            return Err(SimError::NoTasks.into());
        }
        Ok(writer.finish(&whole)?)
    }

    /// Every shard takes a pass over the tables, and a pipe has only one.
    fn check_pipes(&self) -> anyhow::Result<()> {
        let tables = [&self.trace.events, &self.trace.usage, &self.trace.machine_events];
        let is_pipe = |path: &&Path| path.exists() && !path.is_file() && !path.is_dir();
        match tables.into_iter().flatten().map(Path::new).find(is_pipe) {
            Some(path) if self.shards > 1 => {
                Err(SimError::OnlyOnce { path: path.to_owned(), why: "--shards reads it once per shard" }.into())
            }
            _ => Ok(()),
        }
    }
}
