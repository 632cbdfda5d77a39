//! Random traces and parameters.

use proptest::prelude::*;
use scx_vnuma::policy::{Order, PolicyName};
use scx_vnuma::sim::params::Params;
use scx_vnuma::sim::trace::{TaskId, Trace, TracedTask, UsageWindow};

const HORIZON_US: i64 = 3_600_000_000;

/// Half of the times are multiples of 30 s, where windows, ends, arrivals and rebalances coincide.
fn any_time_us() -> impl Strategy<Value = i64> {
    const STEP_US: i64 = 30_000_000;
    prop_oneof![
        (0..HORIZON_US / 1_000).prop_map(|ms| ms * 1_000),
        (0..HORIZON_US / STEP_US).prop_map(|at| at * STEP_US)
    ]
}

fn any_window() -> impl Strategy<Value = (i64, UsageWindow)> {
    let amounts = (0.0f32..0.2, 0.0f32..0.06, 0.0f32..0.1, 0.0f32..0.03);
    (any_time_us(), amounts).prop_map(|(start_us, (cpu_mean, cpu_max, memory, accesses_per_instruction))| {
        (start_us, UsageWindow { start_us, cpu_mean, cpu_max, memory, accesses_per_instruction })
    })
}

type Times = (Option<i64>, Option<i64>, Option<i64>);

fn task(id: TaskId, times: Times, (request_cpus, request_memory): (f64, f64), priority: u32) -> TracedTask {
    let (submit_us, schedule_us, end_us) = times;
    TracedTask { id, submit_us, schedule_us, end_us, request_cpus, request_memory, priority, windows: 0..0 }
}

fn any_task() -> impl Strategy<Value = (TracedTask, Vec<UsageWindow>)> {
    let times = (
        proptest::option::of(any_time_us()),
        proptest::option::of(any_time_us()),
        proptest::option::weighted(0.7, any_time_us()),
    );
    let windows = proptest::collection::vec(any_window(), 1..6);
    (1u64..9, 0u32..50, times, (0.0f64..0.4, 0.0f64..0.2), 0u32..4, windows).prop_map(
        |(job, index, (submit_us, schedule_us, end_us), (request_cpus, request_memory), priority, mut windows)| {
            windows.sort_by_key(|(start_us, _)| *start_us);
            let id = TaskId { job, index };
            let times = (submit_us, schedule_us, end_us);
            let task = task(id, times, (request_cpus, request_memory), priority);
            (task, windows.into_iter().map(|(_, window)| window).collect())
        },
    )
}

/// A trace of one hour with up to 119 tasks.
pub fn any_trace() -> impl Strategy<Value = Trace> {
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

/// Any policy and order, on at most 13 machines.
pub fn any_params() -> impl Strategy<Value = Params> {
    let policy = prop_oneof![
        Just((PolicyName::NONE, None)),
        Just((PolicyName::COARSE, None)),
        proptest::sample::select(&Order::ALL[..]).prop_map(|order| (PolicyName::FINE, Some(order))),
        Just((PolicyName::AUTO, None)),
    ];
    let destinations = proptest::option::weighted(0.3, 1u32..5);
    let shape = (1u32..14, 1u32..6, destinations);
    (policy, shape, 0.3f64..2.0, 0u64..5).prop_map(
        |((policy, order), (machines, cell, destinations), overcommit, seed)| {
            let of_policy = Params { policy, order, destinations, overcommit, seed, ..Params::default() };
            Params { machines, cell, useful: 1.0, ..of_policy }
        },
    )
}
