//! Migratable work leaves a busy host, and only then.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use crate::guest::{
    destination, hog, hog_node_until_seen, node_cpus, node_stats, nr_nodes, run_ns_in, share_elsewhere, steal_ticks,
    target, wait_for, Scheduler,
};
use crate::workers::{Setting, Worker};

const SHARE_MIN: f64 = 0.95;

/// Waits until the destination has migratable work that runs.
pub fn wait_until_work_runs() -> Result<()> {
    wait_for("migratable work runs on the destination", Duration::from_secs(20), || {
        let to = destination()?;
        let run_ns = run_ns_in(Duration::from_millis(200), nr_nodes())?;
        Ok(run_ns[to as usize] > 100_000_000)
    })?;
    Ok(())
}

pub fn a_hog_is_fled_within_two_rounds_three_times() -> Result<String> {
    let interval = Duration::from_secs(1);
    let _workers = Worker::start_many(8, &Setting::migratable())?;
    let _scheduler = Scheduler::start(&["--interval", "1s"])?;
    wait_until_work_runs()?;
    let mut shares = Vec::new();
    for _ in 0..3 {
        let from = destination()?;
        hog_node_until_seen(from)?;
        std::thread::sleep(2 * interval);
        let run_ns = run_ns_in(interval, nr_nodes())?;
        let share = share_elsewhere(&run_ns, from)?;
        ensure!(share >= SHARE_MIN, "two rounds after the hog, {share:.3} of the run time has left node {from}");
        shares.push(format!("{from}->{} {share:.3}", destination()?));
    }
    Ok(format!("share of run time off the busy node after two rounds: {}", shares.join(", ")))
}

pub fn short_rounds_react_within_half_a_second() -> Result<String> {
    const LIMIT: Duration = Duration::from_millis(500);
    let _workers = Worker::start_many(8, &Setting::migratable())?;
    let _scheduler = Scheduler::start(&["--interval", "100ms"])?;
    wait_until_work_runs()?;
    let mut reactions = Vec::new();
    for _ in 0..5 {
        let from = destination()?;
        let reaction = time_to_leave(from)?;
        ensure!(reaction <= LIMIT, "{reaction:?} from the first stolen tick to the last run on node {from}");
        reactions.push(reaction.as_millis());
        hog(&[])?;
        std::thread::sleep(Duration::from_secs(1));
    }
    reactions.sort_unstable();
    Ok(format!("from the first stolen tick to the last run time on the node, ms: {reactions:?}"))
}

/// From the first tick stolen from `from` to the last time that migratable work ran there.
fn time_to_leave(from: u32) -> Result<Duration> {
    hog_node_until_seen(from)?;
    let onset = Instant::now();
    let mut last_run = (node_stats(from)?.run_ns, onset);
    while last_run.1.elapsed() < Duration::from_secs(1) && onset.elapsed() < Duration::from_secs(5) {
        let run_ns = node_stats(from)?.run_ns;
        if run_ns != last_run.0 {
            last_run = (run_ns, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    ensure!(destination()? != from, "work is still sent to node {from}");
    Ok(last_run.1 - onset)
}

pub fn without_contention_nothing_moves() -> Result<String> {
    let _workers = Worker::start_many(4, &Setting::migratable())?;
    let _scheduler = Scheduler::start(&["--interval", "500ms"])?;
    wait_until_work_runs()?;
    let cpu = node_cpus(destination()?)?[0];
    let steal_before = steal_ticks(cpu)?;
    std::thread::sleep(20 * Duration::from_millis(500));
    let steal = steal_ticks(cpu)? - steal_before;
    let epoch = target()?.epoch;
    ensure!(epoch == 0, "{epoch} retargets in 20 rounds with {steal} ticks of steal");
    Ok(format!("20 rounds, {steal} ticks of steal, no retarget"))
}

pub fn one_retarget_moves_all_that_run() -> Result<String> {
    let interval = Duration::from_secs(1);
    let sleeper = Setting { nr_threads: 200, asleep: true, ..Setting::migratable() };
    let asleep = Worker::start_many(10, &sleeper)?;
    wait_for("all 2000 sleeping tasks are there", Duration::from_secs(30), || Ok(thread_ids(&asleep)?.len() == 2000))?;
    // Before the busy ones: loading it would have to share the CPUs with 200 of them.
    let scheduler = Scheduler::start(&["--interval", "1s", "-v"])?;
    let runner = Setting { nr_threads: 20, ..Setting::migratable() };
    let running = Worker::start_many(10, &runner)?;
    wait_until_work_runs()?;
    wait_for("all 200 runnable tasks are there", Duration::from_secs(30), || Ok(thread_ids(&running)?.len() == 200))?;
    std::thread::sleep(interval);
    let tids = thread_ids(&running)?;

    let from = destination()?;
    hog_node_until_seen(from)?;
    wait_for("the plan changes", 3 * interval, || Ok(destination()? != from))?;
    hog(&[])?;
    std::thread::sleep(interval);
    let run_ns = run_ns_in(interval, nr_nodes())?;
    let share = share_elsewhere(&run_ns, from)?;
    ensure!(share > 0.999, "a round after the retarget, {share:.4} of the run time is off node {from}");

    let log = scheduler.log()?;
    let line = log.lines().find(|line| line.contains("epoch 1: move")).context("no line of epoch 1 in the log")?;
    let ours_us: u64 = line.rsplit(' ').nth(1).and_then(|us| us.parse().ok()).context("no cost in the log line")?;
    let asleep = thread_ids(&asleep)?;
    // Every tenth, times ten: each takes a tenth of a second in an emulated machine.
    let taskset_us = 10 * taskset_cpu_time(tids.iter().chain(&asleep).step_by(10))?.as_micros() as u64;
    let ratio = taskset_us / ours_us.max(1);
    ensure!(ratio >= 10, "taskset took {taskset_us} us of CPU, the daemon {ours_us} us");
    Ok(format!(
        "2200 tasks: daemon {ours_us} us of CPU, `taskset -p` loop {taskset_us} us (220 of them, times ten): 1/{ratio}"
    ))
}

fn thread_ids(workers: &[Worker]) -> Result<Vec<i32>> {
    let mut tids = Vec::new();
    for worker in workers {
        for entry in std::fs::read_dir(format!("/proc/{}/task", worker.pid))? {
            tids.push(entry?.file_name().to_string_lossy().parse()?);
        }
    }
    Ok(tids)
}

/// CPU time of a `taskset -p` for each task, as the thesis's script moves them. The mask allows all CPUs.
fn taskset_cpu_time<'a>(tids: impl Iterator<Item = &'a i32>) -> Result<Duration> {
    let before = children_cpu_time();
    for tid in tids {
        let mut taskset = Command::new("/lab/bin/taskset");
        let status = taskset.args(["-p", "ff", &tid.to_string()]).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "taskset -p ff {tid}: {status}");
    }
    Ok(children_cpu_time() - before)
}

fn children_cpu_time() -> Duration {
    // SAFETY: rusage is plain data, which the kernel fills in.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
