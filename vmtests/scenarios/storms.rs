//! The scheduler class stands what tasks can do to it.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use crate::guest::{print_kernel_state, target, wait_for, Scheduler};

pub fn storms_of_forks_and_affinities_end_nothing() -> Result<String> {
    const SECONDS: u64 = 60;
    // Moves to the next node each round, whatever is seen.
    let mut scheduler = Scheduler::start(&["--policy", "rotate", "--no-guards", "--interval", "200ms"])?;
    let said = "/tmp/storm.log";
    let mut storm = Command::new("scx_vnuma");
    storm.args(["exec", "--", "stress-ng", "--affinity", "4", "--fork", "4", "--switch", "2", "--cpu", "2"]);
    storm.args(["--timeout", &format!("{SECONDS}s"), "--temp-path", "/tmp"]);
    storm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(said)?);
    let mut storm = storm.spawn().context("starting stress-ng")?;
    if let Err(err) = ends_well(&mut storm, Duration::from_secs(SECONDS + 60)) {
        print_kernel_state();
        let _ = storm.kill();
        bail!("stress-ng: {err:#}: {}", std::fs::read_to_string(said)?);
    }
    ensure!(scheduler.is_alive()?, "scx_vnuma has ended: {}", scheduler.log()?);
    let retargets = target()?.epoch;
    // Emulated CPUs may make a round late, but not most of them.
    ensure!(retargets > SECONDS * 5 / 2, "only {retargets} retargets in {SECONDS} s");
    let log = scheduler.end(libc::SIGTERM)?;
    ensure!(!log.contains("EXIT: runnable task stall"), "{log}");
    std::thread::sleep(Duration::from_millis(100));
    Ok(format!("{SECONDS} s, {retargets} retargets, no watchdog exit"))
}

fn ends_well(child: &mut Child, patience: Duration) -> Result<()> {
    let mut status = None;
    wait_for("it ends", patience, || {
        status = child.try_wait()?;
        Ok(status.is_some())
    })?;
    ensure!(status.is_some_and(|status| status.success()), "{status:?}");
    Ok(())
}
