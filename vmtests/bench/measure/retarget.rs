//! Sending all migratable work to another node: a change of plan, against a change of each task's affinity.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use super::Extent;
use crate::guest::workers::{thread_ids, Setting, Worker};
use crate::guest::{destination, node_cpus, node_stats, wait_for, Scheduler};

const NR_RUNNING: usize = 4;
const THREADS: usize = 100;
const INTERVAL: Duration = Duration::from_secs(2);
/// Number of tasks that are moved by running `taskset`; the cost for the rest is extrapolated. Starting a program takes long in
/// an emulated machine.
const TASKSETS_MAX: usize = 20;
const TASKSETS: &str = "taskset loop (reckoned from 20)";

pub fn measure(extent: &Extent) -> Result<()> {
    // The default is bounded by the memory that kernel stacks may take, which is too little in a small guest.
    std::fs::write("/proc/sys/kernel/threads-max", "20000").context("raising kernel.threads-max")?;
    extent.task_counts.iter().try_for_each(|&nr_asleep| measure_task_count(nr_asleep, extent.pairs))
}

fn measure_task_count(nr_asleep: usize, pairs: u32) -> Result<()> {
    let name = format!("retarget, {nr_asleep} asleep and {NR_RUNNING} running");
    let nr_threads = nr_asleep.min(THREADS);
    let sleeper = Setting { nr_threads: nr_threads as u32, asleep: true, ..Setting::migratable() };
    let asleep = Worker::start_many(nr_asleep / nr_threads, &sleeper)?;
    let is_there = || Ok(thread_ids(&asleep)?.len() == nr_asleep);
    wait_for("all sleeping tasks are there", Duration::from_secs(120), is_there)?;
    let running = Worker::start_many(NR_RUNNING, &Setting::migratable())?;

    ours(&name, &running, pairs)?;
    let tids = [thread_ids(&running)?, thread_ids(&asleep)?].concat();
    let some: Vec<i32> = tids.iter().copied().step_by(tids.len().div_ceil(TASKSETS_MAX)).collect();
    for pair in 0..pairs {
        let (to, back) = (node_cpus(pair % 2)?, node_cpus(1 - pair % 2)?);
        // With both, every task is on its new node afterwards: the kernel moves it before the call returns.
        let cost = Cost::of(|| tids.iter().try_for_each(|&tid| set_affinity(tid, &to)))?;
        print(&name, "sched_setaffinity loop", pair, &cost)?;
        let cost = Cost::of(|| some.iter().try_for_each(|&tid| taskset(tid, &back)))?;
        let whole = cost.times(tids.len() as f64 / some.len() as f64);
        print(&name, TASKSETS, pair, &whole)?;
    }
    Ok(())
}

fn print(name: &str, arm: &str, pair: u32, cost: &Cost) -> Result<()> {
    super::print(&format!("{name}, CPU time"), arm, pair, cost.cpu.as_secs_f64() * 1e6, "us")?;
    super::print(&format!("{name}, until all run there"), arm, pair, cost.wall.as_secs_f64() * 1e3, "ms")
}

/// Measures changes of plan. The CPU time is the daemon's own count.
fn ours(name: &str, running: &[Worker], pairs: u32) -> Result<()> {
    let interval = format!("{}s", INTERVAL.as_secs());
    let scheduler = Scheduler::start(&["--policy", "rotate", "--no-guards", "--interval", &interval, "-v"])?;
    wait_for("all become migratable", Duration::from_secs(60), || Ok(running.iter().all(Worker::is_migratable)))?;
    std::thread::sleep(INTERVAL);
    let mut walls = Vec::new();
    for _ in 0..pairs {
        walls.push(time_until_moved()?);
    }
    let log = scheduler.log()?;
    let moves = log.lines().filter(|line| line.contains(": move from node "));
    let cpu_us = moves.map(|line| line.rsplit(' ').nth(1).and_then(|us| us.parse().ok()));
    let cpu_us: Vec<f64> = cpu_us.collect::<Option<_>>().context("a move without its cost in the log")?;
    ensure!(cpu_us.len() >= walls.len(), "{} moves in the log: {log}", cpu_us.len());
    for ((pair, wall), cpu_us) in (0..).zip(walls).zip(cpu_us) {
        let cpu = Duration::from_secs_f64(cpu_us / 1e6);
        print(name, "scx_vnuma", pair, &Cost { cpu, wall })?;
    }
    Ok(())
}

/// The time from the next change of plan until migratable work last ran on its old node. The result may be a few ms too long,
/// but is never too short.
fn time_until_moved() -> Result<Duration> {
    const SETTLED: Duration = Duration::from_millis(500);
    let from = destination()?;
    // When the old plan was last seen.
    let mut began = Instant::now();
    wait_for("the plan changes", INTERVAL * 10, || {
        let looked = Instant::now();
        let has_changed = destination()? != from;
        if !has_changed {
            began = looked;
        }
        Ok(has_changed)
    })?;
    let mut last = (node_stats(from)?.run_ns, Instant::now());
    while last.1.elapsed() < SETTLED {
        let run_ns = node_stats(from)?.run_ns;
        if run_ns != last.0 {
            last = (run_ns, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(last.1 - began)
}

struct Cost {
    cpu: Duration,
    wall: Duration,
}

impl Cost {
    /// CPU time of this thread and of the programs that it runs.
    fn of(action: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (cpu, began) = (cpu_time(), Instant::now());
        action()?;
        Ok(Cost { cpu: cpu_time() - cpu, wall: began.elapsed() })
    }

    fn times(&self, factor: f64) -> Self {
        Cost { cpu: self.cpu.mul_f64(factor), wall: self.wall.mul_f64(factor) }
    }
}

fn cpu_time() -> Duration {
    let used = |who| {
        // SAFETY: rusage is plain data, which the kernel fills in.
        let usage = unsafe {
            let mut usage = std::mem::zeroed::<libc::rusage>();
            libc::getrusage(who, &mut usage);
            usage
        };
        let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
        time(usage.ru_utime) + time(usage.ru_stime)
    };
    used(libc::RUSAGE_THREAD) + used(libc::RUSAGE_CHILDREN)
}

fn set_affinity(tid: i32, cpus: &[u32]) -> Result<()> {
    // SAFETY: a bit mask, for which all bits 0 is valid; CPU_SET checks its bounds; the call only reads it.
    let failed = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        cpus.iter().for_each(|&cpu| libc::CPU_SET(cpu as usize, &mut set));
        libc::sched_setaffinity(tid, size_of_val(&set), &set) != 0
    };
    ensure!(!failed, "sched_setaffinity of {tid}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Changes the affinity as the thesis's script does.
fn taskset(tid: i32, cpus: &[u32]) -> Result<()> {
    let list = cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let status = Command::new("taskset").args(["-cp", &list, &tid.to_string()]).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "taskset -cp {list} {tid}: {status}");
    Ok(())
}
