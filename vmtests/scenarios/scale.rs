//! The cost of the daemon when there are many tasks.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use crate::guest::workers::{Setting, Worker};
use crate::guest::{wait_for, Scheduler};

/// CPU time of all threads of a process so far, ns.
pub fn cpu_ns(pid: i32) -> Result<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        sum += thread_cpu_ns(pid, thread?.file_name().to_string_lossy().parse()?)?;
    }
    Ok(sum)
}

/// CPU time of a thread so far, ns.
pub fn thread_cpu_ns(pid: i32, tid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat"))?;
    Ok(text.split_ascii_whitespace().next().unwrap_or_default().parse()?)
}

pub fn ten_thousand_tasks_cost_little() -> Result<String> {
    const PROCESSES: usize = 50;
    const THREADS: u32 = 200;
    const ROUNDS: u32 = 10;
    let interval = Duration::from_secs(2);
    // The default is bounded by the memory that kernel stacks may take, which is too little here.
    std::fs::write("/proc/sys/kernel/threads-max", "20000").context("raising kernel.threads-max")?;
    let sleepers = Setting { nr_threads: THREADS, asleep: true, ..Setting::migratable() };
    let asleep = Worker::start_many(PROCESSES, &sleepers)?;
    let _busy = Worker::start_many(2, &Setting::migratable())?;
    let nr_tasks = || -> Result<usize> {
        asleep.iter().map(|worker| Ok(std::fs::read_dir(format!("/proc/{}/task", worker.pid))?.count())).sum()
    };
    let all = PROCESSES * THREADS as usize;
    wait_for("all tasks are there", Duration::from_secs(120), || Ok(nr_tasks()? == all))?;
    let scheduler = Scheduler::start(&["--policy", "coarse", "--interval", "2s"])?;
    wait_for("they become migratable", Duration::from_secs(60), || Ok(asleep.iter().all(Worker::is_migratable)))?;
    std::thread::sleep(2 * interval);

    std::fs::write("/proc/sys/kernel/bpf_stats_enabled", "1").context("turning on kernel.bpf_stats_enabled")?;
    let (before, began) = (Cost::of(scheduler.pid())?, Instant::now());
    std::thread::sleep(interval * ROUNDS);
    let wall_ns = began.elapsed().as_nanos() as f64;
    let cost = Cost::of(scheduler.pid())?.since(&before);
    std::fs::write("/proc/sys/kernel/bpf_stats_enabled", "0")?;
    let share = cost.cpu_ns as f64 / wall_ns;
    // The cost of a walk over /proc in each round, on the same machine.
    let walk_ns = proc_walk_ns()? as f64;
    let round_ns = share * interval.as_nanos() as f64;
    let ratio = walk_ns / round_ns;
    ensure!(ratio >= 5.0, "a whole round takes {round_ns:.0} ns of CPU, and a walk over /proc alone {walk_ns:.0} ns");
    Ok(format!(
        "{all} tasks: {:.3} % of a CPU at 2 s rounds ({:.1} ms a round: {:.0} % in the kernel, {:.0} % the iterator's program); \
         a walk over /proc alone takes {:.1} ms, {ratio:.0} times a whole round",
        share * 100.0,
        round_ns / 1e6,
        cost.system_ns as f64 / cost.cpu_ns as f64 * 100.0,
        cost.iterator_ns as f64 / cost.cpu_ns as f64 * 100.0,
        walk_ns / 1e6,
    ))
}

/// CPU time of the daemon so far, ns.
struct Cost {
    cpu_ns: u64,
    /// The part in the kernel, in whole ticks.
    system_ns: u64,
    /// The part in the task iterator's BPF program.
    iterator_ns: u64,
}

impl Cost {
    fn of(pid: i32) -> Result<Self> {
        let ticks = procfs::process::Process::new(pid)?.stat()?.stime;
        let iterator_ns = iterator_ns()?;
        Ok(Cost { cpu_ns: cpu_ns(pid)?, system_ns: ticks * 1_000_000_000 / procfs::ticks_per_second(), iterator_ns })
    }

    fn since(&self, before: &Cost) -> Cost {
        Cost {
            cpu_ns: self.cpu_ns - before.cpu_ns,
            system_ns: self.system_ns - before.system_ns,
            iterator_ns: self.iterator_ns - before.iterator_ns,
        }
    }
}

/// What the kernel counts for the task iterator while kernel.bpf_stats_enabled is on.
fn iterator_ns() -> Result<u64> {
    let output = Command::new("bpftool").args(["prog", "show", "name", "tasks", "-j"]).output()?;
    let programs: serde_json::Value = serde_json::from_slice(&output.stdout).context("reading bpftool's answer")?;
    // bpftool prints one program, or a list.
    let program = programs.get(0).unwrap_or(&programs);
    Ok(program["run_time_ns"].as_u64().unwrap_or(0))
}

/// The CPU time of reading every thread's stat in /proc, as a daemon without a task iterator would, ns.
fn proc_walk_ns() -> Result<u64> {
    let before = cpu_ns(std::process::id() as i32)?;
    let mut nr_tasks = 0;
    for process in procfs::process::all_processes()? {
        for thread in process?.tasks()?.flatten() {
            nr_tasks += usize::from(thread.stat().is_ok());
        }
    }
    ensure!(nr_tasks > 1000, "/proc has only {nr_tasks} tasks");
    Ok(cpu_ns(std::process::id() as i32)? - before)
}
