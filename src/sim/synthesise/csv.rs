//! Writes the synthetic trace in the published format: tables of gzipped CSV parts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::Compression;
use rayon::prelude::*;

use super::{Job, Synthetic};
use crate::sim::error::SimError;
use crate::sim::output::{self, NewFile};
use crate::sim::trace::{TracedTask, UsageWindow};

/// Approximate number of tasks per part.
const PART_TASKS: f64 = 20_000.0;

const SUBMIT: u8 = 0;
const SCHEDULE: u8 = 1;
const FINISH: u8 = 4;

/// Write task_events, task_usage and machine_events below `folder`. `done` is called after each part, with the number
/// of parts.
pub fn write_csv(synthetic: &Synthetic, folder: &Path, done: &(dyn Fn(u64) + Sync)) -> Result<(), SimError> {
    let tasks: f64 = synthetic.jobs().map(|job| f64::from(job.tasks)).sum();
    let parts = (tasks / PART_TASKS).ceil().max(1.0) as u64;
    for (table, parts) in [("task_events", parts), ("task_usage", parts), ("machine_events", 1)] {
        let folder = folder.join(table);
        fs::create_dir_all(&folder).map_err(SimError::file(&folder))?;
        refuse_other_parts(&folder, parts)?;
    }
    // First, so that parts always say that they are synthetic, also if not all of them are written.
    output::write(&folder.join("PROVENANCE"), (synthetic.provenance() + "\n").as_bytes())?;
    (0..parts).into_par_iter().try_for_each(|part| {
        write_part(synthetic, folder, part, parts)?;
        done(parts);
        Ok::<(), SimError>(())
    })?;
    write_gz(&folder.join("machine_events").join(name_of(0, 1)), |file| {
        (1..=synthetic.machines).try_for_each(|machine| writeln!(file, "0,{machine},0,,0.5,0.5"))
    })
}

fn name_of(part: u64, parts: u64) -> String {
    format!("part-{part:05}-of-{parts:05}.csv.gz")
}

/// Fail if the folder has parts that would not be replaced: they would be read along.
fn refuse_other_parts(folder: &Path, parts: u64) -> Result<(), SimError> {
    let ours: BTreeSet<String> = (0..parts).map(|part| name_of(part, parts)).collect();
    for entry in folder.read_dir().map_err(SimError::file(folder))? {
        let path = entry.map_err(SimError::file(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if (name.ends_with(".csv") || name.ends_with(".csv.gz")) && !ours.contains(&name) {
            return Err(SimError::Format {
                path,
                what: "a part of another trace; remove it, or write elsewhere".into(),
            });
        }
    }
    Ok(())
}

/// Write one part: every `parts`-th job, in order of time like the published parts.
fn write_part(synthetic: &Synthetic, folder: &Path, part: u64, parts: u64) -> Result<(), SimError> {
    let mut windows = Vec::new();
    let mut tasks: Vec<(Job, TracedTask)> = Vec::new();
    for (_, job) in synthetic.jobs().enumerate().filter(|(number, _)| *number as u64 % parts == part) {
        for index in 0..job.tasks {
            if let Some(task) = synthetic.task(&job, index, &mut windows) {
                tasks.push((Job { ..job }, task));
            }
        }
    }
    let name = name_of(part, parts);
    let mut events = Vec::with_capacity(3 * tasks.len());
    for (job, task) in &tasks {
        let times = [(task.submit_us, SUBMIT), (task.schedule_us, SCHEDULE), (task.end_us, FINISH)];
        events.extend(times.into_iter().filter_map(|(time_us, kind)| Some((time_us?, task.id, kind, job))));
    }
    events.sort_by_key(|(time_us, id, kind, _)| (*time_us, *id, *kind));
    write_gz(&folder.join("task_events").join(&name), |file| {
        events.iter().try_for_each(|(time_us, id, kind, job)| {
            let Job { priority, request_cpus, request_memory, .. } = job;
            writeln!(file, "{time_us},,{},{},,{kind},,,{priority},{request_cpus},{request_memory},,0", id.job, id.index)
        })
    })?;
    let mut usage: Vec<(&TracedTask, &UsageWindow, i64)> = Vec::with_capacity(windows.len());
    for (_, task) in &tasks {
        let last_us = task.end_us.unwrap_or(synthetic.end_us());
        let of_task = &windows[task.windows.clone()];
        let ends = of_task.iter().skip(1).map(|next| next.start_us).chain([last_us]);
        usage.extend(of_task.iter().zip(ends).map(|(window, end_us)| (task, window, end_us)));
    }
    usage.sort_by_key(|(task, window, _)| (window.start_us, task.id));
    write_gz(&folder.join("task_usage").join(&name), |file| {
        usage.iter().try_for_each(|(task, window, end_us)| {
            let UsageWindow { start_us, cpu_mean, cpu_max, memory, accesses_per_instruction: mai } = window;
            writeln!(
                file,
                "{start_us},{end_us},{},{},,{cpu_mean},{memory},{memory},,,{memory},,,{cpu_max},,,{mai},,,",
                task.id.job, task.id.index
            )
        })
    })
}

fn write_gz(
    path: &Path,
    rows: impl FnOnce(&mut GzEncoder<BufWriter<NewFile>>) -> io::Result<()>,
) -> Result<(), SimError> {
    let mut encoder = GzEncoder::new(BufWriter::new(NewFile::create(path)?), Compression::fast());
    let whole = rows(&mut encoder).and_then(|()| encoder.finish()?.into_inner().map_err(|error| error.into_error()));
    whole.map_err(SimError::file(path))?.finish()
}
