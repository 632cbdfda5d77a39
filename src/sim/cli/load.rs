//! Loads the trace that the options name.

use std::path::Path;

use anyhow::Context;

use super::options::{RunningOptions, TraceOptions};
use super::say::say;
use crate::sim::params::Params;
use crate::sim::placement::Shard;
use crate::sim::progress::Progress;
use crate::sim::trace::foreign::{self, Format, Host};
use crate::sim::trace::{self, machine_events, CsvTables, Oddities, TaskId, Trace};
use crate::sim::{sample, SimError};

/// What a command needs of a trace.
pub struct Wanted<'a> {
    /// The cluster's parameters, which place tasks and so decide which belong to the shard.
    pub params: &'a Params,
    /// The part of the cluster to run.
    pub shard: Shard,
    /// Whether the files' checksums are needed.
    pub checksums: bool,
}

/// Return true if the options name no trace, so that the sample is used.
pub fn is_sample(options: &TraceOptions, running: &RunningOptions) -> bool {
    options.events.is_empty() && running.trace.is_none()
}

/// Load the trace, and print its oddities on standard error.
pub fn load(options: &TraceOptions, running: &RunningOptions, wanted: &Wanted<'_>) -> anyhow::Result<Trace> {
    let placement = wanted.params.placement();
    let shard = wanted.shard;
    let keep = move |task: TaskId| shard.of == 1 || shard.has_cell(placement.cell(task));
    let mut trace = if is_sample(options, running) {
        say("no trace given: using the bundled sample trace; name one with --events and --usage, or --trace");
        sample::load(&keep)?
    } else if let Some(path) = &running.trace {
        let progress = Progress::new("loading", trace::nr_row_groups(path)?);
        trace::from_parquet(path, &keep, &|| progress.step())?
    } else {
        from_csv(options, &keep, wanted.checksums)?
    };
    // A prepared trace carries the oddities of the tables that it was made from.
    if let (true, Some(first)) = (options.strict, trace.oddities.first()) {
        return Err(SimError::Strict(first.clone()).into());
    }
    for line in trace.oddities.lines() {
        say(format_args!("not fatal: {line}"));
    }
    // A prepared trace has those of all tasks, and the other shards' results are added to that of the first.
    if running.trace.is_some() && shard.index > 0 {
        trace.oddities.forget_those_of_tasks();
    }
    if trace.tasks.is_empty() && shard.of == 1 {
        return Err(SimError::NoTasks.into());
    }
    wanted.params.check_horizon(&trace)?;
    Ok(trace)
}

/// Load the tasks that `keep` accepts from Google's tables of 2011.
pub fn from_csv(
    options: &TraceOptions,
    keep: &(dyn Fn(TaskId) -> bool + Sync),
    checksums: bool,
) -> anyhow::Result<Trace> {
    from_tables(options, None, keep, checksums)
}

/// Load the tasks that `keep` accepts from the tables of the format, with its host, or from Google's of 2011 without one.
pub fn from_tables(
    options: &TraceOptions,
    foreign: Option<(Format, Host)>,
    keep: &(dyn Fn(TaskId) -> bool + Sync),
    checksums: bool,
) -> anyhow::Result<Trace> {
    let mut oddities = Oddities::default();
    let (events, usage) = foreign.map_or_else(|| Format::default().tables(), |(format, _)| format.tables());
    let tables = CsvTables {
        events: trace::expand(&options.events, events, &mut oddities).context("--events")?,
        usage: trace::expand(&options.usage, usage, &mut oddities).context("--usage")?,
        checksums,
    };
    if let Some(part) = tables.events.iter().find(|part| !part.is_file() && tables.usage.contains(part)) {
        return Err(SimError::OnlyOnce { path: part.clone(), why: "--events and --usage both name it" }.into());
    }
    let machine_parts =
        trace::expand(&options.machine_events, "machine_events", &mut oddities).context("--machine-events")?;
    if let (true, Some(first)) = (options.strict, oddities.first()) {
        return Err(SimError::Strict(first.clone()).into());
    }
    let progress = Progress::new("loading", (tables.events.len() + tables.usage.len()) as u64);
    let mut trace = match foreign {
        None => trace::from_csv(&tables, options.strict, keep, &|_| progress.step())?,
        Some((format, host)) => foreign::load(format, host, &tables, options.strict, keep, &|_| progress.step())?,
    };
    drop(progress);
    if !machine_parts.is_empty() {
        let machines = machine_events::read(&machine_parts, options.strict, &mut oddities)?;
        say(format_args!(
            "the trace starts with {} machines of {:.4} CPU on average; the model uses --machines and --capacity",
            machines.count,
            machines.cpus / machines.count.max(1) as f64
        ));
    }
    oddities.merge(std::mem::take(&mut trace.oddities));
    trace.oddities = oddities;
    trace.provenance = tables.usage.first().and_then(|part| provenance(part));
    Ok(trace)
}

/// The text of a file `PROVENANCE` next to the part, or in the parent directory.
fn provenance(part: &Path) -> Option<String> {
    let folders = part.ancestors().skip(1).take(2);
    let text = folders.map(|folder| folder.join("PROVENANCE")).find_map(|path| std::fs::read_to_string(path).ok())?;
    Some(text.trim().to_owned())
}
