//! Traces in other formats than the one of Google's trace of 2011. `prepare --format` reads them; docs/traces.md says how
//! their tables become tasks and windows, and what of them can't.

mod alibaba2018;
mod azure;
mod google2019;
mod rows;
mod sink;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

use rayon::prelude::*;

use super::events::{ByTask, Event, Life};
use super::input::{Checksum, Input};
use super::load::{traced, CsvTables};
use super::usage::{by_task, UsageRow};
use super::{source, Oddities, TaskId, Trace};
use crate::sim::error::SimError;
use rows::{read_rows, Row, RowResult};
use sink::Sink;

/// The format of a trace's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Google 2011: task_events and task_usage
    #[default]
    Google2011,
    /// Google 2019: instance_events and instance_usage, as JSON lines or CSV with a header
    Google2019,
    /// Azure 2017 (V1): vmtable and vm_cpu_readings
    Azure2017,
    /// Azure 2019 (V2): vmtable and vm_cpu_readings
    Azure2019,
    /// Alibaba 2018: batch_task and container_meta, batch_instance and container_usage
    Alibaba2018,
}

/// The largest machine of a trace that gives CPU in cores and memory in GB: what is 1 in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Host {
    /// Number of cores.
    pub cpus: f64,
    /// Memory in GB.
    pub memory_gb: f64,
}

impl Format {
    /// The host that is assumed if none is given; `None` where the tables have shares already.
    pub fn host(self) -> Option<Host> {
        match self {
            Format::Google2011 | Format::Google2019 => None,
            // Azure doesn't publish its hosts.
            Format::Azure2017 | Format::Azure2019 => Some(Host { cpus: 64.0, memory_gb: 512.0 }),
            // machine_meta: all machines have 96 cores; memory is given in shares.
            Format::Alibaba2018 => Some(Host { cpus: 96.0, memory_gb: 100.0 }),
        }
    }

    /// Names of the tables of `--events` and `--usage`.
    pub fn tables(self) -> (&'static str, &'static str) {
        match self {
            Format::Google2011 => ("task_events", "task_usage"),
            Format::Google2019 => ("instance_events", "instance_usage"),
            Format::Azure2017 | Format::Azure2019 => ("vmtable", "vm_cpu_readings"),
            Format::Alibaba2018 => ("batch_task", "batch_instance"),
        }
    }

    fn reader(self, host: Host) -> Box<dyn Reader> {
        match self {
            Format::Google2011 => unreachable!("BUG: it has a reader of its own"),
            Format::Google2019 => Box::new(google2019::Google2019::default()),
            Format::Azure2017 | Format::Azure2019 => Box::new(azure::Azure::new(host)),
            Format::Alibaba2018 => Box::new(alibaba2018::Alibaba2018::new(host)),
        }
    }
}

/// Turns rows into events and windows.
trait Reader: Send + Sync {
    /// Process a row of the tables of `--events`, which are read first, one part after another.
    fn event(&mut self, row: &Row<'_>, sink: &mut Sink<'_>) -> RowResult;

    /// Process a row of the tables of `--usage`.
    fn usage(&self, row: &Row<'_>, sink: &mut Sink<'_>) -> RowResult;
}

/// Load the tasks that `keep` accepts, as [`super::from_csv`] does. `read` is called with the path of each part after it was read.
pub fn load(
    format: Format,
    host: Host,
    tables: &CsvTables,
    strict: bool,
    keep: &(dyn Fn(TaskId) -> bool + Sync),
    read: &(dyn Fn(&PathBuf) + Sync),
) -> Result<Trace, SimError> {
    let (events_table, usage_table) = format.tables();
    let parts = || {
        let events = tables.events.iter().map(|part| (events_table, part));
        events.chain(tables.usage.iter().map(|part| (usage_table, part))).filter(|_| tables.checksums)
    };
    let sums: HashMap<&PathBuf, Checksum> = parts().map(|(_, part)| (part, Checksum::default())).collect();
    let open = |part: &PathBuf| source::open(part, sums.get(part));
    let mut reader = format.reader(host);
    let mut oddities = Oddities::default();
    let mut whole = Sink::new(keep);
    for part in &tables.events {
        oddities.merge(read_rows(open(part)?, part, strict, &mut |row| reader.event(row, &mut whole))?);
        read(part);
    }
    let reader = &*reader;
    let mut usage = Vec::new();
    // One batch has as many parts as there are threads, and is put into file order before the next one is read.
    for batch in tables.usage.chunks(rayon::current_num_threads().max(1)) {
        let gathered: Vec<Result<(Sink<'_>, Oddities), SimError>> = batch
            .par_iter()
            .map(|part| {
                let mut sink = Sink::new(keep);
                let odd = read_rows(open(part)?, part, strict, &mut |row| reader.usage(row, &mut sink))?;
                read(part);
                Ok((sink, odd))
            })
            .collect();
        for part in gathered {
            let (sink, odd) = part?;
            oddities.merge(odd);
            usage.push(whole.absorb(sink));
        }
    }
    whole.outliers.explain(whole.last_us, &mut oddities);
    let mut trace = together(whole, usage);
    trace.oddities = oddities;
    trace.inputs = parts().map(|(table, part)| Input::of_part(table, part, &sums[part])).collect();
    Ok(trace)
}

/// Put events and windows together by task. Windows of tasks without events are dropped: they were counted where they were read.
fn together(sink: Sink<'_>, usage: Vec<Vec<sink::Used>>) -> Trace {
    let Sink { mut events, first_us, last_us, .. } = sink;
    // The tables of most formats are in no order of time.
    events.par_sort_by(Event::in_time);
    let mut lives = ByTask::<Life>::default();
    events.iter().for_each(|event| lives.entry(event.task).or_default().add(event));
    drop(events);
    let mut ids: Vec<TaskId> = lives.keys().copied().collect();
    ids.par_sort_unstable();
    let positions: ByTask<u32> = ids.iter().zip(0..).map(|(&id, position)| (id, position)).collect();
    let row = |used: sink::Used| {
        let task = *positions.get(&used.task)?;
        Some(UsageRow { task, end_us: used.end_us, window: used.window })
    };
    let rows: Vec<Vec<UsageRow>> = usage.into_iter().map(|part| part.into_iter().filter_map(row).collect()).collect();
    let (windows, starts) = by_task(&rows, ids.len());
    let mut tasks = Vec::with_capacity(ids.len());
    for (position, id) in ids.into_iter().enumerate() {
        let windows = starts[position]..starts[position + 1];
        if !windows.is_empty() {
            tasks.push(traced(id, &lives[&id], windows));
        }
    }
    Trace { tasks, windows, first_us, last_us, ..Trace::default() }
}
