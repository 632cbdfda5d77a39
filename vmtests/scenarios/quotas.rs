//! CPU quotas of cgroups: migratable tasks keep them.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use crate::guest::cgroup::Cgroup;
use crate::guest::workers::{total_work, Setting, Worker};
use crate::guest::{node_stats, nr_nodes, wait_for, Scheduler};

/// A hundred periods: how many of them a window has the beginning of, where tasks use their quotas, varies by one.
const WINDOW: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_secs(5);
/// Of a quota of a quarter of a CPU, and of larger ones, which are used in larger steps.
const QUARTER_TOLERANCE_CPUS: f64 = 0.01;
const TOLERANCE_CPUS: f64 = 0.03;
/// Quotas are read once a second, in a round.
const PATIENCE: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(3);

pub fn migratable_tasks_keep_their_quotas() -> Result<String> {
    let pods = Cgroup::new("vnuma-pods")?;
    let (rest, job, free) = (pods.child("rest")?, pods.child("job")?, Cgroup::new("vnuma-free")?);
    pods.limit(Some(0.25))?;
    let workers = Worker::start_many(4, &Setting::migratable())?;
    workers.iter().try_for_each(|worker| rest.add(worker))?;
    let all: Vec<&Worker> = workers.iter().collect();

    let scheduler = Scheduler::start(&[])?;
    wait_for("the tasks to become migratable", PATIENCE, || Ok(workers.iter().all(Worker::is_migratable)))?;
    std::thread::sleep(SETTLE);
    // A moment in which the emulated machine stands still counts as run time, and is a debt to what follows.
    let mut quarters = [used_cpus([&all], WINDOW)?[0], used_cpus([&all], WINDOW)?[0], used_cpus([&all], WINDOW)?[0]];
    quarters.sort_by(f64::total_cmp);
    let quarter = quarters[1];
    ensure!((quarter - 0.25).abs() <= QUARTER_TOLERANCE_CPUS, "of a quarter of a CPU they used {quarters:?}");

    pods.limit(Some(1.5))?;
    std::thread::sleep(SETTLE);
    let [more] = used_cpus([&all], WINDOW)?;
    ensure!((more - 1.5).abs() <= TOLERANCE_CPUS, "of a quota that was raised to 1.5 CPUs they used {more:.3}");

    // A quota below another one: of what all four may use, two use at most half a CPU.
    job.limit(Some(0.5))?;
    workers[..2].iter().try_for_each(|worker| job.add(worker))?;
    pods.limit(Some(0.9))?;
    std::thread::sleep(SETTLE);
    let [inner, both] = used_cpus([&all[..2], &all], WINDOW)?;
    ensure!(inner <= 0.5 + TOLERANCE_CPUS && inner > 0.3, "below a quota of .9, one of .5 gave {inner:.3} CPUs");
    ensure!((both - 0.9).abs() <= TOLERANCE_CPUS, "a quota of .9 with another below it gave {both:.3} CPUs");

    free.add(&workers[0])?;
    std::thread::sleep(SETTLE);
    let [one, others] = used_cpus([&all[..1], &all[1..]], WINDOW)?;
    ensure!(one > 0.9, "a task that has left all quotas uses {one:.3} CPUs");
    ensure!((others - 0.9).abs() <= TOLERANCE_CPUS, "the three others use {others:.3} CPUs of .9");

    pods.limit(None)?;
    job.limit(None)?;
    std::thread::sleep(SETTLE);
    let [without] = used_cpus([&all], SHORT)?;
    ensure!(without > 3.6, "without quotas they use {without:.2} CPUs of 4");

    pods.limit(Some(0.25))?;
    drop(scheduler);
    let _lifting = Scheduler::start(&["--lift-quotas"])?;
    wait_for("the tasks to become migratable", PATIENCE, || Ok(workers.iter().all(Worker::is_migratable)))?;
    let [lifted] = used_cpus([&all[1..]], SHORT)?;
    ensure!(lifted > 2.0, "with --lift-quotas three tasks use {lifted:.2} CPUs");
    Ok(format!(
        "of .25 CPUs they used {quarter:.3}, of 1.5 {more:.3}, of .5 below .9 {inner:.3} and {both:.3}, of .9 beside a task without \
         a quota {others:.3}, without any {without:.2}, with lifted quotas {lifted:.2}"
    ))
}

/// Twelve tasks that share a millisecond in each second: with a turn of a tick each, the last would wait for longer than the kernel's
/// watchdog does.
pub fn many_tasks_of_a_tiny_quota_do_not_end_the_class() -> Result<String> {
    const LONGER_THAN_THE_WATCHDOG: Duration = Duration::from_secs(40);
    /// A turn of a few ticks for each task in ten seconds: ticks are late in emulation.
    const TURNS_CPUS: f64 = 0.05;
    let cgroup = Cgroup::new("vnuma-tiny")?;
    let workers = Worker::start_many(12, &Setting::migratable())?;
    workers.iter().try_for_each(|worker| cgroup.add(worker))?;
    let all: Vec<&Worker> = workers.iter().collect();

    let mut scheduler = Scheduler::start(&[])?;
    wait_for("the tasks to become migratable", PATIENCE, || Ok(workers.iter().all(Worker::is_migratable)))?;
    // By work: where the TSC isn't reliable, the clock of an idle CPU lags, and the first task there is charged with all of that, here
    // with as much as .2 s in a turn of .004 s.
    let work = || total_work(&workers).iter().sum::<u64>() as f64;
    let before = work();
    let [free] = used_cpus([&all], SHORT)?;
    let work_per_cpu_s = (work() - before) / (free * SHORT.as_secs_f64());
    cgroup.set_quota(Some(1000), 1_000_000)?;
    std::thread::sleep(SETTLE);
    let (turns_before, before) = (nr_turns()?, work());
    std::thread::sleep(LONGER_THAN_THE_WATCHDOG);
    let (turns, done) = (nr_turns()? - turns_before, work() - before);
    let still_runs = scheduler.is_alive()? && workers.iter().all(Worker::is_migratable);
    // Under the fair class killed tasks need their quota, too, and with this one take minutes to end.
    cgroup.limit(None)?;
    ensure!(still_runs, "the class ended");
    let used = done / work_per_cpu_s / LONGER_THAN_THE_WATCHDOG.as_secs_f64();
    ensure!(used <= TURNS_CPUS, "of a thousandth of a CPU they used {used:.3}, in {turns} turns");
    Ok(format!(
        "twelve tasks used {used:.4} CPUs of .001 in {turns} turns in {LONGER_THAN_THE_WATCHDOG:?}, and the class runs"
    ))
}

/// How many times tasks of the class were put on a CPU.
fn nr_turns() -> Result<u64> {
    (0..nr_nodes()).map(|node| Ok(node_stats(node)?.nr_runs)).sum()
}

/// The CPUs that each of several sets of workers uses, in the same window.
fn used_cpus<const N: usize>(sets: [&[&Worker]; N], window: Duration) -> Result<[f64; N]> {
    let sum = |workers: &[&Worker]| workers.iter().map(|worker| worker.cpu_time()).sum::<Result<Duration>>();
    let mut before = [Duration::ZERO; N];
    let began = Instant::now();
    for (at, workers) in sets.iter().enumerate() {
        before[at] = sum(workers)?;
    }
    std::thread::sleep(window);
    let mut used = [0.0; N];
    let seconds = began.elapsed().as_secs_f64();
    for (at, workers) in sets.iter().enumerate() {
        used[at] = (sum(workers)? - before[at]).as_secs_f64() / seconds;
    }
    Ok(used)
}
