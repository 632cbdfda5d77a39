//! Many short processes, as of `make -j4`, take no longer under `--policy auto` than under the fair class.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use scx_vnuma::work::policy;

use crate::guest::{nr_nodes, run_ns_in, wait_for, Scheduler};

const NR_TASKS: u32 = 60;
/// Of each task, on a CPU of its own.
const LASTS: Duration = Duration::from_millis(250);

/// A shell that counts to `count`.
fn counting(count: u32) -> String {
    format!("i=0; while [ $i -lt {count} ]; do i=$((i+1)); done")
}

/// How far a shell counts in [`LASTS`].
fn count_that_lasts() -> Result<u32> {
    const COUNT: u32 = 20_000;
    let time = || -> Result<f64> {
        let start = Instant::now();
        ensure!(Command::new("sh").args(["-c", &counting(COUNT)]).status()?.success(), "the shell failed");
        Ok(start.elapsed().as_secs_f64())
    };
    // The emulator translates the shell's code the first time.
    time()?;
    Ok((f64::from(COUNT) * LASTS.as_secs_f64() / time()?) as u32)
}

/// The time that the tasks take, four at a time. They inherit the policy of the process that starts them, which waits until it is
/// migratable if `is_migratable`.
fn time_of_tasks(count: u32, is_migratable: bool) -> Result<Duration> {
    let script = format!("read -r _; seq {NR_TASKS} | xargs -P 4 -n 1 sh -c '{}'", counting(count));
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null());
    // SAFETY: a system call without pointers, which may be made after fork.
    unsafe {
        command.pre_exec(|| match libc::setpriority(libc::PRIO_PROCESS, 0, 5) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut make = command.spawn().context("starting sh")?;
    if is_migratable {
        wait_for("the shell becomes migratable", Duration::from_secs(10), || {
            // SAFETY: a system call without pointers.
            Ok(unsafe { libc::sched_getscheduler(make.id() as i32) } == policy::EXT as i32)
        })?;
    }
    let start = Instant::now();
    make.stdin.take().context("BUG: stdin is a pipe")?.write_all(b"go\n")?;
    ensure!(make.wait()?.success(), "xargs failed");
    Ok(start.elapsed())
}

pub fn short_tasks_take_no_longer_than_under_the_fair_class() -> Result<String> {
    const RATIO_MAX: f64 = 1.05;
    const NR_ROUNDS: usize = 5;
    let count = count_that_lasts()?;
    let (mut fair, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..NR_ROUNDS {
        fair.push(time_of_tasks(count, false)?);
        let mut scheduler = Scheduler::start(&["--policy", "auto"])?;
        run_ns_in(Duration::from_secs(2), nr_nodes())?;
        ours.push(time_of_tasks(count, true)?);
        ensure!(scheduler.is_alive()?, "scx_vnuma has ended: {}", scheduler.log()?);
    }
    let said = format!("under auto {ours:.2?}, under the fair class {fair:.2?}");
    fair.sort_unstable();
    ours.sort_unstable();
    let ratio = ours[NR_ROUNDS / 2].as_secs_f64() / fair[NR_ROUNDS / 2].as_secs_f64();
    ensure!(ratio <= RATIO_MAX, "{ratio:.3} of the fair class's time: {said}");
    Ok(format!("{ratio:.3} of the fair class's time: {said}"))
}
