//! Properties that hold for every trace, policy and way of running, checked on random traces.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

mod random_traces;

use proptest::prelude::*;
use random_traces::{any_params, any_trace};
use scx_vnuma::sim::engine::Prepared;
use scx_vnuma::sim::params::Params;
use scx_vnuma::sim::placement::Shard;
use scx_vnuma::sim::result::{MergeError, RunResult};
use scx_vnuma::sim::trace::Trace;

fn run(trace: &Trace, params: &Params, shard: Shard) -> RunResult {
    let prepared = Prepared::new(trace, params, shard);
    RunResult::new(trace, params, shard, prepared.horizon(), prepared.run(params, &|| {}))
}

fn bytes(result: &RunResult) -> String {
    serde_json::to_string(result).unwrap()
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn work_is_conserved(trace in any_trace(), params in any_params()) {
        let prepared = Prepared::new(&trace, &params, Shard::WHOLE);
        let cells = prepared.run(&params, &|| {}).cells;
        let done: f64 = cells.iter().map(|cell| cell.work_done_s).sum();
        let left: f64 = cells.iter().map(|cell| cell.work_left_s).sum();
        let work = prepared.work_s();
        prop_assert!((done + left - work).abs() < 1e-6 * work.max(1.0), "{done} + {left} != {work}");
    }

    #[test]
    fn no_task_leaves_its_cell(trace in any_trace(), params in any_params()) {
        let result = run(&trace, &params, Shard::WHOLE);
        for cell in &result.cells {
            prop_assert_eq!(cell.tasks, cell.finished + cell.unfinished);
        }
    }

    #[test]
    fn a_cell_runs_as_if_it_were_alone(trace in any_trace(), params in any_params()) {
        let whole = run(&trace, &params, Shard::WHOLE);
        let placement = params.placement();
        for cell in &whole.cells {
            let mut alone = trace.clone();
            alone.tasks.retain(|task| placement.cell(task.id) == cell.cell);
            let alone = run(&alone, &params, Shard::WHOLE);
            prop_assert_eq!(&alone.cells[cell.cell as usize], cell);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads(trace in any_trace(), params in any_params()) {
        let one = on_threads(1, || bytes(&run(&trace, &params, Shard::WHOLE)));
        let three = on_threads(3, || bytes(&run(&trace, &params, Shard::WHOLE)));
        prop_assert_eq!(one, three);
    }

    #[test]
    fn merged_shards_equal_the_whole_to_the_last_digit(trace in any_trace(), params in any_params(), of in 1u32..6) {
        let through_json = |shard| serde_json::from_str(&bytes(&run(&trace, &params, shard))).unwrap();
        let shards: Vec<RunResult> = (0..of).rev().map(|index| through_json(Shard { index, of })).collect();
        let whole = run(&trace, &params, Shard::WHOLE);
        match RunResult::merge(shards) {
            Ok(merged) => prop_assert_eq!(bytes(&merged), bytes(&whole)),
            Err(error) => {
                let has_tasks = whole.cells.iter().any(|cell| cell.tasks > 0);
                prop_assert!(matches!(error, MergeError::NoTasks) && !has_tasks, "{}", error);
            }
        }
    }

    #[test]
    fn no_machine_is_busier_than_its_capacity(trace in any_trace(), params in any_params()) {
        let result = run(&trace, &params, Shard::WHOLE);
        let most = params.capacity * result.length_s() * (1.0 + 1e-9);
        for busy in result.cells.iter().flat_map(|cell| &cell.busy_cpu_s) {
            prop_assert!((0.0..=most).contains(busy));
        }
    }
}
