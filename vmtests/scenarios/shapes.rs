//! The scheduler class loads and unloads on whatever nodes there are, and alone.

use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Result};
use scx_vnuma::bpf::PIN_DIR;

use crate::guest::{sched_ext_state, wait_for, Scheduler};
use crate::workers::{Setting, Worker};

/// Fails when a scheduler, a pin or a helper of it is still there.
pub fn nothing_is_left() -> Result<()> {
    ensure!(sched_ext_state()? == "disabled", "sched_ext is still {}", sched_ext_state()?);
    ensure!(!Path::new(PIN_DIR).exists(), "{PIN_DIR} is still there");
    Ok(())
}

pub fn any_shape_loads_and_unloads() -> Result<String> {
    let workers = Worker::start_many(3, &Setting::migratable())?;
    let mut scheduler = Scheduler::start(&["--allow-single-node", "--interval", "200ms"])?;
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
    let log = scheduler.end(libc::SIGTERM)?;
    ensure!(log.contains("disabled; 3 tasks went back"), "it said: {log}");
    ensure!(!workers.iter().any(Worker::is_migratable), "a task is still migratable");
    Ok(format!("as {}", name.trim()))
}

pub fn a_second_scheduler_is_refused_by_name() -> Result<String> {
    let _first = Scheduler::start(&["--allow-single-node"])?;
    let mut second = Scheduler::spawn(&["--allow-single-node"])?;
    wait_for("the second one gives up", Duration::from_secs(20), || Ok(!second.is_alive()?))?;
    let log = second.log()?;
    ensure!(log.contains("scx_vnuma is running already"), "it said: {log}");
    Ok(String::new())
}

/// On a kernel whose BTF no scheduler that kicks CPUs can be loaded with (see the daemon's preflight).
pub fn a_kernel_with_malformed_btf_is_refused() -> Result<String> {
    let mut scheduler = Scheduler::spawn(&["--allow-single-node"])?;
    wait_for("it gives up", Duration::from_secs(30), || Ok(!scheduler.is_alive()?))?;
    let log = scheduler.log()?;
    ensure!(log.contains("pahole before 1.26") && log.lines().count() == 1, "it said: {log}");
    Ok(String::new())
}
