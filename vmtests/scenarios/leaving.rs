//! However the daemon exits, tasks get back their previous scheduling attributes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Result};
use scx_vnuma::bpf::PIN_DIR;

use super::shapes::nothing_is_left;
use crate::guest::workers::{Seen, Setting, Worker};
use crate::guest::{sched_ext_state, wait_for, Affinities, Scheduler};

/// Changes the plan, IRQs and workqueues in every round, whatever the view is.
pub const CHURN_ARGS: &[&str] =
    &["--interval", "200ms", "--policy", "rotate", "--no-guards", "--move-irqs", "--move-workqueues"];

/// A worker of each kind that the default selectors match, and of each kind that they don't match.
pub fn mixed_load() -> Result<Vec<Worker>> {
    let settings = [
        Setting::migratable(),
        Setting { reset_on_fork: true, ..Setting::migratable() },
        Setting { policy: libc::SCHED_BATCH, ..Setting::default() },
        Setting { policy: libc::SCHED_BATCH, nice: 7, ..Setting::default() },
        Setting { policy: libc::SCHED_IDLE, ..Setting::default() },
        Setting { asleep: true, nr_threads: 5, ..Setting::migratable() },
        Setting::default(),
        Setting { policy: libc::SCHED_FIFO, asleep: true, ..Setting::default() },
        Setting { chooses_ext: true, ..Setting::default() },
    ];
    let workers = settings.iter().map(Worker::start).collect::<Result<Vec<_>>>()?;
    settled(&workers);
    Ok(workers)
}

/// What workers that have just been started look like once they are as their settings say.
pub fn settled(workers: &[Worker]) -> Vec<Seen> {
    std::thread::sleep(Duration::from_millis(500));
    seen(workers)
}

const NR_SELECTED: usize = 6;

pub fn seen(workers: &[Worker]) -> Vec<Seen> {
    workers.iter().map(Worker::seen).collect()
}

fn start_and_wait_until_selected(workers: &[Worker]) -> Result<Scheduler> {
    let before = Affinities::read()?;
    let scheduler = Scheduler::start(CHURN_ARGS)?;
    wait_for("what matches becomes migratable", Duration::from_secs(10), || {
        Ok(workers[..NR_SELECTED].iter().all(Worker::is_migratable))
    })?;
    wait_for("IRQs and workqueues follow", Duration::from_secs(10), || {
        let now = Affinities::read()?;
        Ok(now.irqs != before.irqs && now.workqueues != before.workqueues)
    })?;
    std::thread::sleep(Duration::from_secs(1));
    Ok(scheduler)
}

fn all_as_before(workers: &[Worker], before: &(Vec<Seen>, Affinities)) -> Result<()> {
    for (worker, before) in workers.iter().zip(&before.0) {
        let now = worker.seen();
        ensure!(now == *before, "a task had {before:?} and has {now:?}");
    }
    before.1.ensure_same()?;
    nothing_is_left()?;
    works_on(workers)
}

fn works_on(workers: &[Worker]) -> Result<()> {
    let before = workers.iter().map(Worker::cpu_time).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(Duration::from_secs(3));
    // The first is a busy loop; for a sleeping task, reading its CPU time only checks that it is alive.
    let got = workers[0].cpu_time()? - before[0];
    ensure!(got > Duration::from_millis(50), "the first worker got {got:?} in 3 s");
    workers.iter().try_for_each(|worker| worker.cpu_time().map(drop))
}

pub fn int_and_term_leave_no_trace() -> Result<String> {
    let workers = mixed_load()?;
    let before = (seen(&workers), Affinities::read()?);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut scheduler = start_and_wait_until_selected(&workers)?;
        scheduler.end(signal)?;
        all_as_before(&workers, &before)?;
    }
    Ok(String::new())
}

/// Kills the daemon and checks that its tasks keep running.
fn kill(workers: &[Worker]) -> Result<()> {
    let mut scheduler = start_and_wait_until_selected(workers)?;
    scheduler.end(libc::SIGKILL)?;
    wait_for("the kernel disables it", Duration::from_secs(10), || Ok(sched_ext_state()? == "disabled"))?;
    ensure!(Path::new(PIN_DIR).exists(), "the record of tasks' own policies has gone with the daemon");
    works_on(workers)
}

pub fn after_kill_restore_leaves_no_trace() -> Result<String> {
    let workers = mixed_load()?;
    let before = (seen(&workers), Affinities::read()?);
    kill(&workers)?;
    let output = Command::new("scx_vnuma").arg("restore").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains("went back"), "restore said: {said}");
    all_as_before(&workers, &before)?;
    Ok(said.trim().to_string())
}

pub fn after_kill_the_next_start_leaves_no_trace() -> Result<String> {
    let workers = mixed_load()?;
    let before = (seen(&workers), Affinities::read()?);
    kill(&workers)?;
    let mut scheduler = start_and_wait_until_selected(&workers)?;
    let log = scheduler.end(libc::SIGINT)?;
    ensure!(log.contains("undid what a killed scx_vnuma had left"), "it said: {log}");
    all_as_before(&workers, &before)?;
    Ok(String::new())
}

pub fn what_stops_matching_goes_back() -> Result<String> {
    let worker = Worker::start(&Setting { policy: libc::SCHED_BATCH, ..Setting::default() })?;
    let _scheduler = Scheduler::start(&["--interval", "200ms", "--select", "nice>=3"])?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(!worker.is_migratable(), "it doesn't match, but is migratable");
    worker.renice(3);
    let patience = Duration::from_secs(2);
    let there = wait_for("it becomes migratable when it matches", patience, || Ok(worker.is_migratable()))?;
    worker.renice(0);
    let back = wait_for("it goes back when it no longer matches", patience, || Ok(!worker.is_migratable()))?;
    ensure!(worker.seen().policy == libc::SCHED_BATCH, "it went back to policy {}", worker.seen().policy);
    Ok(format!("selected after {there:?}, back after {back:?}, rounds of 200 ms"))
}
