//! Processes that share memory are found, and `--policy auto` keeps them on one node.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use libbpf_rs::query::ProgInfoIter;
use scx_vnuma::report::LinksReport;

use crate::guest::talkers::{Talk, Talkers, SHARED_BYTES};
use crate::guest::workers::{Setting, Worker};
use crate::guest::{placement, wait_for, Scheduler};

const AUTO: [&str; 2] = ["--policy", "auto"];
/// They are read every five seconds, and clusters are looked for every ten.
const PATIENCE: Duration = Duration::from_secs(60);

/// Work of a turn: of pairs that do little else than talk, and of pairs that work.
const CHATTY: u32 = 500;
const WORKING: u32 = 20_000;

/// The node of each of a pair.
fn nodes_of(talkers: &Talkers) -> Result<[u32; 2]> {
    let [a, b] = talkers.pids.map(placement);
    Ok([a?.context("a talker has no placement")?, b?.context("a talker has no placement")?])
}

fn are_together(talkers: &Talkers) -> Result<bool> {
    let [a, b] = nodes_of(talkers)?;
    Ok(a == b)
}

/// What `scx_vnuma links --json` prints.
fn links() -> Result<LinksReport> {
    let output = Command::new("scx_vnuma").args(["links", "--json"]).output().context("running scx_vnuma links")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scx_vnuma links ended with {}: {stderr}", output.status);
    serde_json::from_slice(&output.stdout).context("scx_vnuma links printed no JSON")
}

fn pairs_of(report: &LinksReport) -> BTreeSet<(u32, u32)> {
    report.links.iter().map(|pair| (pair.a.group as u32, pair.b.group as u32)).collect()
}

/// Two pairs, each on two nodes, and work that shares nothing: it sleeps and wakes up, by timers that interrupt the pairs.
struct Scene {
    pairs: [Talkers; 2],
    hogs: Vec<Worker>,
}

impl Scene {
    fn start() -> Result<Self> {
        let hogs = Worker::start_many(2, &Setting { in_bursts: true, ..Setting::migratable() })?;
        let pairs = [Talkers::start(Talk::Pipes, [0, 1], CHATTY)?, Talkers::start(Talk::SharedMemory, [2, 3], CHATTY)?];
        Ok(Scene { pairs, hogs })
    }

    fn expected(&self) -> BTreeSet<(u32, u32)> {
        self.pairs.iter().map(Talkers::pair).collect()
    }

    /// Waits until all of it is migratable.
    fn wait_until_placed(&self) -> Result<()> {
        wait_for("all work is migratable", Duration::from_secs(20), || {
            Ok(self.hogs.iter().all(Worker::is_migratable))
        })?;
        wait_for("the talkers are placed", Duration::from_secs(20), || {
            Ok(self.pairs.iter().all(|it| nodes_of(it).is_ok()))
        })?;
        Ok(())
    }
}

pub fn sharers_are_found_and_brought_together() -> Result<String> {
    let mut scheduler = Scheduler::start(&AUTO)?;
    let scene = Scene::start()?;
    scene.wait_until_placed()?;
    let began = Instant::now();
    let before: Vec<[u32; 2]> = scene.pairs.iter().map(nodes_of).collect::<Result<_>>()?;
    ensure!(before.iter().all(|[a, b]| a != b), "the pairs start on nodes {before:?}");
    wait_for("the pairs are brought together", PATIENCE, || {
        let are_known = links()?.links.iter().filter(|pair| pair.is_in_cluster).count() == scene.pairs.len();
        Ok(are_known && are_together(&scene.pairs[0])? && are_together(&scene.pairs[1])?)
    })?;
    let together_s = began.elapsed().as_secs_f64();
    wait_for("the mapping is found", PATIENCE, || {
        let report = links()?;
        Ok(report.links.iter().any(|pair| pair.shared_bytes as usize >= SHARED_BYTES))
    })?;
    std::thread::sleep(Duration::from_secs(10));
    for pair in &scene.pairs {
        ensure!(are_together(pair)?, "a pair was split again: {:?}", nodes_of(pair)?);
    }

    let report = links()?;
    let (found, expected) = (pairs_of(&report), scene.expected());
    ensure!(found == expected, "the pairs are {expected:?}, and links names {found:?}: {}", report.text());
    let memory = report.links.iter().find(|pair| (pair.a.group as u32, pair.b.group as u32) == scene.pairs[1].pair());
    let memory = memory.context("BUG: the pair was found")?;
    ensure!(memory.signals == ["wakeups", "mapping"], "the signals of the pair with a mapping: {:?}", memory.signals);
    ensure!(report.links.iter().all(|pair| pair.is_in_cluster), "{}", report.text());
    let log = scheduler.end(libc::SIGTERM)?;
    ensure!(log.contains("share memory and are kept together"), "no log line names the cluster");
    let rates: Vec<String> = report.links.iter().map(|pair| format!("{:.0}", pair.wakeups_per_s)).collect();
    Ok(format!(
        "from nodes {before:?}, together after {together_s:.0} s; {} wakeups/s; recall and precision 1 of {} pairs",
        rates.join(" and "),
        expected.len()
    ))
}

pub fn without_links_sharers_stay_where_they_are() -> Result<String> {
    const CALM: Duration = Duration::from_secs(25);
    let _scheduler = Scheduler::start(&["--policy", "auto", "--no-links"])?;
    let scene = Scene::start()?;
    scene.wait_until_placed()?;
    std::thread::sleep(CALM);
    let nodes: Vec<[u32; 2]> = scene.pairs.iter().map(nodes_of).collect::<Result<_>>()?;
    ensure!(nodes.iter().all(|[a, b]| a != b), "the pairs are on nodes {nodes:?}");
    let report = links()?;
    ensure!(!report.is_on && report.links.is_empty(), "{}", report.text());
    Ok(format!("on nodes {nodes:?} for {} s", CALM.as_secs()))
}

/// What sensing costs beside the work that it watches. What sampling adds to the callback is only shown: the run times of BPF
/// programs are wall time, in which an emulated CPU may not run at all.
pub fn reading_the_signals_costs_less_than_a_hundredth_of_the_work() -> Result<String> {
    const SHARE_MAX: f64 = 0.01;
    const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
    std::fs::write(STATS, "1").context(STATS)?;
    let outcome = [&["--policy", "auto", "--no-links"][..], &AUTO].map(cost_of);
    std::fs::write(STATS, "0").context(STATS)?;
    let [without, with] = outcome;
    let (without, with) = (without?, with?);
    let sampling_s = (with.each_ns - without.each_ns).max(0.0) * with.nr_wakeups / 1e9;
    let (sampling, thread) = (sampling_s / with.work_s, with.thread_s / with.work_s);
    let said = format!(
        "of the work's {:.1} s: the thread {:.4}, sampling {sampling:.4} ({:.0} ns a wakeup with, {:.0} without, {:.0} wakeups/s)",
        with.work_s,
        thread,
        with.each_ns,
        without.each_ns,
        with.nr_wakeups / WINDOW.as_secs_f64()
    );
    ensure!(with.thread_s > 0.0 && with.nr_wakeups > 0.0, "nothing was measured: {said}");
    ensure!(thread <= SHARE_MAX, "{said}");
    Ok(said)
}

const WINDOW: Duration = Duration::from_secs(15);

struct Cost {
    /// Mean run time of the callback that samples wakeups.
    each_ns: f64,
    nr_wakeups: f64,
    /// CPU time of the daemon's thread for sharing.
    thread_s: f64,
    /// CPU time of the work.
    work_s: f64,
}

/// Pairs that are together, so that nothing moves meanwhile.
fn cost_of(args: &[&str]) -> Result<Cost> {
    let scheduler = Scheduler::start(args)?;
    let pairs = [Talkers::start(Talk::Pipes, [0, 0], WORKING)?, Talkers::start(Talk::SharedMemory, [1, 1], WORKING)?];
    std::thread::sleep(Duration::from_secs(8));
    let read = || -> Result<[f64; 4]> {
        let select_cpu = ProgInfoIter::default().find(|program| program.name.to_string_lossy() == "vnuma_select_cp");
        let select_cpu = select_cpu.or_else(|| {
            ProgInfoIter::default().find(|program| program.name.to_string_lossy().starts_with("vnuma_select_cpu"))
        });
        let select_cpu = select_cpu.context("the callback select_cpu is not loaded")?;
        let work_s = pairs.iter().flat_map(|pair| pair.pids).map(cpu_time_s).sum::<Result<f64>>()?;
        let thread_s = thread_time_s(scheduler.pid(), "sharing")?;
        Ok([select_cpu.run_time_ns as f64, select_cpu.run_cnt as f64, thread_s, work_s])
    };
    let before = read()?;
    std::thread::sleep(WINDOW);
    let now = read()?;
    let [run_ns, nr_wakeups, thread_s, work_s] = std::array::from_fn(|nr| now[nr] - before[nr]);
    Ok(Cost { each_ns: run_ns / nr_wakeups.max(1.0), nr_wakeups, thread_s, work_s })
}

/// The first figure in a `schedstat` file: time on a CPU, ns.
fn schedstat_s(path: &str) -> Result<f64> {
    let text = std::fs::read_to_string(path).context(path.to_string())?;
    let ns = text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
    Ok(ns.with_context(|| format!("{path} has no figures"))? as f64 / 1e9)
}

fn cpu_time_s(pid: i32) -> Result<f64> {
    schedstat_s(&format!("/proc/{pid}/schedstat"))
}

/// The CPU time of a process's thread of this name; 0 if there is none.
pub(super) fn thread_time_s(pid: i32, name: &str) -> Result<f64> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        if std::fs::read_to_string(path.join("comm"))?.trim() == name {
            return schedstat_s(&path.join("schedstat").to_string_lossy());
        }
    }
    Ok(0.0)
}
