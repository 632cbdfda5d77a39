//! Which pages scheduling makes travel: the same work under the fair class and under scx_vnuma, as phases of the record.
//!
//! The name of a phase ends with the number of its operations, such as `x200`, which the report divides by.

use std::io::{pipe, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use vnuma_dsm::mark::begin_phase;

use super::naming;
use crate::guest::workers::{BoundTo, Setting, Worker};
use crate::guest::{wait_for, Scheduler};

const SLEEPERS: usize = 400;
const IDLE_ROUNDS: u32 = 20;
const INTERVAL: Duration = Duration::from_millis(500);
const WAKEUPS: u32 = 1000;
const YIELDS: u32 = 2000;
const PROCESSES: u32 = 50;
const PAGES: usize = 1024;
/// The node that work is bound to: not the first, where the kernel's own work tends to be.
const NODE: u32 = 1;

/// Prints what a page of another node costs on this machine, beside a copy of a page, a switch, a wakeup and a process, under the
/// fair class.
pub fn costs() -> Result<()> {
    let (first, second) = read_what_another_node_wrote()?;
    let each = |took: Duration, nr: usize| took.as_secs_f64() * 1e6 / nr as f64;
    println!("a page that another node wrote: {:.2} us", each(first, PAGES));
    println!("the same page again: {:.2} us", each(second, PAGES));
    let timed = |what: &str, nr: u32, work: &dyn Fn() -> Result<()>| -> Result<()> {
        let start = Instant::now();
        work()?;
        println!("{what}: {:.2} us", each(start.elapsed(), nr as usize));
        Ok(())
    };
    timed("a switch on one CPU", 2 * YIELDS, &yield_to_each_other)?;
    timed("a wakeup within a node", 2 * WAKEUPS, &|| wake_each_other([NODE, NODE]))?;
    timed("a wakeup of the other node", 2 * WAKEUPS, &|| wake_each_other([NODE, NODE + 1]))?;
    let _bound = BoundTo::node(NODE)?;
    timed("a process that ends at once", PROCESSES, &start_processes)
}

/// Reads memory that a thread of another node has written, twice. Returns how long each took.
fn read_what_another_node_wrote() -> Result<(Duration, Duration)> {
    let mut memory = vec![1_u8; PAGES * 4096];
    let written = std::thread::spawn(move || -> Result<Vec<u8>> {
        let _bound = BoundTo::node(NODE)?;
        memory.fill(2);
        Ok(memory)
    });
    let memory = written.join().ok().context("a thread panicked")??;
    let _bound = BoundTo::node(NODE + 1)?;
    let mut copy = vec![1_u8; PAGES * 4096];
    let mut pass = || {
        let start = Instant::now();
        copy.copy_from_slice(std::hint::black_box(&memory));
        std::hint::black_box(&copy);
        start.elapsed()
    };
    // The copy's own pages are this node's, but for those that the kernel had cleared elsewhere.
    Ok((pass(), pass()))
}

/// Runs the work under the fair class, then under scx_vnuma without and with probes, and names the pages of the record.
pub fn run(record: &Path, names: &Path) -> Result<()> {
    be_nice()?;
    work("fair")?;
    for (arm, options) in [("vnuma", &["--no-probe"][..]), ("vnuma, probes", &[])] {
        begin_phase("start");
        let interval = format!("{}ms", INTERVAL.as_millis());
        let arguments = [&["--interval", &interval, "--start-node", "1"], options].concat();
        let _scheduler = Scheduler::start(&arguments)?;
        work(arm)?;
        begin_phase("name");
        // The plugin writes the record after the mark.
        std::thread::sleep(Duration::from_secs(1));
        // While the scheduler's own memory is there.
        naming::run(record, names, &["scx_vnuma".to_string()])?;
        begin_phase("stop");
    }
    Ok(())
}

fn work(arm: &str) -> Result<()> {
    idle(&format!("{arm}: idle"));
    {
        let asleep = Worker::start_many(SLEEPERS, &Setting { asleep: true, ..Setting::migratable() })?;
        if arm != "fair" {
            let all = || Ok(asleep.iter().all(Worker::is_migratable));
            wait_for("sleepers become migratable", Duration::from_secs(120), all)?;
        }
        idle(&format!("{arm}: {SLEEPERS} asleep"));
    }
    std::thread::sleep(Duration::from_secs(1));
    begin_phase(&format!("{arm}: wakeups within a node x{}", 2 * WAKEUPS));
    wake_each_other([NODE, NODE])?;
    begin_phase(&format!("{arm}: wakeups between nodes x{}", 2 * WAKEUPS));
    wake_each_other([NODE, NODE + 1])?;
    begin_phase(&format!("{arm}: switches x{}", 2 * YIELDS));
    yield_to_each_other()?;
    begin_phase(&format!("{arm}: processes on a node x{PROCESSES}"));
    {
        let _bound = BoundTo::node(NODE)?;
        start_processes()?;
    }
    begin_phase(&format!("{arm}: processes anywhere x{PROCESSES}"));
    start_processes()?;
    begin_phase("between");
    Ok(())
}

/// Does nothing for as long as so many rounds of the daemon take, once everything has calmed down.
fn idle(name: &str) {
    std::thread::sleep(4 * INTERVAL);
    begin_phase(&format!("{name} x{IDLE_ROUNDS}"));
    std::thread::sleep(INTERVAL * IDLE_ROUNDS);
    begin_phase("between");
}

/// Two threads, each on its node, that wake each other by pipes.
fn wake_each_other(nodes: [u32; 2]) -> Result<()> {
    let ((mut from_first, mut to_second), (mut from_second, mut to_first)) = (pipe()?, pipe()?);
    let second = std::thread::spawn(move || -> Result<()> {
        be_nice()?;
        let _bound = BoundTo::node(nodes[1])?;
        for _ in 0..WAKEUPS {
            from_first.read_exact(&mut [0])?;
            to_first.write_all(&[0])?;
        }
        Ok(())
    });
    let _bound = BoundTo::node(nodes[0])?;
    for _ in 0..WAKEUPS {
        to_second.write_all(&[0])?;
        from_second.read_exact(&mut [0])?;
    }
    joined(second)
}

/// Two threads on one CPU that yield to each other.
fn yield_to_each_other() -> Result<()> {
    let yielding = || -> Result<()> {
        be_nice()?;
        let _bound = BoundTo::node(NODE)?;
        (0..YIELDS).for_each(|_| std::thread::yield_now());
        Ok(())
    };
    let second = std::thread::spawn(yielding);
    yielding()?;
    joined(second)
}

fn joined(thread: std::thread::JoinHandle<Result<()>>) -> Result<()> {
    thread.join().ok().context("a thread panicked")?
}

/// Processes that end at once.
fn start_processes() -> Result<()> {
    for _ in 0..PROCESSES {
        let status = Command::new("true").stdin(Stdio::null()).status().context("starting true")?;
        ensure!(status.success(), "true ended with {status}");
    }
    Ok(())
}

/// Makes this thread what the default selectors match.
fn be_nice() -> Result<()> {
    // SAFETY: a system call without pointers.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, Setting::migratable().nice) } != 0;
    ensure!(!failed, "setting the nice value: {}", std::io::Error::last_os_error());
    Ok(())
}
