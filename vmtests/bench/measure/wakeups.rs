//! The wakeup latency of a task that sleeps for a millisecond at a time, while busy loops run on the same CPU.
//!
//! The load uses one CPU only: the emulator delivers timers from a thread of its own, which must not wait for a real CPU because
//! the emulated CPUs occupy all of them.

use std::time::Duration;

use anyhow::{ensure, Result};
use scx_vnuma::work::make_migratable;

use super::{peers, Extent};
use crate::guest::workers::{BoundTo, Setting, Worker};
use crate::guest::{node_cpus, wait_for, Scheduler};

const SLEEP: Duration = Duration::from_millis(1);
const NR_HOGS: usize = 2;

pub fn measure(extent: &Extent) -> Result<()> {
    let nr_wakeups = extent.nr_wakeups;
    let mut peers = peers::ALL.to_vec();
    for pair in 0..extent.pairs {
        print("fixed", "fair class, alone", pair, &lateness(nr_wakeups)?)?;
        let hogs = hogs()?;
        print("fixed", "fair class, beside nice 5 hogs", pair, &lateness(nr_wakeups)?)?;
        // The migratable task has nice 5, like the hogs, under every scheduler.
        let nice_lateness = || in_thread(move || set_nice().and_then(|()| lateness(nr_wakeups)));
        for (peer, late_us) in peers::measure_under_each(&mut peers, nice_lateness) {
            print("migratable", peer, pair, &late_us)?;
        }
        print("migratable", "fair class, beside nice 5 hogs", pair, &nice_lateness()?)?;
        let _scheduler = Scheduler::start(&["--start-node", "0"])?;
        wait_for("hogs become migratable", Duration::from_secs(10), || Ok(hogs.iter().all(Worker::is_migratable)))?;
        print("fixed", "beside migratable hogs", pair, &lateness(nr_wakeups)?)?;
        let late_us = in_thread(move || {
            set_nice()?;
            make_migratable()?;
            lateness(nr_wakeups)
        })?;
        print("migratable", "beside migratable hogs", pair, &late_us)?;
    }
    Ok(())
}

fn hogs() -> Result<Vec<Worker>> {
    let _bound = on_one_cpu()?;
    Worker::start_many(NR_HOGS, &Setting::migratable())
}

fn print(task: &str, arm: &str, pair: u32, late_us: &[f64]) -> Result<()> {
    let mean = late_us.iter().sum::<f64>() / late_us.len() as f64;
    super::print(&format!("wakeup of a {task} task, mean"), arm, pair, mean, "us")?;
    super::print(&format!("wakeup of a {task} task, P99"), arm, pair, late_us[late_us.len() * 99 / 100], "us")
}

/// Measures in a thread of its own, so that changes to the policy and nice value end with that thread.
fn in_thread(measure: impl FnOnce() -> Result<Vec<f64>> + Send + 'static) -> Result<Vec<f64>> {
    std::thread::spawn(measure).join().unwrap_or_else(|_| Err(anyhow::anyhow!("the sleeping thread panicked")))
}

/// Sets the nice value of the calling thread to that of migratable work.
fn set_nice() -> Result<()> {
    // SAFETY: no pointers; 0 is the calling thread.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, Setting::migratable().nice) != 0 };
    ensure!(!failed, "setpriority: {}", std::io::Error::last_os_error());
    Ok(())
}

/// The first CPU of node 0.
fn on_one_cpu() -> Result<BoundTo> {
    BoundTo::cpus(&node_cpus(0)?[..1])
}

/// The time from when each sleep was due to end until the task ran, us, in ascending order.
fn lateness(nr_wakeups: usize) -> Result<Vec<f64>> {
    let _bound = on_one_cpu()?;
    let mut late_us = Vec::with_capacity(nr_wakeups);
    for _ in 0..nr_wakeups {
        let until_ns = now_ns() + SLEEP.as_nanos() as i64;
        let until = libc::timespec { tv_sec: until_ns / 1_000_000_000, tv_nsec: until_ns % 1_000_000_000 };
        // SAFETY: until outlives the call; the remaining time is not requested.
        let err =
            unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &until, std::ptr::null_mut()) };
        ensure!(err == 0, "clock_nanosleep: {}", std::io::Error::from_raw_os_error(err));
        late_us.push((now_ns() - until_ns) as f64 / 1e3);
    }
    late_us.sort_by(f64::total_cmp);
    Ok(late_us)
}

fn now_ns() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: now outlives the call, which fills it in; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
