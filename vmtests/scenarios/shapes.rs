//! The scheduler class loads and unloads on every NUMA shape, and refuses to load a second time.

use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Result};
use scx_vnuma::bpf::PIN_DIR;

use crate::guest::workers::{Setting, Worker};
use crate::guest::{node_cpus, node_stats, nr_nodes, sched_ext_state, target, wait_for, Scheduler};

/// The folder in which the original CPUs of IRQs and workqueues are saved while they are moved.
const SAVED_STATE: &str = "/run/scx_vnuma";

/// Fails if a scheduler, a pin, a saved file or a helper of scx_vnuma is still there.
pub fn nothing_is_left() -> Result<()> {
    ensure!(sched_ext_state()? == "disabled", "sched_ext is still {}", sched_ext_state()?);
    for path in [PIN_DIR, SAVED_STATE] {
        ensure!(!Path::new(path).exists(), "{path} is still there");
    }
    Ok(())
}

pub fn any_shape_loads_and_unloads() -> Result<String> {
    let workers = Worker::start_many(3, &Setting::migratable())?;
    // Work moves to the next node in each round, so that all nodes get work.
    let mut scheduler =
        Scheduler::start(&["--allow-single-node", "--policy", "rotate", "--no-guards", "--interval", "200ms"])?;
    ensure!(sched_ext_state()? == "enabled");
    let name = std::fs::read_to_string("/sys/kernel/sched_ext/root/ops")?;
    ensure!(name.starts_with("vnuma"), "the kernel calls it {name}");
    wait_for("all workers become migratable", Duration::from_secs(10), || {
        Ok(workers.iter().all(Worker::is_migratable))
    })?;
    for worker in &workers {
        let got = worker.cpu_time_in(Duration::from_secs(1))?;
        ensure!(got > Duration::from_millis(20), "a migratable task got {got:?} in 1 s");
    }
    let with_cpus: Vec<u32> =
        (0..nr_nodes()).filter(|&node| node_cpus(node).is_ok_and(|cpus| !cpus.is_empty())).collect();
    for &node in &with_cpus {
        let ran_ns = node_stats(node)?.run_ns;
        ensure!(ran_ns > 20_000_000, "work ran for {} ms on node {node}", ran_ns / 1_000_000);
    }
    let epoch = target()?.epoch;
    ensure!(with_cpus.len() == 1 || epoch >= 5, "only {epoch} retargets");
    let log = scheduler.end(libc::SIGTERM)?;
    ensure!(log.contains("disabled; 3 tasks went back"), "it said: {log}");
    ensure!(!workers.iter().any(Worker::is_migratable), "a task is still migratable");
    Ok(format!("as {}, {epoch} retargets over {} nodes", name.trim(), with_cpus.len()))
}

pub fn a_second_scheduler_is_refused_by_name() -> Result<String> {
    let _first = Scheduler::start(&["--allow-single-node"])?;
    let mut second = Scheduler::spawn(&["--allow-single-node"])?;
    wait_for("the second one gives up", Duration::from_secs(20), || Ok(!second.is_alive()?))?;
    let log = second.log()?;
    ensure!(log.contains("scx_vnuma is running already"), "it said: {log}");
    Ok(String::new())
}
