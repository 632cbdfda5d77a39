//! The scheduler class withstands storms of forks, affinity changes and wakeups.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use crate::guest::workers::BoundTo;
use crate::guest::{print_kernel_state, target, wait_for, Scheduler};

pub fn storms_of_forks_and_affinities_end_nothing() -> Result<String> {
    const SECONDS: u64 = 60;
    // Work moves to the next node in each round, whatever the view is.
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

/// Waking tasks preempt running ones, but not always: that would cause more context switches than work.
pub fn tasks_that_wake_each_other_get_something_done() -> Result<String> {
    const TIMES_MOST: f64 = 2.0;
    let messaging = ["bench", "sched", "messaging", "-g", "1", "-l", "300"];
    let fair = {
        let _bound = BoundTo::node(0)?;
        switches_of(Command::new("perf").args(messaging))?
    };
    let mut scheduler = Scheduler::start(&["--start-node", "0"])?;
    let ours = switches_of(Command::new("scx_vnuma").args(["exec", "--", "perf"]).args(messaging))?;
    scheduler.end(libc::SIGTERM)?;
    let times = ours as f64 / fair as f64;
    ensure!(times <= TIMES_MOST, "{ours} context switches, and {fair} under the fair class");
    Ok(format!("{times:.2} times the fair class's {fair} context switches"))
}

/// Context switches of all CPUs while the command runs.
fn switches_of(command: &mut Command) -> Result<u64> {
    let so_far = || -> Result<u64> {
        let stat = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let count = stat.lines().find_map(|line| line.strip_prefix("ctxt ")).context("/proc/stat has no ctxt")?;
        Ok(count.trim().parse()?)
    };
    let before = so_far()?;
    let output = command.stdin(Stdio::null()).output().context("starting it")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(so_far()? - before)
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
