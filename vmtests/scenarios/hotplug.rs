//! Work leaves a node whose CPUs go offline.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::guest::workers::{Setting, Worker};
use crate::guest::{destination, node_cpus, nr_nodes, run_ns_in, share_elsewhere, wait_for, Scheduler};

/// CPUs that are offline. They come back online, however the scenario ends.
pub struct Offline(Vec<u32>);

impl Offline {
    /// Takes these CPUs offline.
    pub fn take(cpus: Vec<u32>) -> Result<Self> {
        let offline = Offline(cpus);
        offline.0.iter().try_for_each(|&cpu| set_online(cpu, false))?;
        Ok(offline)
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        for &cpu in &self.0 {
            let _ = set_online(cpu, true);
        }
    }
}

pub fn set_online(cpu: u32, online: bool) -> Result<()> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/online");
    std::fs::write(&path, if online { "1" } else { "0" }).with_context(|| format!("writing {path}"))
}

pub fn an_offline_destination_is_left() -> Result<String> {
    let interval = Duration::from_secs(1);
    let away = nr_nodes() - 1;
    let workers = Worker::start_many(6, &Setting::migratable())?;
    let mut scheduler =
        Scheduler::start(&["--policy", "coarse", "--interval", "1s", "--start-node", &away.to_string()])?;
    wait_for("they become migratable", Duration::from_secs(10), || Ok(workers.iter().all(Worker::is_migratable)))?;
    std::thread::sleep(interval);
    let here = 1.0 - share_elsewhere(&run_ns_in(interval, nr_nodes())?, away)?;
    ensure!(here > 0.9, "only {here:.2} of the run time is on node {away}");

    let offline = Offline::take(node_cpus(away)?)?;
    std::thread::sleep(interval);
    let run_ns = run_ns_in(interval, nr_nodes())?;
    let elsewhere = share_elsewhere(&run_ns, away)?;
    ensure!(elsewhere > 0.999, "{elsewhere:.3} of the run time is off the offline node {away}");
    let total_ns: u64 = run_ns.iter().sum();
    ensure!(total_ns > 500_000_000, "migratable work got {total_ns} ns in 1 s after its node went offline");
    wait_for("the plan names another node", 3 * interval, || Ok(destination()? != away))?;
    drop(offline);
    std::thread::sleep(2 * interval);
    ensure!(scheduler.is_alive()?, "scx_vnuma has ended: {}", scheduler.log()?);
    Ok(format!("{elsewhere:.3} of the run time elsewhere in the second round"))
}
