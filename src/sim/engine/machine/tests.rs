//! Checks on random work that a machine's sums stay right.

use proptest::prelude::*;

use super::{Finished, Machine, World};
use crate::cell::Admission;
use crate::sim::tasks::{Horizon, SimTask};
use crate::sim::trace::{TaskId, Trace, TracedTask, UsageWindow};

const MINUTE_US: i64 = 60_000_000;

/// A task that arrives within the first 20 minutes and changes its usage every three minutes.
fn any_task() -> impl Strategy<Value = (i64, i64, f64, Vec<f32>)> {
    (0i64..20, 1i64..30, 0.0f64..0.4, proptest::collection::vec(0.0f32..0.3, 1..5))
}

fn trace(tasks: &[(i64, i64, f64, Vec<f32>)]) -> Trace {
    let mut trace = Trace { first_us: 0, last_us: 60 * MINUTE_US, ..Trace::default() };
    for ((minute, minutes, request_cpus, cpus), index) in tasks.iter().zip(0..) {
        let start_us = minute * MINUTE_US;
        let first = trace.windows.len();
        trace.windows.extend(cpus.iter().zip(0..).map(|(&cpu_mean, at)| UsageWindow {
            start_us: start_us + at * 3 * MINUTE_US,
            cpu_mean,
            ..UsageWindow::default()
        }));
        trace.tasks.push(TracedTask {
            id: TaskId { job: 1, index },
            submit_us: Some(start_us),
            schedule_us: Some(start_us),
            end_us: Some(start_us + minutes * MINUTE_US),
            request_cpus: *request_cpus,
            request_memory: 0.0,
            priority: 0,
            windows: first..trace.windows.len(),
        });
    }
    trace
}

/// Check that the machine's reservation and load equal the sums over its running tasks to the last bit, and so are
/// never negative, and 0 when nothing runs.
fn sums_are_right(machine: &Machine) -> Result<(), TestCaseError> {
    let running = || machine.running.iter().map(|&(_, slot)| machine.task(slot));
    let reserved_cpus: f64 = running().map(|task| task.reserved_cpus).sum();
    let load_cpus: f64 = running().map(|task| task.cpus).sum();
    prop_assert_eq!(machine.reserved_cpus, reserved_cpus.abs());
    prop_assert_eq!(machine.load_cpus, load_cpus.abs());
    // Tasks wait only if they don't fit.
    prop_assert!(machine.waiting.is_empty() || !machine.running.is_empty());
    Ok(())
}

proptest! {
    #[test]
    fn reservations_and_loads_equal_the_sums_over_the_running_tasks(
        tasks in proptest::collection::vec(any_task(), 1..40),
        moves in proptest::collection::vec((0usize..2, any::<prop::sample::Index>()), 60),
        overcommit in 0.3f64..2.0,
    ) {
        let trace = trace(&tasks);
        let horizon = Horizon { start_us: trace.first_us, end_us: trace.last_us };
        let tasks: Vec<SimTask<'_>> =
            trace.tasks.iter().filter_map(|task| SimTask::new(&trace, task, horizon)).collect();
        let mut arrivals: Vec<u32> = (0..tasks.len() as u32).collect();
        arrivals.sort_by_key(|&rank| tasks[rank as usize].submit_us);
        let world = World { tasks: &tasks, overcommit };
        let mut machines = [Machine::default(), Machine::default()];
        let mut finished = Finished::default();
        for machine in &mut machines {
            machine.reset(0.5, None, None);
        }
        for ((from, which), minute) in moves.into_iter().zip(1..) {
            let at_s = f64::from(minute) * 60.0;
            machines[0].run_until(at_s, &arrivals, &world, &mut finished);
            machines[1].run_until(at_s, &[], &world, &mut finished);
            if !machines[from].running.is_empty() {
                let (rank, _) = machines[from].running[which.index(machines[from].running.len())];
                let carried = machines[from].take(rank).expect("the task doesn't run there");
                machines[1 - from].put(carried, 0.0, &world);
                machines.iter_mut().for_each(|machine| machine.start_waiting(&world));
            }
            machines.iter().try_for_each(sums_are_right)?;
        }
    }
}

#[test]
fn what_waits_is_told_smallest_first_in_what_tasks_ask_for() {
    let task = |request_cpus| (0i64, 30i64, request_cpus, vec![0.1f32]);
    let trace = trace(&[task(0.2), task(0.3), task(0.25), task(0.15)]);
    let horizon = Horizon { start_us: trace.first_us, end_us: trace.last_us };
    let tasks: Vec<SimTask<'_>> = trace.tasks.iter().filter_map(|task| SimTask::new(&trace, task, horizon)).collect();
    // Reservations are one and a half times the requests: the first task reserves 0.3 of 0.5, so no other one fits.
    let world = World { tasks: &tasks, overcommit: 1.5 };
    let mut machine = Machine::default();
    machine.reset(0.5, None, None);
    machine.run_until(60.0, &[0, 1, 2, 3], &world, &mut Finished::default());
    let mut admission = Admission::default();
    machine.admission(&world, &mut admission);
    assert_eq!(admission.waiting_cpus, [0.15, 0.25, 0.3]);
    assert!((admission.free_cpus - 0.2 / 1.5).abs() < 1e-8, "{}", admission.free_cpus);
    assert!((machine.waiting_cpus(&world) - 0.7).abs() < 1e-12);
}
