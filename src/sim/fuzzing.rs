//! Checks of traces and results on any input.

use super::engine::Prepared;
use super::error::SimError;
use super::models::{CellShape, MemoryModel, Models, Pages, Shape, Shapes};
use super::params::Params;
use super::placement::Shard;
use super::report::Report;
use super::result::{parse_json, RunResult};
use super::sweep::SweepResult;
use super::trace::Trace;
use crate::policy::{PolicyName, World};

pub(crate) use super::trace::fuzzing::{parquet, trace_csv};

/// A result of `run` or `sweep`. It is the same after it was written again, and it can be merged and drawn.
pub(crate) fn result_json(bytes: &[u8]) {
    if let Ok(sweep) = sealed_sweep(bytes) {
        let again = serde_json::to_vec(&sweep).expect("BUG: a sweep is plain data");
        let again = SweepResult::parse("written".as_ref(), &again).expect("a written sweep is read");
        assert_eq!(again, sweep);
        Report { sweeps: vec![sweep], ..Default::default() }.html().expect("a sweep can be drawn");
    }
    let Ok(result) = sealed_run(bytes) else { return };
    let again = serde_json::to_vec(&result).expect("BUG: a result is plain data");
    let again = RunResult::parse("written".as_ref(), &again).expect("a written result is read");
    assert_eq!(again, result);
    if let Ok(merged) = RunResult::merge(vec![result]) {
        assert_eq!(merged.shard, Shard::WHOLE);
    }
    Report { runs: vec![again], ..Default::default() }.html().expect("a result can be drawn");
}

/// Read a sweep as if it had been written with what it says now: no fuzzer guesses a checksum, and most of the checks are behind it.
fn sealed_sweep(bytes: &[u8]) -> Result<SweepResult, SimError> {
    let path = "fuzzed".as_ref();
    let as_is = SweepResult::parse(path, bytes);
    let sealed = parse_json::<SweepResult>(path, bytes)?.sealed();
    let sealed = SweepResult::parse(path, &serde_json::to_vec(&sealed).expect("BUG: a sweep is plain data"));
    assert!(as_is.is_err() || sealed.is_ok(), "a checksum makes it worse: {sealed:?}");
    sealed
}

/// The same of a run.
fn sealed_run(bytes: &[u8]) -> Result<RunResult, SimError> {
    let path = "fuzzed".as_ref();
    let as_is = RunResult::parse(path, bytes);
    let mut sealed = parse_json::<RunResult>(path, bytes)?;
    sealed.seal();
    let sealed = RunResult::parse(path, &serde_json::to_vec(&sealed).expect("BUG: a result is plain data"));
    assert!(as_is.is_err() || sealed.is_ok(), "a checksum makes it worse: {sealed:?}");
    sealed
}

/// Machines with little memory, in cells of their own, and moves that take time.
fn models() -> Models {
    let shape = |count, cpu, memory| Shape { count, cpu, memory };
    let cell = |machines| CellShape { count: 1, machines };
    let cells = vec![cell(vec![shape(1, 0.25, Some(0.1)), shape(1, 0.5, None)]), cell(vec![shape(1, 1.0, None)])];
    Models {
        shapes: Some(Shapes { machines: Vec::new(), cells }),
        memory: Some(MemoryModel { capacity: 0.25 }),
        working_set: Some(0.5),
        pages: Some(Pages { link_bytes_per_s: Some(1e9), shared_per_s: 100.0 }),
        ..Models::default()
    }
}

fn most_cpus(params: &Params) -> f64 {
    params.models.shapes.as_ref().map_or(params.capacity, Shapes::most_cpus)
}

/// Run a trace under every policy on three machines, without and with models, and check what holds for all traces.
pub(super) fn simulate(trace: &Trace) {
    const ROUNDS: f64 = 40.0;

    let length_s = (trace.last_us as f64 - trace.first_us as f64) / 1e6;
    let variants = || PolicyName::all(World::Simulated).flat_map(|policy| [(policy, false), (policy, true)]);
    for (policy, has_models) in variants() {
        let params = Params {
            policy,
            order: policy.has_orders().then(Default::default),
            machines: 3,
            cell: 2,
            interval_s: (length_s / ROUNDS).max(1.0),
            models: if has_models { models() } else { Models::default() },
            ..Params::default()
        };
        if params.check_horizon(trace).is_err() {
            return;
        }
        let prepared = Prepared::new(trace, &params, Shard::WHOLE);
        let outcome = prepared.run(&params, &|| {});
        let (mut done_s, mut left_s) = (0.0, 0.0);
        for cell in &outcome.cells {
            assert_eq!(cell.tasks, cell.finished + cell.unfinished, "a task left its cell");
            done_s += cell.work_done_s;
            left_s += cell.work_left_s;
            let most = most_cpus(&params) * length_s * (1.0 + 1e-9);
            assert!(cell.busy_cpu_s.iter().all(|busy| (0.0..=most).contains(busy)), "{:?}", cell.busy_cpu_s);
        }
        let work_s = prepared.work_s();
        // Waits for pages are work done, too.
        let waited_s: f64 = outcome.cells.iter().filter_map(|cell| cell.page_wait_s).sum();
        let balance_s = done_s + left_s - waited_s - work_s;
        assert!(balance_s.abs() <= 1e-6 * (work_s + waited_s).max(1.0), "{done_s} + {left_s} - {waited_s} != {work_s}");
        let result = RunResult::new(trace, &params, Shard::WHOLE, prepared.horizon(), outcome);
        let written = serde_json::to_vec(&result).expect("BUG: a result is plain data");
        assert_eq!(RunResult::parse("written".as_ref(), &written).ok().as_ref(), Some(&result));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn seed(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/result_json").join(name)).unwrap()
    }

    /// The seed with one piece of its text replaced, as a fuzzer does it, which doesn't know the checksum.
    fn mutant(name: &str, from: &str, to: &str) -> Vec<u8> {
        let text = String::from_utf8(seed(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        text.replacen(from, to, 1).into_bytes()
    }

    #[test]
    fn seeds_and_mutants_of_results_are_not_stopped_by_the_checksum() {
        for name in ["compare", "sweep"] {
            sealed_sweep(&seed(name)).unwrap();
            sealed_sweep(&mutant(name, "\"gini\":0.3557692307692308", "\"gini\":0.25")).unwrap();
        }
        for name in ["coarse", "shard"] {
            sealed_run(&seed(name)).unwrap();
            sealed_run(&mutant(name, "\"provenance\":null", "\"provenance\":\"<>\"")).unwrap();
        }
    }

    #[test]
    fn a_figure_that_charts_hung_at_is_refused_as_such() {
        let error = sealed_sweep(&seed("sweep-1e308")).unwrap_err().to_string();
        assert!(error.contains("point 0: overcommit is 1e308"), "{error}");
    }
}
