//! `vnuma-sim prepare`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::load::from_tables;
use super::options::{start_threads, Bytes, ModelOptions, TraceOptions, MAX_THREADS};
use super::say::say;
use crate::sim::placement::Shard;
use crate::sim::trace::foreign::{Format, Host};
use crate::sim::trace::{ParquetWriter, TaskId, Trace};
use crate::sim::SimError;

/// Options of `prepare`.
#[derive(Args)]
pub struct Prepare {
    #[command(flatten)]
    trace: TraceOptions,
    /// Format of the tables: docs/traces.md says how each becomes tasks
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Azure, Alibaba: cores of the largest machine, which has 1 of the CPU [default: 64 for Azure, 96 for Alibaba]
    #[arg(long, value_name = "N")]
    host_cpus: Option<f64>,
    /// Azure: memory of the largest machine [default: 512GB]
    #[arg(long, value_name = "SIZE")]
    host_memory: Option<Bytes>,
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
        let foreign = self.foreign()?;
        let mut writer = ParquetWriter::create(&self.out)?;
        let mut whole = Trace::default();
        let mut tasks = 0;
        for index in 0..self.shards {
            let shard = Shard { index, of: self.shards };
            let keep = |task: TaskId| shard.of == 1 || shard.has_cell(placement.cell(task));
            // Every pass gives the same checksums, and the same oddities except those of tasks.
            let mut part = from_tables(&self.trace, foreign, &keep, index == 0)?;
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

    /// Another format than Google's of 2011, with its host.
    fn foreign(&self) -> anyhow::Result<Option<(Format, Host)>> {
        let refused = |option: &str| anyhow::bail!("{option}: tables of --format {} don't need it", name(self.format));
        let given = (self.host_cpus, self.host_memory.map(|memory| memory.0 as f64 / 1e9));
        match (self.format, self.format.host(), given) {
            (_, None, (Some(_), _)) => refused("--host-cpus"),
            (Format::Alibaba2018, _, (_, Some(_))) | (_, None, (_, Some(_))) => refused("--host-memory"),
            (Format::Google2011, ..) => Ok(None),
            _ if !self.trace.machine_events.is_empty() => refused("--machine-events"),
            // What is in shares already.
            (format, None, _) => Ok(Some((format, Host { cpus: 1.0, memory_gb: 1.0 }))),
            (format, Some(host), (cpus, memory_gb)) => {
                let host = Host { cpus: cpus.unwrap_or(host.cpus), memory_gb: memory_gb.unwrap_or(host.memory_gb) };
                for (option, value) in [("--host-cpus", host.cpus), ("--host-memory", host.memory_gb)] {
                    anyhow::ensure!(value.is_finite() && value > 0.0, "{option}: must be above 0");
                }
                Ok(Some((format, host)))
            }
        }
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

/// A format's name on the command line.
fn name(format: Format) -> String {
    format.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
