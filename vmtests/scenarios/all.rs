//! With `--all`, every ordinary task is migratable, and the guest keeps working.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::guest::workers::{total_work, Setting, Worker};
use crate::guest::{destination, node_cpus, node_stats, nr_nodes, run_ns_in, sched_ext_state, Scheduler};

pub fn all_takes_every_ordinary_task() -> Result<String> {
    const LONG: Duration = Duration::from_secs(15);
    const SHARE_MIN: f64 = 0.95;
    let (here, away) = (0, nr_nodes() - 1);
    let cpu = node_cpus(here)?.first().copied().context("node 0 has no CPU")?;
    let busy = Worker::start_many(3, &Setting::default())?;
    let bound = Worker::start(&Setting { cpu: Some(cpu), ..Setting::default() })?;
    std::thread::sleep(Duration::from_millis(500));
    let seen = || busy.iter().chain([&bound]).map(Worker::seen).collect::<Vec<_>>();
    let before = seen();

    let mut scheduler =
        Scheduler::start(&["--policy", "coarse", "--all", "--interval", "1s", "--start-node", &away.to_string()])?;
    std::thread::sleep(Duration::from_secs(1));
    let (work_before, bound_before) = (total_work(&busy), (bound.work(), bound.cpu_time()?));
    let run_ns = run_ns_in(LONG, nr_nodes())?;
    ensure!(scheduler.is_alive()? && sched_ext_state()? == "enabled", "scx_vnuma has ended: {}", scheduler.log()?);
    ensure!(destination()? == away, "work is sent to node {} now: {}", destination()?, scheduler.log()?);

    let work: Vec<u64> = total_work(&busy).iter().zip(work_before).map(|(now, before)| now - before).collect();
    let share = work[away as usize] as f64 / work.iter().sum::<u64>() as f64;
    ensure!(share >= SHARE_MIN, "{share:.3} of the busy tasks' work was done on node {away}: {work:?}");
    ensure!(run_ns[away as usize] > LONG.as_nanos() as u64 / 2, "run time by node, ns: {run_ns:?}");
    let bound_got = bound.cpu_time()? - bound_before.1;
    ensure!(bound_got > LONG / 10, "the bound task got {bound_got:?} in {LONG:?}");
    let bound_work: Vec<u64> = bound.work().iter().zip(bound_before.0).map(|(now, before)| now - before).collect();
    ensure!(bound_work[1..].iter().all(|&units| units == 0), "the bound task worked on nodes {bound_work:?}");
    ensure!(node_stats(here)?.nr_elsewhere > 0, "no run of the bound task was counted as elsewhere");

    let log = scheduler.end(libc::SIGINT)?;
    ensure!(!log.contains("stall"), "it said: {log}");
    ensure!(sched_ext_state()? == "disabled");
    ensure!(seen() == before, "tasks had {before:?} and have {:?}", seen());
    let got = busy[0].cpu_time_in(Duration::from_secs(2))?;
    ensure!(got > Duration::from_millis(100), "afterwards a task got {got:?} in 2 s");
    Ok(format!("{share:.3} of the busy tasks' work on node {away}; the bound task got {bound_got:?} in {LONG:?}"))
}
