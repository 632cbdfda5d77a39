//! Memory as a resource: work goes only to a node that has memory for it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::sharing::thread_time_s;
use crate::guest::workers::{BoundTo, Setting, Worker};
use crate::guest::{node_cpus, placement, wait_for, Scheduler};

const MIB: usize = 1 << 20;
/// Memory of each process that has to go.
const WORK_BYTES: usize = 60 * MIB;
/// What is left of the other node's memory: less than that.
const LEFT_BYTES: usize = 30 * MIB;
/// Memory is read every second while there is work, and a move is weighed in each round.
const PATIENCE: Duration = Duration::from_secs(30);
const CALM: Duration = Duration::from_secs(10);
/// Free memory is read every 10 s while there is no work.
const UNTIL_READ: Duration = Duration::from_secs(12);

/// What `scx_vnuma explain --json` says of the last round.
pub(super) fn explained() -> Result<serde_json::Value> {
    let output =
        Command::new("scx_vnuma").args(["explain", "-n", "1", "--json"]).output().context("running explain")?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).context("explain printed no JSON")?;
    let last = said.as_array().and_then(|decisions| decisions.last()).cloned();
    Ok(last.unwrap_or(said))
}

fn free_bytes(node: usize) -> Result<Option<f64>> {
    Ok(explained()?["nodes"][node]["free_bytes"].as_f64())
}

/// Lets these processes run everywhere again.
pub(super) fn unbind(workers: &[Worker]) -> Result<()> {
    let cpus: Vec<u32> = [node_cpus(0)?, node_cpus(1)?].concat();
    for worker in workers {
        let list = cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let pid = worker.pid.to_string();
        ensure!(Command::new("taskset").args(["-pc", &list, &pid]).output()?.status.success(), "taskset failed");
    }
    Ok(())
}

pub(super) fn resident_bytes(worker: &Worker) -> Result<usize> {
    let text = std::fs::read_to_string(Path::new("/proc").join(worker.pid.to_string()).join("statm"))?;
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    Ok(pages.context("statm has no figures")? * 4096)
}

/// How many of these are placed on node 1.
fn nr_on_node_1(workers: &[Worker]) -> Result<usize> {
    let places = workers.iter().map(|worker| placement(worker.pid)).collect::<Result<Vec<_>>>()?;
    Ok(places.into_iter().filter(|place| *place == Some(1)).count())
}

/// Fills node 1 until so little is left that no more work goes there.
fn fill_node_1() -> Result<Vec<Worker>> {
    /// Where earlier scenarios have left caches in use, the kernel takes a part of what is asked for from the other node.
    const TRIES: usize = 4;
    let on_node_1 = Some(node_cpus(1)?[0]);
    let mut fillers = Vec::new();
    for _ in 0..TRIES {
        // Caches count as free, but the kernel would rather go to another node than free them.
        std::fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")?;
        std::thread::sleep(UNTIL_READ);
        let free = free_bytes(1)?.context("free memory is no longer known")? as usize;
        if free < WORK_BYTES {
            return Ok(fillers);
        }
        let setting = Setting {
            cpu: on_node_1,
            asleep: true,
            memory_bytes: free.saturating_sub(LEFT_BYTES),
            ..Setting::default()
        };
        let filler = Worker::start(&setting)?;
        wait_for("the filler has its memory", PATIENCE, || Ok(resident_bytes(&filler)? >= setting.memory_bytes))?;
        fillers.push(filler);
    }
    std::thread::sleep(UNTIL_READ);
    let free = free_bytes(1)?.context("free memory is no longer known")?;
    ensure!(free < WORK_BYTES as f64, "node 1 still has {free} bytes after {TRIES} fillers");
    Ok(fillers)
}

pub fn work_goes_to_a_node_only_when_there_is_memory_for_it() -> Result<String> {
    let scheduler = Scheduler::start(&["--policy", "auto", "--start-node", "0", "--no-links"])?;
    wait_for("free memory is known", PATIENCE, || Ok(free_bytes(0)?.is_some() && free_bytes(1)?.is_some()))?;
    let fillers = fill_node_1()?;

    // Twice the work that node 0 can do, with all of its memory there before it is migratable: what grows later is sent away small.
    let setting = Setting { memory_bytes: WORK_BYTES, ..Setting::default() };
    let workers = {
        let _bound = BoundTo::node(0)?;
        Worker::start_many(4, &setting)?
    };
    wait_for("the work has its memory", PATIENCE, || {
        let bytes = workers.iter().map(resident_bytes).collect::<Result<Vec<_>>>()?;
        Ok(bytes.iter().all(|&bytes| bytes >= WORK_BYTES))
    })?;
    workers.iter().for_each(|worker| worker.renice(Setting::migratable().nice));
    unbind(&workers)?;
    wait_for("memory keeps work where it is", PATIENCE, || {
        Ok(explained()?["bytes"]["nr_no_room"].as_u64().is_some_and(|nr| nr > 0))
    })?;
    std::thread::sleep(CALM);
    let left = free_bytes(1)?.unwrap_or(0.0);
    ensure!(nr_on_node_1(&workers)? == 0, "work of {WORK_BYTES} bytes went to a node with {left} left");

    drop(fillers);
    let took = wait_for("work goes where memory has become free", PATIENCE, || Ok(nr_on_node_1(&workers)? == 2))?;
    let work_s: f64 = workers.iter().map(|worker| Ok(worker.cpu_time()?.as_secs_f64())).sum::<Result<f64>>()?;
    let thread_s = thread_time_s(scheduler.pid(), "residence")?;
    let share = thread_s / work_s;
    // It may take a hundredth, and what comes before there is work. CPU time of an emulated CPU is also time in which the real one
    // does something else, so a single reading may be long.
    ensure!(thread_s > 0.0 && thread_s <= 0.03 * work_s, "reading took {thread_s} s of the work's {work_s} s");
    Ok(format!(
        "with {:.0} MiB left 4 processes of {} MiB stayed for {} s; 2 went {:.1} s after the memory was free; reading took \
         {share:.4} of the work's CPU time",
        left / MIB as f64,
        WORK_BYTES / MIB,
        CALM.as_secs(),
        took.as_secs_f64()
    ))
}
