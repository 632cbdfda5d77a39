//! Fixed tasks are not affected by scx_vnuma.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::guest::workers::{Setting, Worker};
use crate::guest::{hog_node_until_seen, node_cpus, target, wait_for, Scheduler};

pub fn fixed_tasks_are_untouched() -> Result<String> {
    let cpu = node_cpus(0)?.first().copied().context("node 0 has no CPU")?;
    let settings = [
        Setting { cpu: Some(cpu), ..Setting::default() },
        Setting { nice: -5, asleep: true, ..Setting::default() },
        Setting { policy: libc::SCHED_FIFO, asleep: true, ..Setting::default() },
        Setting { reset_on_fork: true, asleep: true, cpu: Some(cpu), ..Setting::default() },
    ];
    let fixed = settings.iter().map(Worker::start).collect::<Result<Vec<_>>>()?;
    let _migratable = Worker::start_many(4, &Setting::migratable())?;
    std::thread::sleep(Duration::from_millis(500));
    let before: Vec<_> = fixed.iter().map(Worker::seen).collect();
    let work_before = fixed[0].work();

    let _scheduler = Scheduler::start(&["--interval", "500ms"])?;
    hog_node_until_seen(0)?;
    wait_for("the migratable work is moved", Duration::from_secs(10), || Ok(target()?.epoch > 0))?;
    std::thread::sleep(Duration::from_secs(1));
    for (worker, before) in fixed.iter().zip(&before) {
        let now = worker.seen();
        ensure!(now == *before, "a fixed task had {before:?} and has {now:?}");
    }
    let work: Vec<u64> = fixed[0].work().iter().zip(work_before).map(|(now, before)| now - before).collect();
    ensure!(work[0] > 0 && work[1..].iter().all(|&units| units == 0), "the fixed task worked on nodes {work:?}");
    Ok(String::new())
}

pub fn a_fixed_task_keeps_its_cpu() -> Result<String> {
    const SHARE_MIN: f64 = 0.93;
    let window = Duration::from_secs(8);
    let cpu = node_cpus(0)?.first().copied().context("node 0 has no CPU")?;
    let fixed = Worker::start(&Setting { cpu: Some(cpu), ..Setting::default() })?;
    std::thread::sleep(Duration::from_millis(500));
    let alone = fixed.cpu_time_in(window)?;
    let migratable = Worker::start_many(4, &Setting::migratable())?;
    let _scheduler = Scheduler::start(&["--policy", "coarse", "--start-node", "0"])?;
    wait_for("the others become migratable", Duration::from_secs(10), || {
        Ok(migratable.iter().all(Worker::is_migratable))
    })?;
    let shared = fixed.cpu_time_in(window)?;
    let share = shared.as_secs_f64() / alone.as_secs_f64();
    ensure!(share >= SHARE_MIN, "with migratable tasks it gets {share:.3} of the CPU time that it got alone");
    Ok(format!("{share:.3} of the CPU time that it gets alone"))
}
