//! How late a task wakes up that sleeps for a millisecond at a time, beside busy loops on the same node.

use std::time::Duration;

use anyhow::{ensure, Result};
use scx_vnuma::act::make_migratable;

use crate::guest::{wait_for, Scheduler};
use crate::workers::{BoundTo, Setting, Worker};

const NR_WAKEUPS: usize = 1000;
const SLEEP: Duration = Duration::from_millis(1);
/// Two for each CPU of the node.
const NR_HOGS: usize = 4;

pub fn measure(pairs: u32) -> Result<()> {
    for pair in 0..pairs {
        let _bound = BoundTo::node(0)?;
        print("fixed", "fair class, alone", pair, &lateness()?)?;
        let hogs = Worker::start_many(NR_HOGS, &Setting::migratable())?;
        print("fixed", "fair class, beside nice 5 hogs", pair, &lateness()?)?;
        print("migratable", "fair class at nice 5, beside nice 5 hogs", pair, &nice_lateness()?)?;
        let _scheduler = Scheduler::start(&["--start-node", "0"])?;
        wait_for("hogs become migratable", Duration::from_secs(10), || Ok(hogs.iter().all(Worker::is_migratable)))?;
        print("fixed", "beside migratable hogs", pair, &lateness()?)?;
        print("migratable", "beside migratable hogs", pair, &migratable_lateness()?)?;
    }
    Ok(())
}

fn print(task: &str, arm: &str, pair: u32, late_us: &[f64]) -> Result<()> {
    let mean = late_us.iter().sum::<f64>() / late_us.len() as f64;
    super::print(&format!("wakeup of a {task} task, mean"), arm, pair, mean, "us")?;
    super::print(&format!("wakeup of a {task} task, P99"), arm, pair, late_us[late_us.len() * 99 / 100], "us")
}

/// In a thread of its own, whose policy and nice value end with it.
fn in_thread(prepare: fn() -> std::io::Result<()>) -> Result<Vec<f64>> {
    let thread = std::thread::spawn(move || -> Result<Vec<f64>> {
        prepare()?;
        lateness()
    });
    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the sleeping thread panicked")))
}

fn nice_lateness() -> Result<Vec<f64>> {
    in_thread(|| {
        // SAFETY: no pointers; 0 is the calling thread.
        match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, Setting::migratable().nice) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    })
}

fn migratable_lateness() -> Result<Vec<f64>> {
    in_thread(|| make_migratable(0))
}

/// From when each sleep was to end until the task ran, us, in order.
fn lateness() -> Result<Vec<f64>> {
    let mut late_us = Vec::with_capacity(NR_WAKEUPS);
    for _ in 0..NR_WAKEUPS {
        let until_ns = now_ns() + SLEEP.as_nanos() as i64;
        let until = libc::timespec { tv_sec: until_ns / 1_000_000_000, tv_nsec: until_ns % 1_000_000_000 };
        // SAFETY: until outlives the call; nobody wants to know what is left.
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
