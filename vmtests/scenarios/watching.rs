//! What operators see is true.

use std::fs::File;
use std::io::BufReader;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use scx_vnuma::decision_log::LogReader;

use crate::guest::{hog_node_until_seen, target, wait_for, Scheduler};
use crate::workers::{Setting, Worker};

pub fn the_pinned_target_agrees_with_the_log() -> Result<String> {
    let _workers = Worker::start_many(4, &Setting::migratable())?;
    let decisions = "/tmp/decisions.jsonl";
    let mut scheduler = Scheduler::start(&["--interval", "500ms", "--log", decisions])?;
    std::thread::sleep(Duration::from_secs(2));
    hog_node_until_seen(target()?.destination.first as u32)?;
    wait_for("the plan changes", Duration::from_secs(5), || Ok(target()?.epoch == 1))?;
    // The line is written right after.
    wait_for("the log has it", Duration::from_secs(2), || Ok(scheduler.log()?.contains("epoch 1: move from node ")))?;
    let log = scheduler.log()?;
    let line = log.lines().find(|line| line.contains("epoch 1: ")).context("no line of epoch 1")?;
    let to = line.split(": others").next().and_then(|move_| move_.rsplit(' ').next()).context("no destination")?;

    let mut dump = Command::new("bpftool");
    let output = dump.args(["map", "dump", "pinned", "/sys/fs/bpf/scx_vnuma/target"]).output()?;
    let dump = String::from_utf8_lossy(&output.stdout);
    for expected in ["\"epoch\": 1,", "\"nr_destinations\": 1,", &format!("\"first\": {to},"), "\"second\": -1"] {
        ensure!(dump.contains(expected), "no {expected} in:\n{dump}\nthe log says: {line}");
    }
    let mut dump = Command::new("bpftool");
    let output = dump.args(["map", "dump", "pinned", "/sys/fs/bpf/scx_vnuma/node_stats"]).output()?;
    ensure!(String::from_utf8_lossy(&output.stdout).contains("\"run_ns\": "), "node_stats has no run_ns");
    let moved = decided_moves(decisions)?;
    ensure!(moved == [to], "the decision log has moves to {moved:?}");
    // For `vmtests/run`, which replays it once the guest has ended.
    scheduler.end(libc::SIGTERM)?;
    std::fs::copy(decisions, "/lab/out/decisions.jsonl").context("copying the decision log out of the guest")?;
    Ok(format!("epoch 1, first {to}"))
}

/// The destinations of the rounds that moved something, from the decision log.
fn decided_moves(path: &str) -> Result<Vec<String>> {
    let mut rounds = LogReader::new(BufReader::new(File::open(path)?))?.collect::<Result<Vec<_>, _>>()?;
    rounds.retain(|round| !round.plan.moves.is_empty());
    Ok(rounds.iter().filter_map(|round| round.plan.first).map(|node| node.to_string()).collect())
}

pub fn rounds_cause_no_page_faults() -> Result<String> {
    let workers = Worker::start_many(4, &Setting::migratable())?;
    let scheduler = Scheduler::start(&["--interval", "200ms"])?;
    wait_for("they become migratable", Duration::from_secs(10), || Ok(workers.iter().all(Worker::is_migratable)))?;
    std::thread::sleep(Duration::from_secs(3));
    let faults = || -> Result<u64> {
        let stat = procfs::process::Process::new(scheduler.pid())?.stat()?;
        Ok(stat.minflt + stat.majflt)
    };
    let before = faults()?;
    std::thread::sleep(Duration::from_secs(4));
    let new = faults()? - before;
    ensure!(new == 0, "{new} page faults in 20 rounds");
    Ok("20 rounds, 0 page faults".into())
}
