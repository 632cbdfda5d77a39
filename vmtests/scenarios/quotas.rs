//! CPU quotas: tasks with one stay in the fair class, which keeps it.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::guest::cgroup::Cgroup;
use crate::guest::workers::{Setting, Worker};
use crate::guest::{wait_for, Scheduler};

/// What four workers may use together, in CPUs, and what they get at most in a window that begins anywhere in a period.
const QUOTA_CPUS: f64 = 0.25;
const WITH_EDGES_CPUS: f64 = 1.15 * QUOTA_CPUS;

const WINDOW: Duration = Duration::from_secs(6);
/// Quotas are read once a second, in a round.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn tasks_with_a_quota_keep_it_and_migrate_without_one() -> Result<String> {
    let cgroup = Cgroup::new("vnuma-quota")?;
    cgroup.limit(Some(QUOTA_CPUS))?;
    let workers = Worker::start_many(4, &Setting::migratable())?;
    workers.iter().try_for_each(|worker| cgroup.add(worker))?;

    let scheduler = Scheduler::start(&[])?;
    std::thread::sleep(Duration::from_secs(2));
    let at_start = used_cpus(&workers)?;
    let log = scheduler.log()?;
    ensure!(log.contains("cgroup /vnuma-quota") && log.contains("--lift-quotas"), "no warning names the cgroup");
    ensure!(!workers.iter().any(Worker::is_migratable), "a task with a quota is migratable");
    ensure!(at_start <= WITH_EDGES_CPUS, "they used {at_start:.3} CPUs of {QUOTA_CPUS}");

    cgroup.limit(None)?;
    let patient = |what, is_so: &dyn Fn() -> bool| wait_for(what, PATIENCE, || Ok(is_so()));
    patient("the tasks to become migratable", &|| workers.iter().all(Worker::is_migratable))?;
    let without = used_cpus(&workers)?;
    ensure!(without > 2.0, "without a quota they used {without:.2} CPUs of 4");

    cgroup.limit(Some(QUOTA_CPUS))?;
    patient("the tasks to go back", &|| !workers.iter().any(Worker::is_migratable))?;
    let again = used_cpus(&workers)?;
    ensure!(again <= WITH_EDGES_CPUS, "with a quota again they used {again:.3} CPUs of {QUOTA_CPUS}");
    Ok(format!("with a quota of {QUOTA_CPUS} they used {at_start:.3} CPUs, without {without:.2}, with it {again:.3}"))
}

fn used_cpus(workers: &[Worker]) -> Result<f64> {
    let sum = || workers.iter().map(Worker::cpu_time).sum::<Result<Duration>>();
    let (began, before) = (std::time::Instant::now(), sum()?);
    std::thread::sleep(WINDOW);
    Ok((sum()? - before).as_secs_f64() / began.elapsed().as_secs_f64())
}
