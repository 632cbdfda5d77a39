//! Writes the synthetic trace in the published format: tables of gzipped CSV parts.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::Compression;
use rayon::prelude::*;

use super::{Job, Synthetic};
use crate::sim::error::SimError;
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
    for table in ["task_events", "task_usage", "machine_events"] {
        let folder = folder.join(table);
        fs::create_dir_all(&folder).map_err(SimError::file(folder))?;
    }
    (0..parts).into_par_iter().try_for_each(|part| {
        write_part(synthetic, folder, part, parts)?;
        done(parts);
        Ok::<(), SimError>(())
    })?;
    let machines = folder.join("machine_events/part-00000-of-00001.csv.gz");
    write_gz(&machines, |file| {
        (1..=synthetic.machines).try_for_each(|machine| writeln!(file, "0,{machine},0,,0.5,0.5"))
    })?;
    let provenance = folder.join("PROVENANCE");
    fs::write(&provenance, synthetic.provenance() + "\n").map_err(SimError::file(provenance))
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
    let name = format!("part-{part:05}-of-{parts:05}.csv.gz");
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

fn write_gz(path: &Path, rows: impl FnOnce(&mut GzEncoder<BufWriter<File>>) -> io::Result<()>) -> Result<(), SimError> {
    let file = BufWriter::new(File::create(path).map_err(SimError::file(path))?);
    let mut encoder = GzEncoder::new(file, Compression::fast());
    rows(&mut encoder).and_then(|()| encoder.finish()?.flush()).map_err(SimError::file(path))
}
