//! Other schedulers of sched_ext, which take every ordinary task: what the same costs under them.

use anyhow::{ensure, Result};

use crate::guest::{sched_ext_state, Scheduler};

/// As they are called, and installed by `vmtests/setup --peers`.
pub const ALL: [&str; 2] = ["scx_bpfland", "scx_rusty"];

/// What is measured under each of them. One that isn't there, doesn't load or doesn't last is left out from then on.
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
    ensure!(lasted, "it ended while something was measured: {}", scheduler.log()?);
    Ok(value)
}
