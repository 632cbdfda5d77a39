//! CPUs come and go, and fixed tasks keep them busy.

use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use super::super::hotplug::{set_online, Offline};
use crate::guest::workers::{Setting, Worker};
use crate::guest::{destination, node_cpus, node_stats, nr_nodes, run_ns_in, sched_ext_state, wait_for, Scheduler};

pub fn cpus_that_were_offline_at_the_start_are_used_when_they_come() -> Result<String> {
    let away = nr_nodes() - 1;
    let (here_cpus, away_cpus) = (node_cpus(0)?, node_cpus(away)?);
    let late: Vec<u32> = here_cpus[1..].iter().chain(&away_cpus).copied().collect();
    let offline = Offline::take(late.clone())?;
    let workers = Worker::start_many(6, &Setting::migratable())?;
    let args = ["--policy", "rotate", "--no-guards", "--interval", "500ms", "--allow-single-node"];
    let mut scheduler = Scheduler::start(&args)?;
    wait_for("the workers become migratable", Duration::from_secs(60), || {
        Ok(workers.iter().all(Worker::is_migratable))
    })?;
    ensure!(run_ns_in(Duration::from_secs(1), nr_nodes())?[away as usize] == 0, "work ran on a node that is offline");

    // More often than a scheduler that restarts each time may.
    for _ in 0..2 {
        late.iter().try_for_each(|&cpu| set_online(cpu, true))?;
        wait_for("work runs there", Duration::from_secs(20), || Ok(destination()? == away))?;
        late.iter().try_for_each(|&cpu| set_online(cpu, false))?;
    }
    drop(offline);
    let before = node_stats(away)?.run_ns;
    let run_ns = |node| Ok::<u64, anyhow::Error>(node_stats(node)?.run_ns);
    wait_for("work runs on the node that came", Duration::from_secs(20), || Ok(run_ns(away)? > before + 200_000_000))?;
    ensure!(scheduler.is_alive()? && sched_ext_state()? == "enabled", "it ended: {}", scheduler.log()?);
    let log = scheduler.end(libc::SIGTERM)?;
    ensure!(!log.contains("starting again"), "{log}");
    Ok(format!("{} CPUs came online, none with a restart", 3 * late.len()))
}

pub fn a_storm_of_hotplug_of_the_destinations_last_cpus_loses_nothing() -> Result<String> {
    const TIME: Duration = Duration::from_secs(6);
    let away = nr_nodes() - 1;
    let cpus = node_cpus(away)?;
    let workers = Worker::start_many(4, &Setting::migratable())?;
    let mut scheduler =
        Scheduler::start(&["--policy", "coarse", "--interval", "200ms", "--start-node", &away.to_string()])?;
    wait_for("the workers become migratable", Duration::from_secs(60), || {
        Ok(workers.iter().all(Worker::is_migratable))
    })?;
    let cpu_times = || workers.iter().map(Worker::cpu_time).collect::<Result<Vec<_>>>();
    let (start, mut nr_times, mut before) = (Instant::now(), 0, cpu_times()?);
    while start.elapsed() < TIME {
        for _ in 0..3 {
            drop(Offline::take(cpus.clone())?);
            nr_times += 1;
        }
        std::thread::sleep(Duration::from_secs(1));
        let now = cpu_times()?;
        let stuck = now.iter().zip(&before).position(|(now, before)| *now - *before < Duration::from_millis(5));
        ensure!(stuck.is_none(), "worker {stuck:?} got no CPU: {before:?}, then {now:?}");
        before = now;
    }
    ensure!(scheduler.is_alive()? && sched_ext_state()? == "enabled", "it ended: {}", scheduler.log()?);
    let run_ns: u64 = run_ns_in(Duration::from_secs(2), nr_nodes())?.iter().sum();
    ensure!(run_ns > 500_000_000, "migratable work got {run_ns} ns in 2 s afterwards");
    let log = scheduler.end(libc::SIGTERM)?;
    ensure!(!log.contains("starting again"), "{log}");
    Ok(format!("{nr_times} times offline and back in {TIME:?}"))
}

pub fn fair_load_on_the_destination_starves_no_migratable_task() -> Result<String> {
    // The kernel's watchdog ends a scheduler under which a task waits for 30 s.
    const TIME: Duration = Duration::from_secs(31);
    let away = nr_nodes() - 1;
    let cpus = node_cpus(away)?;
    let fixed: Vec<Worker> = cpus
        .iter()
        .map(|&cpu| Worker::start(&Setting { cpu: Some(cpu), ..Setting::default() }))
        .collect::<Result<_>>()?;
    let workers = Worker::start_many(4, &Setting::migratable())?;
    let mut scheduler =
        Scheduler::start(&["--policy", "coarse", "--interval", "500ms", "--start-node", &away.to_string()])?;
    wait_for("the workers become migratable", Duration::from_secs(60), || {
        Ok(workers.iter().all(Worker::is_migratable))
    })?;
    let cpu_times = || workers.iter().map(Worker::cpu_time).collect::<Result<Vec<_>>>();
    let (before, fixed_before) = (cpu_times()?, fixed[0].cpu_time()?);
    std::thread::sleep(TIME);
    let got: Vec<Duration> = cpu_times()?.iter().zip(&before).map(|(now, before)| *now - *before).collect();
    let least = got.iter().min().context("no worker")?;
    ensure!(scheduler.is_alive()? && sched_ext_state()? == "enabled", "it ended: {}", scheduler.log()?);
    ensure!(destination()? == away, "work goes to node {} now: {}", destination()?, scheduler.log()?);
    ensure!(*least > TIME / 1000, "in {TIME:?} they got {got:?}");
    let fixed_got = fixed[0].cpu_time()? - fixed_before;
    scheduler.end(libc::SIGTERM)?;
    Ok(format!("beside fixed tasks that got {fixed_got:.1?}, each got at least {least:.2?} in {TIME:?}"))
}
