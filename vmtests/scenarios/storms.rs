//! The scheduler class stands what tasks can do to it.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::guest::{target, Scheduler};

pub fn storms_of_forks_and_affinities_end_nothing() -> Result<String> {
    const SECONDS: u64 = 60;
    // Moves to the next node each round, whatever is seen.
    let mut scheduler = Scheduler::start(&["--policy", "rotate", "--interval", "200ms"])?;
    let mut storm = Command::new("scx_vnuma");
    storm.args(["exec", "--", "stress-ng", "--affinity", "4", "--fork", "4", "--switch", "2", "--cpu", "2"]);
    storm.args(["--timeout", &format!("{SECONDS}s"), "--temp-path", "/tmp"]);
    let output = storm.stdin(Stdio::null()).output().context("starting stress-ng")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "stress-ng: {}: {said}", output.status);
    ensure!(scheduler.is_alive()?, "scx_vnuma has ended: {}", scheduler.log()?);
    let retargets = target()?.epoch;
    // Emulated CPUs may make a round late, but not most of them.
    ensure!(retargets > SECONDS * 5 / 2, "only {retargets} retargets in {SECONDS} s");
    let log = scheduler.end(libc::SIGTERM)?;
    ensure!(!log.contains("EXIT: runnable task stall"), "{log}");
    std::thread::sleep(Duration::from_millis(100));
    Ok(format!("{SECONDS} s, {retargets} retargets, no watchdog exit"))
}
