//! Checks of traces in CSV and Parquet on any input.

use std::path::PathBuf;

use bytes::Bytes;

use super::load::load;
use super::parquet::read_from;
use super::source::decompressed;
use super::{ParquetWriter, TaskId, Trace, TracedTask, UsageWindow};
use crate::sim::error::SimError;
use crate::sim::fuzzing::simulate;

/// Between the two tables.
const DIVIDER: &[u8] = b"\n%%\n";

/// The tables task_events and task_usage, each plain or gzipped. What is loaded is in order, it is the same through
/// Parquet, it can be run, and `strict` refuses it exactly if it has oddities.
pub(crate) fn trace_csv(bytes: &[u8]) {
    let at = bytes.windows(DIVIDER.len()).position(|window| window == DIVIDER);
    let (events, usage) = match at {
        Some(at) => (&bytes[..at + 1], &bytes[at + DIVIDER.len()..]),
        None => (bytes, &b""[..]),
    };
    let lenient = from_tables(events, usage, false);
    let strict = from_tables(events, usage, true);
    let Ok(trace) = lenient else {
        assert!(strict.is_err());
        return;
    };
    match (&strict, trace.oddities.first()) {
        (Ok(strict), None) => assert_eq!((&strict.tasks, &strict.windows), (&trace.tasks, &trace.windows)),
        (Err(SimError::Strict(_)), Some(_)) => {}
        (strict, odd) => panic!("{odd:?}, but strict: {:?}", strict.as_ref().err()),
    }
    through_parquet(&trace);
    checked(&trace);
}

fn from_tables(events: &[u8], usage: &[u8], strict: bool) -> Result<Trace, SimError> {
    let parts = [PathBuf::from("task_events"), PathBuf::from("task_usage")];
    let open = |part: &PathBuf| {
        let bytes = if *part == parts[0] { events } else { usage };
        Ok(decompressed(bytes.starts_with(&[0x1f, 0x8b]), bytes))
    };
    load(&parts[..1], &parts[1..], &open, strict, &|_: TaskId| true, &|_| {})
}

/// Check what holds for every trace, and run it.
fn checked(trace: &Trace) {
    assert!(trace.tasks.is_sorted_by(|a, b| a.id < b.id), "tasks are unique and in order");
    for task in &trace.tasks {
        let windows = trace.windows_of(task);
        assert!(!windows.is_empty() && windows.is_sorted_by_key(|window| window.start_us), "{task:?}");
        assert!(windows.iter().all(|window| (trace.first_us..=trace.last_us).contains(&window.start_us)), "{task:?}");
        let amounts = windows
            .iter()
            .flat_map(|window| [window.cpu_mean, window.cpu_max, window.memory, window.accesses_per_instruction]);
        assert!(amounts.into_iter().all(|amount| amount.is_finite() && amount >= 0.0), "{task:?}");
        assert!(task.request_cpus.is_finite() && task.request_cpus >= 0.0, "{task:?}");
    }
    simulate(trace);
}

/// A file that `prepare` may have written. What is read of it holds for every trace, is the same once it is written again,
/// and can be run.
pub(crate) fn parquet(bytes: &[u8]) {
    let Ok(trace) = from_parquet(bytes.to_vec()) else { return };
    through_parquet(&trace);
    checked(&trace);
}

fn from_parquet(bytes: Vec<u8>) -> Result<Trace, SimError> {
    read_from("fuzzed".as_ref(), Bytes::from(bytes), &|_| true, &|| {})
}

/// Check that a trace is the same after it was written to a Parquet file.
fn through_parquet(trace: &Trace) {
    let path = "written".as_ref();
    let mut writer = ParquetWriter::to(path, Vec::new()).expect("BUG: writing to a Vec fails");
    writer.add(trace, &trace.tasks).expect("BUG: writing to a Vec fails");
    let again = from_parquet(writer.end(trace).expect("BUG: writing to a Vec fails")).expect("it is read");
    let of = |trace: &Trace| (trace.first_us, trace.last_us, trace.oddities.clone(), trace.provenance.clone());
    assert_eq!(of(&again), of(trace));
    // Tasks may be stored in another order, and so may their windows.
    let tasks = |trace: &Trace| -> Vec<(TracedTask, Vec<UsageWindow>)> {
        let task = |task: &TracedTask| (TracedTask { windows: 0..0, ..task.clone() }, trace.windows_of(task).to_vec());
        trace.tasks.iter().map(task).collect()
    };
    assert_eq!(tasks(&again), tasks(trace));
}
