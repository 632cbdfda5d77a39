//! Users' affinities hold, whatever the plan is, and no task starves.

use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use crate::guest::workers::{BoundTo, Setting, Worker};
use crate::guest::{hog_node_until_seen, node_cpus, node_stats, target, wait_for, Scheduler};

pub fn bound_tasks_run_where_they_may() -> Result<String> {
    const LONG: Duration = Duration::from_secs(60);
    let cpus = node_cpus(0)?;
    let cpu = cpus.first().copied().context("node 0 has no CPU")?;
    let to_cpu = Worker::start_many(2, &Setting { cpu: Some(cpu), ..Setting::migratable() })?;
    let to_node = {
        let _bound = BoundTo::node(0)?;
        Worker::start_many(2, &Setting::migratable())?
    };
    let may_run_on = [vec![cpu], vec![cpu], cpus.clone(), cpus];
    let bound: Vec<Worker> = to_cpu.into_iter().chain(to_node).collect();
    let _free = Worker::start_many(4, &Setting::migratable())?;
    let mut scheduler = Scheduler::start(&["--policy", "coarse", "--interval", "500ms"])?;
    wait_for("they become migratable", Duration::from_secs(10), || Ok(bound.iter().all(Worker::is_migratable)))?;
    hog_node_until_seen(0)?;
    wait_for("the free tasks are moved", Duration::from_secs(10), || Ok(target()?.epoch > 0))?;
    let elsewhere_before = node_stats(0)?.nr_elsewhere;

    let start = Instant::now();
    let mut least = Duration::MAX;
    while start.elapsed() < LONG {
        let before = bound.iter().map(Worker::cpu_time).collect::<Result<Vec<_>>>()?;
        std::thread::sleep(Duration::from_secs(5));
        for (worker, before) in bound.iter().zip(before) {
            let got = worker.cpu_time()? - before;
            ensure!(got > Duration::from_millis(100), "a bound task got {got:?} in 5 s");
            least = least.min(got);
        }
    }
    ensure!(scheduler.is_alive()?, "scx_vnuma has ended: {}", scheduler.log()?);
    let elsewhere = node_stats(0)?.nr_elsewhere - elsewhere_before;
    ensure!(elsewhere > 0, "no run of a bound task was counted as elsewhere");
    for (worker, cpus) in bound.iter().zip(may_run_on) {
        ensure!(worker.seen().cpus == cpus, "the affinity {cpus:?} became {:?}", worker.seen().cpus);
        ensure!(worker.work()[1..].iter().all(|&units| units == 0), "a bound task ran on another node");
    }
    Ok(format!("60 s; each got at least {least:?} in any 5 s; counted {elsewhere} times as elsewhere"))
}
