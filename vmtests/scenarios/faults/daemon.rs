//! The daemon is stopped, blocked, or lacks what it needs.

use std::io::{pipe, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use super::super::leaving::{seen, settled};
use super::super::shapes::nothing_is_left;
use super::starting::restore;
use crate::guest::workers::{Setting, Worker};
use crate::guest::{destination, remove_placements, sched_ext_state, set_placements, target, wait_for, Scheduler};

/// Work moves to the next node in each round, whatever the view is, so that rounds can be counted.
const ROTATE: &[&str] = &["--policy", "rotate", "--no-guards", "--interval", "200ms"];

/// A pipe without room for a byte.
fn full_pipe() -> Result<(PipeReader, PipeWriter)> {
    let (reader, mut writer) = pipe()?;
    set_flags(&writer, libc::O_NONBLOCK)?;
    for chunk in [&[b'x'; 4096][..], b"x"] {
        while writer.write(chunk).is_ok() {}
    }
    set_flags(&writer, 0)?;
    Ok((reader, writer))
}

fn set_flags(writer: &PipeWriter, flags: libc::c_int) -> Result<()> {
    // SAFETY: no pointers; the descriptor is open.
    let failed = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, flags) } != 0;
    ensure!(!failed, "fcntl: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Waits until they are migratable.
fn wait_until_taken(workers: &[Worker]) -> Result<()> {
    wait_for("the workers become migratable", Duration::from_secs(60), || {
        Ok(workers.iter().all(Worker::is_migratable))
    })?;
    Ok(())
}

/// Fails unless each of them gets CPU within `window`.
fn each_gets_cpu(workers: &[Worker], window: Duration) -> Result<()> {
    let before = workers.iter().map(Worker::cpu_time).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(window);
    for (worker, before) in workers.iter().zip(before) {
        let got = worker.cpu_time()? - before;
        ensure!(got > Duration::from_millis(10), "task {} got {got:?} in {window:?}", worker.pid);
    }
    Ok(())
}

pub fn a_log_that_nobody_reads_stops_neither_rounds_nor_signals() -> Result<String> {
    const TIME: Duration = Duration::from_secs(5);
    let workers = Worker::start_many(2, &Setting::migratable())?;
    let (_reader, writer) = full_pipe()?;
    let mut scheduler = Scheduler::spawn_with_stderr(&[ROTATE, &["--verbose"]].concat(), writer)?;
    wait_until_taken(&workers)?;
    let epoch = target()?.epoch;
    std::thread::sleep(TIME);
    let nr_rounds = target()?.epoch - epoch;
    ensure!(nr_rounds >= 8, "only {nr_rounds} changes of plan in {TIME:?}");
    let asked = Instant::now();
    scheduler.end(libc::SIGTERM)?;
    nothing_is_left()?;
    Ok(format!("{nr_rounds} changes of plan in {TIME:?}, ended in {:.1} s", asked.elapsed().as_secs_f64()))
}

pub fn the_class_of_a_stopped_daemon_ends_and_comes_back_with_it() -> Result<String> {
    const STOPPED: Duration = Duration::from_secs(40);
    let workers = Worker::start_many(4, &Setting::migratable())?;
    let before = settled(&workers);
    let mut scheduler = Scheduler::start(&["--policy", "rotate", "--no-guards", "--interval", "3s"])?;
    wait_until_taken(&workers)?;
    // Away from where it starts, and not in the middle of a round.
    wait_for("work moves", Duration::from_secs(30), || Ok(target()?.epoch > 0 && destination()? != 0))?;
    std::thread::sleep(Duration::from_millis(500));
    let there = destination()?;

    scheduler.signal(libc::SIGSTOP);
    let stopped_at = Instant::now();
    let ended = wait_for("the class ends", Duration::from_secs(25), || {
        std::thread::sleep(Duration::from_millis(200));
        Ok(sched_ext_state()? == "disabled")
    });
    while stopped_at.elapsed() < STOPPED && ended.is_ok() {
        each_gets_cpu(&workers, Duration::from_secs(4))?;
    }
    scheduler.signal(libc::SIGCONT);
    let ended = ended?;
    let back = wait_for("the class comes back", Duration::from_secs(60), || Ok(sched_ext_state()? == "enabled"))?;
    wait_until_taken(&workers)?;
    each_gets_cpu(&workers, Duration::from_secs(2))?;
    let log = scheduler.end(libc::SIGTERM)?;
    ensure!(log.contains("starting again"), "{log}");
    let second = log.rsplit("enabled on ").next().unwrap_or_default();
    ensure!(second.contains(&format!("goes to node {there}")), "work was on node {there}; then: {log}");
    ensure!(!log.contains("stall"), "{log}");
    let now = seen(&workers);
    ensure!(now == before, "tasks had {before:?} and have {now:?}");
    Ok(format!("ended after {:.1} s, back {:.1} s after SIGCONT", ended.as_secs_f64(), back.as_secs_f64()))
}

/// Lowers a limit of a running process until it is dropped.
struct Limited {
    pid: i32,
    resource: libc::__rlimit_resource_t,
    before: libc::rlimit,
}

impl Limited {
    fn to(pid: i32, resource: libc::__rlimit_resource_t, soft: u64) -> Result<Self> {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both limits outlive the calls.
        let failed = unsafe {
            libc::prlimit(pid, resource, std::ptr::null(), &mut before) != 0
                || libc::prlimit(pid, resource, &libc::rlimit { rlim_cur: soft, ..before }, std::ptr::null_mut()) != 0
        };
        ensure!(!failed, "prlimit: {}", std::io::Error::last_os_error());
        Ok(Limited { pid, resource, before })
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // SAFETY: the limit outlives the call.
        unsafe { libc::prlimit(self.pid, self.resource, &self.before, std::ptr::null_mut()) };
    }
}

pub fn rounds_without_descriptors_fail_and_later_ones_succeed() -> Result<String> {
    let workers = Worker::start_many(2, &Setting::migratable())?;
    let mut scheduler = Scheduler::start(ROTATE)?;
    wait_until_taken(&workers)?;
    let limited = Limited::to(scheduler.pid(), libc::RLIMIT_NOFILE, 0)?;
    std::thread::sleep(Duration::from_secs(1));
    each_gets_cpu(&workers, Duration::from_secs(1))?;
    let epoch = target()?.epoch;
    drop(limited);
    wait_for("rounds succeed again", Duration::from_secs(20), || {
        ensure!(scheduler.is_alive()?, "it ended: {}", scheduler.log()?);
        Ok(scheduler.log()?.contains("rounds succeed again") && target()?.epoch > epoch + 2)
    })?;
    let log = scheduler.end(libc::SIGTERM)?;
    let failed = log.lines().find(|line| line.contains("a round failed")).with_context(|| log.clone())?;
    Ok(failed.rsplit(": ").next().unwrap_or_default().to_string())
}

pub fn without_memory_the_daemon_goes_on_or_is_undone() -> Result<String> {
    let workers = Worker::start_many(2, &Setting::migratable())?;
    let before = settled(&workers);
    let mut scheduler = Scheduler::start(ROTATE)?;
    wait_until_taken(&workers)?;
    let limited = Limited::to(scheduler.pid(), libc::RLIMIT_AS, 0)?;
    // More tasks than it has room for.
    let crowd = Worker::start(&Setting { asleep: true, nr_threads: 2000, ..Setting::migratable() })?;
    std::thread::sleep(Duration::from_secs(3));
    each_gets_cpu(&workers, Duration::from_secs(1))?;
    drop(limited);
    let survives = scheduler.is_alive()?;
    if survives {
        let epoch = target()?.epoch;
        wait_for("rounds go on", Duration::from_secs(30), || Ok(target()?.epoch > epoch + 2))?;
        scheduler.end(libc::SIGTERM)?;
        nothing_is_left()?;
    } else {
        restore()?;
    }
    let now = seen(&workers);
    ensure!(now == before && !crowd.is_migratable(), "tasks had {before:?} and have {now:?}");
    Ok(if survives { "it went on" } else { "it ended, and restore undid it" }.into())
}

pub fn a_full_placement_map_stops_nothing() -> Result<String> {
    // No process has such an id: /proc/sys/kernel/pid_max is at most 4,194,304.
    let no_processes = 5_000_000..5_100_000;
    let args = ["--policy", "auto", "--interval", "200ms", "--verbose"];
    let mut scheduler = Scheduler::start(&args)?;
    let nr_filled = set_placements(no_processes.clone(), 0)?;
    ensure!(nr_filled < no_processes.len(), "the map took {nr_filled} placements and isn't full");
    let workers = Worker::start_many(6, &Setting::migratable())?;
    wait_until_taken(&workers)?;
    let nr_lines = scheduler.log()?.lines().count();
    each_gets_cpu(&workers, Duration::from_secs(4))?;
    ensure!(scheduler.is_alive()?, "it ended: {}", scheduler.log()?);
    ensure!(scheduler.log()?.lines().count() >= nr_lines + 5, "rounds have stopped: {}", scheduler.log()?);
    remove_placements(no_processes.start..no_processes.start + nr_filled as u32)?;
    each_gets_cpu(&workers, Duration::from_secs(1))?;
    scheduler.end(libc::SIGTERM)?;
    Ok(format!("{nr_filled} placements"))
}
