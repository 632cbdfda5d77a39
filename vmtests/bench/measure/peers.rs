//! The same measurements under other sched_ext schedulers, which take over every ordinary task.

use anyhow::{ensure, Result};

use crate::guest::{sched_ext_state, Scheduler};

/// Their program names. `vmtests/setup --peers` installs them.
pub const ALL: [&str; 2] = ["scx_bpfland", "scx_rusty"];

/// Runs a measurement under each of them. A scheduler that is not installed, fails to load or exits early is left out from
/// then on.
pub fn measure_under_each<T>(peers: &mut Vec<&'static str>, measure: impl Fn() -> Result<T>) -> Vec<(&'static str, T)> {
    let mut measured = Vec::new();
    peers.retain(|&peer| match measure_under(peer, &measure) {
        Ok(value) => {
            measured.push((peer, value));
            true
        }
        Err(err) => {
            println!("{peer} is left out (vmtests/setup --peers builds it): {err:#}");
            false
        }
    });
    measured
}

fn measure_under<T>(peer: &str, measure: impl Fn() -> Result<T>) -> Result<T> {
    let mut scheduler = Scheduler::start_other(peer)?;
    let value = measure()?;
    let lasted = scheduler.is_alive()? && sched_ext_state()? == "enabled";
    ensure!(lasted, "the scheduler exited during the measurement: {}", scheduler.log()?);
    Ok(value)
}
