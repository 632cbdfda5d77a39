//! What holds for every trace, policy and way of running: on random traces.
#![cfg(feature = "sim")]
// A test's helpers fail by panicking, as its asserts do.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use scx_vnuma::policy::Order;
use scx_vnuma::sim::engine::Prepared;
use scx_vnuma::sim::params::{Params, PolicyKind};
use scx_vnuma::sim::placement::Shard;
use scx_vnuma::sim::result::RunResult;
use scx_vnuma::sim::trace::{TaskId, Trace, TracedTask, Window};

const HORIZON_US: i64 = 3_600_000_000;

fn any_window() -> impl Strategy<Value = (i64, Window)> {
    let amounts = (0.0f32..0.2, 0.0f32..0.06, 0.0f32..0.1, 0.0f32..0.03);
    (0..HORIZON_US / 1_000, amounts).prop_map(|(start_ms, (cpu_mean, cpu_max, memory, accesses_per_instruction))| {
        let start_us = start_ms * 1_000;
        (start_us, Window { start_us, cpu_mean, cpu_max, memory, accesses_per_instruction })
    })
}

fn any_task() -> impl Strategy<Value = (TracedTask, Vec<Window>)> {
    let times = (
        proptest::option::of(0..HORIZON_US),
        proptest::option::of(0..HORIZON_US),
        proptest::option::weighted(0.7, 0..HORIZON_US),
    );
    let windows = proptest::collection::vec(any_window(), 1..6);
    (1u64..9, 0u32..50, times, 0.0f64..0.4, 0u32..4, windows).prop_map(
        |(job, index, (submit_us, schedule_us, end_us), request_cpus, priority, mut windows)| {
            windows.sort_by_key(|(start_us, _)| *start_us);
            let id = TaskId { job, index };
            let task = TracedTask { id, submit_us, schedule_us, end_us, request_cpus, priority, windows: 0..0 };
            (task, windows.into_iter().map(|(_, window)| window).collect())
        },
    )
}

fn any_trace() -> impl Strategy<Value = Trace> {
    proptest::collection::vec(any_task(), 1..120).prop_map(|mut tasks| {
        tasks.sort_by_key(|(task, _)| task.id);
        tasks.dedup_by_key(|(task, _)| task.id);
        let mut trace = Trace { first_us: 0, last_us: HORIZON_US, ..Trace::default() };
        for (mut task, windows) in tasks {
            task.windows = trace.windows.len()..trace.windows.len() + windows.len();
            trace.windows.extend(windows);
            trace.tasks.push(task);
        }
        trace
    })
}

fn any_params() -> impl Strategy<Value = Params> {
    let policy = prop_oneof![
        Just((PolicyKind::None, None)),
        Just((PolicyKind::Coarse, None)),
        proptest::sample::select(&Order::ALL[..]).prop_map(|order| (PolicyKind::Fine, Some(order))),
    ];
    (policy, 1u32..14, 1u32..6, 0.3f64..2.0, 0u64..5).prop_map(|((policy, order), machines, cell, overcommit, seed)| {
        Params { policy, order, machines, cell, overcommit, seed, useful: 1.0, ..Params::default() }
    })
}

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
    fn shards_merge_to_the_whole_to_the_last_digit(trace in any_trace(), params in any_params(), of in 1u32..6) {
        let through_json = |shard| serde_json::from_str(&bytes(&run(&trace, &params, shard))).unwrap();
        let shards: Vec<RunResult> = (0..of).rev().map(|index| through_json(Shard { index, of })).collect();
        let merged = RunResult::merge(shards).unwrap();
        prop_assert_eq!(bytes(&merged), bytes(&run(&trace, &params, Shard::WHOLE)));
    }

    #[test]
    fn no_machine_is_busier_than_it_can_be(trace in any_trace(), params in any_params()) {
        let result = run(&trace, &params, Shard::WHOLE);
        let most = params.capacity * result.length_s() * (1.0 + 1e-9);
        for busy in result.cells.iter().flat_map(|cell| &cell.busy_cpu_s) {
            prop_assert!((0.0..=most).contains(busy));
        }
    }
}
