//! Memory as in a distributed machine: what the hosts count is read, what is learned from it is right, and the daemon makes few pages
//! travel.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use scx_vnuma::cell::NodeId;
use scx_vnuma::sense::DsmCounters;

use super::room::{explained, resident_bytes, unbind};
use super::watching::{get, sample};
use crate::guest::workers::{thread_ids, BoundTo, Setting, Worker};
use crate::guest::{nr_nodes, placement, wait_for, Scheduler};
use crate::pages::serve;

const METRICS: &str = "127.0.0.1:9400";
const MIB: usize = 1 << 20;
/// Memory of the process, and what of it the process writes to all the time: several times what the kernel and the daemon fetch in
/// a few seconds, which varies.
const WORK_BYTES: usize = 320 * MIB;
const HOT_BYTES: usize = 120 * MIB;
const PATIENCE: Duration = Duration::from_secs(90);

fn metric(series: &str) -> Result<f64> {
    sample(&get(METRICS, "/metrics")?.1, series)
}

/// The counts that the daemon has learned of a move: bytes that came, and all bytes of the group.
fn fetched(log: &str) -> Option<(f64, f64)> {
    let line = log.lines().rev().find(|line| line.contains(" fetched "))?;
    let mib = |after: &str| line.split_once(after)?.1.split_whitespace().next()?.parse::<f64>().ok();
    Some((mib(" fetched ")?, mib(" of its ")?))
}

pub fn what_pages_cost_and_moves_fetch_is_learned_from_the_hosts() -> Result<String> {
    // What the daemon, this program and its commands fetch, they fetch where the work comes from: a command that starts elsewhere
    // touches as many pages as the work does.
    let _bound = BoundTo::node(0)?;
    let address = serve::ADDRESS.parse().context("BUG: not an address")?;
    std::thread::spawn(move || serve::run(address, Path::new(serve::FILE)));
    let nodes: Vec<String> = (0..nr_nodes()).map(|node| format!("{node}=http://{}", serve::ADDRESS)).collect();
    // An answer may take most of an interval on emulated CPUs.
    let mut args = vec!["--interval", "2s", "--start-node", "0", "--no-links", "--no-probe", "--metrics", METRICS];
    args.extend(nodes.iter().flat_map(|spec| ["--dsm", spec.as_str()]));
    let mut scheduler = Scheduler::start(&args)?;
    let page_s = || metric("scx_vnuma_page_cost_seconds").ok().filter(|&page_s| page_s > 0.0);
    wait_for("the price of a page is known", PATIENCE, || Ok(page_s().is_some()))?;
    let page_us = page_s().context("the price of a page is no longer known")? * 1e6;
    // A page costs 20 us, and more while the machine's CPU does something else.
    ensure!((19.9..2000.0).contains(&page_us), "a page costs {page_us} us");

    let setting = Setting { memory_bytes: WORK_BYTES, touched_bytes: HOT_BYTES, ..Setting::default() };
    // One only: of what several fetch at once nobody knows whose it is.
    let worker = Worker::start(&setting)?;
    wait_for("the work has its memory", PATIENCE, || Ok(resident_bytes(&worker)? >= WORK_BYTES))?;
    worker.renice(Setting::migratable().nice);
    unbind(std::slice::from_ref(&worker))?;
    wait_for("it is migratable", PATIENCE, || Ok(worker.is_migratable()))?;
    // What comes without a move is known by then.
    std::thread::sleep(Duration::from_secs(20));
    let drained = Command::new("scx_vnuma").args(["drain", "0"]).output().context("running scx_vnuma drain")?;
    ensure!(drained.status.success(), "drain failed: {}", String::from_utf8_lossy(&drained.stderr));
    wait_for("it goes to the other node", PATIENCE, || Ok(placement(worker.pid)? == Some(1)))?;
    let mut learned = None;
    wait_for("what it fetched is known", PATIENCE, || {
        learned = fetched(&scheduler.log()?);
        Ok(learned.is_some())
    })?;
    let (came, all) = learned.context("BUG: it is known")?;
    let faults = explained()?["nodes"][1]["fetched_pages"].as_f64().context("node 1's host tells nothing")?;
    let (hot_mib, all_mib) = ((HOT_BYTES / MIB) as f64, (WORK_BYTES / MIB) as f64);
    let said = format!(
        "a page costs {page_us:.0} us; of {all} MiB a process fetched {came} MiB, and it uses {hot_mib}; {faults} pages came to node 1"
    );
    ensure!(all >= all_mib && all < 1.2 * all_mib, "{said}");
    // The kernel's own pages travel too, by and large as many as before.
    ensure!(came >= 0.8 * hot_mib && came <= 2.0 * hot_mib, "{said}");
    Command::new("scx_vnuma").args(["undrain", "0"]).output().context("running scx_vnuma undrain")?;
    scheduler.end(libc::SIGTERM)?;
    Ok(said)
}

/// Stores and loads so far, of all nodes, for which a page or a right to it had to come.
fn faults_so_far() -> Result<f64> {
    let text = std::fs::read_to_string(serve::FILE).with_context(|| format!("reading {}", serve::FILE))?;
    let of_node = |node| Ok(DsmCounters::parse(&text, NodeId(node))?.faults());
    (0..nr_nodes()).map(of_node).sum()
}

/// Faults in each round, a mean of some.
fn faults_per_round(interval: Duration) -> Result<f64> {
    const NR_ROUNDS: u32 = 5;
    // The plugin writes its counts once a second.
    std::thread::sleep(2 * interval);
    let before = faults_so_far()?;
    std::thread::sleep(interval * NR_ROUNDS);
    Ok((faults_so_far()? - before) / f64::from(NR_ROUNDS))
}

pub fn a_round_makes_no_pages_of_sleeping_tasks_travel() -> Result<String> {
    const PROCESSES: usize = 50;
    const THREADS: u32 = 200;
    const INTERVAL: Duration = Duration::from_secs(2);
    std::fs::write("/proc/sys/kernel/threads-max", "20000").context("raising kernel.threads-max")?;
    let interval = format!("{}s", INTERVAL.as_secs());
    let mut scheduler = Scheduler::start(&["--interval", &interval, "--start-node", "0", "--no-probe"])?;
    let without = faults_per_round(INTERVAL)?;
    let sleepers = Setting { asleep: true, nr_threads: THREADS, ..Setting::migratable() };
    let sleepers = Worker::start_many(PROCESSES, &sleepers)?;
    let all = PROCESSES * THREADS as usize;
    wait_for("all tasks are there", PATIENCE, || Ok(thread_ids(&sleepers)?.len() == all))?;
    wait_for("they become migratable", PATIENCE, || Ok(sleepers.iter().all(Worker::is_migratable)))?;
    std::thread::sleep(2 * INTERVAL);
    let with = faults_per_round(INTERVAL)?;
    scheduler.end(libc::SIGTERM)?;
    let said = format!("faults a round: {without:.0} without and {with:.0} with {all} sleeping tasks");
    // Were a page of each task written, or read after another node wrote it, there would be as many more as there are tasks.
    ensure!(with - without < all as f64 / 10.0, "{said}");
    Ok(said)
}
