//! IRQs, workqueues and memory follow the migratable work.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::guest::workers::{Setting, Worker};
use crate::guest::{destination, node_cpus, nr_nodes, wait_for, Affinities, Scheduler};

pub fn irqs_and_workqueues_follow_the_work() -> Result<String> {
    let _worker = Worker::start(&Setting::migratable())?;
    let before = Affinities::read()?;
    let mut scheduler = Scheduler::start(&[
        "--interval",
        "2s",
        "--policy",
        "rotate",
        "--no-guards",
        "--move-irqs",
        "--move-workqueues",
    ])?;
    let mut nr_moved = 0;
    for _ in 0..2 {
        let from = destination()?;
        wait_for("the plan changes", Duration::from_secs(20), || Ok(destination()? != from))?;
        let cpus = node_cpus(destination()?)?;
        wait_for("IRQs and workqueues follow", Duration::from_secs(1), || {
            let now = Affinities::read()?;
            nr_moved = now.irqs.values().filter(|irq_cpus| **irq_cpus == cpus).count();
            Ok(nr_moved > 0 && now.workqueues == cpus)
        })?;
        // An IRQ that does not follow is unchanged: the kernel refused to move it.
        for (irq, now) in &Affinities::read()?.irqs {
            let found = &before.irqs[irq];
            ensure!(*now == cpus || now == found, "IRQ {irq} was on {found:?} and is on {now:?}, not on {cpus:?}");
        }
    }
    let log = scheduler.end(libc::SIGINT)?;
    before.ensure_same()?;
    let balances = std::fs::read_to_string(NoNumaBalancing::FILE).context(NoNumaBalancing::FILE)?.trim() != "0";
    ensure!(balances == log.contains(BALANCES), "kernel.numa_balancing on: {balances}, and the log is: {log}");
    ensure!(nr_moved < before.irqs.len(), "even the timer's IRQ, which is bound to a CPU, seems to have moved");
    Ok(format!("{nr_moved} of {} IRQs", before.irqs.len()))
}

/// The warning of kernel.numa_balancing.
const BALANCES: &str = "kernel.numa_balancing is on";

/// Turns the kernel's NUMA balancing off, and restores it however the scenario ends.
struct NoNumaBalancing(String);

impl NoNumaBalancing {
    const FILE: &'static str = "/proc/sys/kernel/numa_balancing";

    fn new() -> Result<Self> {
        let found = std::fs::read_to_string(Self::FILE).context(Self::FILE)?;
        std::fs::write(Self::FILE, "0").context(Self::FILE)?;
        Ok(NoNumaBalancing(found))
    }
}

impl Drop for NoNumaBalancing {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::FILE, &self.0);
    }
}

pub fn memory_follows_a_process_when_asked() -> Result<String> {
    const MIB: usize = 24;
    let _off = NoNumaBalancing::new()?;
    let worker = Worker::start(&Setting { memory_bytes: MIB << 20, ..Setting::migratable() })?;
    wait_for(
        "its memory is there",
        Duration::from_secs(20),
        || Ok(pages_by_node(&worker)?.iter().sum::<u64>() > 6000),
    )?;
    let args = ["--interval", "4s", "--policy", "rotate", "--no-guards", "--move-memory", "-v"];
    let scheduler = Scheduler::start(&args)?;
    ensure!(!scheduler.log()?.contains(BALANCES), "it warns of what is off: {}", scheduler.log()?);
    let mut figures = Vec::new();
    for _ in 0..2 {
        let from = destination()?;
        wait_for("the plan changes", Duration::from_secs(20), || Ok(destination()? != from))?;
        let to = destination()?;
        let took = wait_for("its memory follows", Duration::from_secs(4), || {
            let pages = pages_by_node(&worker)?;
            Ok(pages[to as usize] * 10 > pages.iter().sum::<u64>() * 9)
        })?;
        figures.push(format!("{from}->{to} in {} ms", took.as_millis()));
    }
    Ok(format!("nine tenths of {MIB} MiB: {}", figures.join(", ")))
}

/// A process's anonymous pages of 4 KiB, by node.
fn pages_by_node(worker: &Worker) -> Result<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{}/numa_maps", worker.pid))?;
    let mut pages = vec![0; nr_nodes() as usize];
    for line in text.lines().filter(|line| line.contains("anon=")) {
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let page_kib: u64 = field("kernelpagesize_kB").and_then(|kib| kib.parse().ok()).unwrap_or(4);
        for (node, pages) in pages.iter_mut().enumerate() {
            let nr: u64 = field(&format!("N{node}")).and_then(|nr| nr.parse().ok()).unwrap_or(0);
            *pages += nr * page_kib / 4;
        }
    }
    Ok(pages)
}
