//! Loads a trace from the published CSV tables.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::csv::{read_part, RowError};
use super::events::{ByTask, EventRows, Life, TASK_EVENTS};
use super::input::{Checksum, Input};
use super::outliers::Outliers;
use super::row_times::RowTimes;
use super::usage::{by_task, UsageRow, UsageRows, TASK_USAGE};
use super::{source, Oddities, Oddity, TaskId, Trace, TracedTask};
use crate::sim::error::SimError;

/// The parts of the two tables. The rows of a table count as one file in this order.
pub struct CsvTables {
    /// Parts of task_events.
    pub events: Vec<PathBuf>,
    /// Parts of task_usage.
    pub usage: Vec<PathBuf>,
    /// Whether [`Trace::inputs`] is wanted: checksums of the parts, computed while they are read.
    pub checksums: bool,
}

/// Load the tasks that `keep` accepts. The trace's span is that of all tasks. `read` is called with the path of each
/// part after it was read.
pub fn from_csv(
    tables: &CsvTables,
    strict: bool,
    keep: &(dyn Fn(TaskId) -> bool + Sync),
    read: &(dyn Fn(&PathBuf) + Sync),
) -> Result<Trace, SimError> {
    let parts = || {
        let events = tables.events.iter().map(|part| ("task_events", part));
        events.chain(tables.usage.iter().map(|part| ("task_usage", part))).filter(|_| tables.checksums)
    };
    let sums: HashMap<&PathBuf, Checksum> = parts().map(|(_, part)| (part, Checksum::default())).collect();
    let open = |part: &PathBuf| source::open(part, sums.get(part));
    let mut trace = load(&tables.events, &tables.usage, &open, strict, keep, read)?;
    trace.inputs = parts().map(|(table, part)| Input::of_part(table, part, &sums[part])).collect();
    Ok(trace)
}

/// Load from gzipped bytes in memory: the bundled sample trace.
pub fn from_readers(
    events_gz: &[u8],
    usage_gz: &[u8],
    keep: &(dyn Fn(TaskId) -> bool + Sync),
) -> Result<Trace, SimError> {
    let parts = [PathBuf::from("task_events"), PathBuf::from("task_usage")];
    let open = |part: &PathBuf| {
        let bytes = if *part == parts[0] { events_gz } else { usage_gz };
        Ok(source::decompressed(true, bytes))
    };
    load(&parts[..1], &parts[1..], &open, true, keep, &|_| {})
}

pub(super) type Open<'a> = dyn Fn(&PathBuf) -> Result<Box<dyn Read + Send + 'a>, SimError> + Sync + 'a;

pub(super) fn load<'a>(
    events: &[PathBuf],
    usage: &[PathBuf],
    open: &Open<'a>,
    strict: bool,
    keep: &(dyn Fn(TaskId) -> bool + Sync),
    read: &(dyn Fn(&PathBuf) + Sync),
) -> Result<Trace, SimError> {
    let mut oddities = Oddities::default();
    let lives = read_events(events, open, strict, keep, read, &mut oddities)?;
    let mut ids: Vec<TaskId> = lives.keys().copied().collect();
    ids.par_sort_unstable();
    let positions: ByTask<u32> = ids.iter().zip(0..).map(|(&id, position)| (id, position)).collect();

    let parts: Vec<_> = usage
        .par_iter()
        .map(|part| {
            let mut rows = UsageRows::new(&positions, &ids, keep);
            let odd = read_part(open(part)?, part, TASK_USAGE, strict, &mut rows)?;
            read(part);
            Ok((rows, odd))
        })
        .collect::<Vec<Result<_, SimError>>>();
    let mut rows: Vec<Vec<UsageRow>> = Vec::with_capacity(parts.len());
    let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
    let mut starts = RowTimes::default();
    let mut outliers = Outliers::default();
    // Merged in file order, so that the first error and the first oddity don't depend on the number of threads.
    for (path, part) in usage.iter().zip(parts) {
        let (part, odd) = part?;
        first_us = first_us.min(part.first_us);
        last_us = last_us.max(part.last_us);
        outliers = outliers.and(part.outliers);
        oddities.merge(odd);
        note(starts.go_on(part.starts, TASK_USAGE), path, strict, &mut oddities)?;
        rows.push(part.rows);
    }
    outliers.explain(last_us, &mut oddities);

    let (windows, starts) = by_task(&rows, ids.len());
    drop(rows);
    let mut tasks = Vec::with_capacity(ids.len());
    for (position, id) in ids.into_iter().enumerate() {
        let windows = starts[position]..starts[position + 1];
        if !windows.is_empty() {
            tasks.push(traced(id, &lives[&id], windows));
        }
    }
    Ok(Trace { tasks, windows, first_us, last_us, inputs: Vec::new(), oddities, ..Trace::default() })
}

/// Count what is odd about the order of a part, or fail with it if the trace is read strictly.
fn note(odd: Option<RowError>, path: &Path, strict: bool, oddities: &mut Oddities) -> Result<(), SimError> {
    let Some(RowError { kind, what }) = odd else { return Ok(()) };
    oddities.note(Oddity { kind, path: path.to_owned(), line: 0, what }, strict)
}

pub(super) fn traced(id: TaskId, life: &Life, windows: std::ops::Range<usize>) -> TracedTask {
    TracedTask {
        id,
        submit_us: life.submit_us,
        schedule_us: life.schedule_us,
        end_us: life.end_us,
        request_cpus: life.request_cpus.unwrap_or(0.0),
        request_memory: life.request_memory.unwrap_or(0.0),
        priority: life.priority.unwrap_or(0),
        windows,
    }
}

fn read_events<'a>(
    parts: &[PathBuf],
    open: &Open<'a>,
    strict: bool,
    keep: &(dyn Fn(TaskId) -> bool + Sync),
    read: &(dyn Fn(&PathBuf) + Sync),
    oddities: &mut Oddities,
) -> Result<ByTask<Life>, SimError> {
    let mut lives = ByTask::<Life>::default();
    let mut times = RowTimes::default();
    // One batch has as many parts as there are threads: a full trace has 500, and their rows don't fit into memory.
    for batch in parts.chunks(rayon::current_num_threads().max(1)) {
        let gathered: Vec<Result<(EventRows<'_>, Oddities), SimError>> = batch
            .par_iter()
            .map(|part| {
                let mut rows = EventRows::new(keep);
                let odd = read_part(open(part)?, part, TASK_EVENTS, strict, &mut rows)?;
                read(part);
                Ok((rows, odd))
            })
            .collect();
        for (path, part) in batch.iter().zip(gathered) {
            let (part, odd) = part?;
            oddities.merge(odd);
            note(times.go_on(part.times, TASK_EVENTS), path, strict, oddities)?;
            part.events.iter().for_each(|event| lives.entry(event.task).or_default().add(event));
        }
    }
    Ok(lives)
}
