//! Logs, maps, the monitor, metrics and `explain` agree with each other.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use scx_vnuma::decision_log::LogReader;

use super::moving::wait_until_work_runs;
use crate::guest::workers::{Setting, Worker};
use crate::guest::{destination, hog_node_until_seen, node_stats, nr_nodes, target, wait_for, Scheduler};

pub fn the_pinned_target_agrees_with_the_log() -> Result<String> {
    let _workers = Worker::start_many(4, &Setting::migratable())?;
    let decisions = "/tmp/decisions.jsonl";
    let scheduler = Scheduler::start(&["--policy", "coarse", "--interval", "500ms", "--log", decisions])?;
    std::thread::sleep(Duration::from_secs(2));
    hog_node_until_seen(target()?.destination.first as u32)?;
    wait_for("the plan changes", Duration::from_secs(5), || Ok(target()?.epoch == 1))?;
    // The line is written right after the retarget.
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
    Ok(format!("epoch 1, first {to}"))
}

pub fn every_round_is_replayed() -> Result<String> {
    let _workers = Worker::start_many(4, &Setting::migratable())?;
    let decisions = "/tmp/replayed.jsonl";
    // Every round moves something.
    let args = ["--policy", "rotate", "--no-guards", "--interval", "200ms", "--log", decisions];
    let mut scheduler = Scheduler::start(&args)?;
    wait_for("ten plans are made", Duration::from_secs(30), || Ok(target()?.epoch >= 10))?;
    scheduler.end(libc::SIGTERM)?;
    let nr_rounds = LogReader::new(BufReader::new(File::open(decisions)?))?.collect::<Result<Vec<_>, _>>()?.len();
    let replay = Command::new("vnuma-sim").args(["replay", decisions, "--policy", "fine", "--json"]).output()?;
    let said = String::from_utf8_lossy(&replay.stderr);
    ensure!(replay.status.success(), "vnuma-sim replay ended with {}: {said}", replay.status);
    let nr_replayed = String::from_utf8_lossy(&replay.stdout).lines().count();
    ensure!(nr_rounds >= 10 && nr_replayed == nr_rounds, "of {nr_rounds} rounds {nr_replayed} were replayed: {said}");
    Ok(format!("{nr_rounds} rounds of rotate, decided by fine"))
}

/// The destinations of the rounds that moved something, from the decision log.
fn decided_moves(path: &str) -> Result<Vec<String>> {
    let mut rounds = LogReader::new(BufReader::new(File::open(path)?))?.collect::<Result<Vec<_>, _>>()?;
    rounds.retain(|round| !round.plan.moves.is_empty());
    Ok(rounds.iter().filter_map(|round| round.plan.first).map(|node| node.to_string()).collect())
}

pub fn rounds_cause_no_page_faults() -> Result<String> {
    let workers = Worker::start_many(4, &Setting::migratable())?;
    let scheduler = Scheduler::start(&["--policy", "coarse", "--interval", "200ms"])?;
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

const HALF_A_SECOND: &str = "500ms";

const NR_WORKERS: usize = 4;
const WORKER_BYTES: usize = 8 << 20;
/// The workers' memory, less the pages that the kernel has not added to its counters yet.
const MOVED_MIB_MIN: f64 = 0.9 * NR_WORKERS as f64 * (WORKER_BYTES >> 20) as f64;

/// Migratable work with memory that moves along: a forked child has its parent's pages.
fn start_workers_with_memory() -> Result<Vec<Worker>> {
    let pages = std::hint::black_box(vec![1u8; WORKER_BYTES]);
    let workers = Worker::start_many(NR_WORKERS, &Setting::migratable());
    drop(pages);
    workers
}

/// Lets work run on two nodes and exit, after which no counter changes. Waits until a round has seen that.
fn work_moves_and_ends() -> Result<()> {
    let workers = start_workers_with_memory()?;
    wait_until_work_runs()?;
    let epoch = target()?.epoch;
    hog_node_until_seen(destination()?)?;
    wait_for("the plan changes", Duration::from_secs(10), || Ok(target()?.epoch > epoch))?;
    wait_until_work_runs()?;
    drop(workers);
    std::thread::sleep(Duration::from_secs(2));
    Ok(())
}

/// Run time by node, ms, from the pinned map.
fn run_ms() -> Result<Vec<u64>> {
    (0..nr_nodes()).map(|node| Ok(node_stats(node)?.run_ns / 1_000_000)).collect()
}

pub fn monitor_shows_what_the_maps_say() -> Result<String> {
    let scheduler = Scheduler::start(&["--policy", "coarse", "--interval", HALF_A_SECOND, "--stats", "1"])?;
    work_moves_and_ends()?;
    let mut monitor = Scheduler::spawn(&["--monitor", "0.5"])?;
    // The last line of a node; its first word is its number, with a star at the destination's.
    let shown = |node: u32| -> Result<Option<Vec<String>>> {
        let name = node.to_string();
        let words = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        let log = monitor.log()?;
        let line =
            log.lines().map(words).rfind(|words| words.first().is_some_and(|it| it.trim_end_matches('*') == name));
        Ok(line)
    };
    wait_for("all nodes are shown", Duration::from_secs(10), || Ok(shown(nr_nodes() - 1)?.is_some()))?;
    let log = monitor.log()?;
    let heading = log.lines().find(|line| line.contains(" run_ms ")).context("no column run_ms")?;
    let column = heading.split_whitespace().position(|word| word == "run_ms").context("BUG: it was there")?;
    for (node, run_ms) in (0..).zip(run_ms()?) {
        let line = shown(node)?.with_context(|| format!("node {node} is not shown"))?;
        ensure!(line.get(column) == Some(&run_ms.to_string()), "the map says {run_ms} ms, the monitor: {line:?}");
        let is_marked = line[0].ends_with('*');
        ensure!(is_marked == (destination()? == node), "the map says {}, the monitor: {line:?}", destination()?);
    }
    monitor.end(libc::SIGINT)?;
    let own = scheduler.log()?;
    let blocks = own.lines().filter(|line| line.starts_with("  migratable ")).count();
    ensure!(blocks >= 3, "--stats 1 printed {blocks} times: {own}");
    Ok(format!("destination {} and run times {:?} ms; --stats 1 printed {blocks} times", destination()?, run_ms()?))
}

/// Sends a GET request and returns the head and the body of the answer.
pub(super) fn get(address: &str, path: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    Ok((head.to_string(), body.to_string()))
}

pub(super) fn sample(page: &str, series: &str) -> Result<f64> {
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.with_context(|| format!("no {series} in:\n{page}"))?.parse().context(series.to_string())
}

pub fn metrics_are_openmetrics() -> Result<String> {
    const ADDRESS: &str = "127.0.0.1:9100";
    let _scheduler = Scheduler::start(&["--policy", "coarse", "--interval", HALF_A_SECOND, "--metrics", "9100"])?;
    work_moves_and_ends()?;

    let (head, page) = get(ADDRESS, "/metrics")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    ensure!(head.contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0"), "{head}");
    ensure!(page.ends_with("\n# EOF\n"), "the page ends with: {}", page.lines().last().unwrap_or_default());
    ensure!(sample(&page, "scx_vnuma_destination")? == f64::from(destination()?), "the map says {}", destination()?);
    for (node, run_ms) in (0..).zip(run_ms()?) {
        let shown_s = sample(&page, &format!("scx_vnuma_node_run_seconds_total{{node=\"{node}\"}}"))?;
        ensure!((shown_s - run_ms as f64 / 1e3).abs() < 1e-6, "node {node}: {shown_s} s, by the map {run_ms} ms");
    }
    let moved_bytes = sample(&page, "scx_vnuma_moved_bytes_total")?;
    ensure!(moved_bytes / 1048576.0 >= MOVED_MIB_MIN, "a move took along {moved_bytes} bytes");

    // Clients that hang delay no round, and other clients' answers only briefly.
    let mut hanging = (0..20).map(|_| TcpStream::connect(ADDRESS)).collect::<Result<Vec<_>, _>>()?;
    hanging.iter_mut().try_for_each(|stream| stream.write_all(b"GET /met"))?;
    let rounds_before = sample(&page, "scx_vnuma_rounds_total")?;
    std::thread::sleep(Duration::from_secs(5));
    let rounds = sample(&get(ADDRESS, "/metrics")?.1, "scx_vnuma_rounds_total")? - rounds_before;
    ensure!(rounds >= 8.0, "{rounds} rounds of {HALF_A_SECOND} in 5 s while clients hang");

    let mut second = Scheduler::spawn(&["--metrics", "9100"])?;
    wait_for("a second one on that port gives up", Duration::from_secs(30), || Ok(!second.is_alive()?))?;
    let said = second.log()?;
    ensure!(said.contains("--metrics 127.0.0.1:9100") && said.lines().count() == 1, "it said: {said}");
    Ok(format!("{} samples, {moved_bytes} bytes moved", page.lines().filter(|line| !line.starts_with('#')).count()))
}

fn explain() -> Result<(bool, String)> {
    let output = Command::new("scx_vnuma").args(["explain", "-n", "5"]).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

pub fn explain_shows_the_last_moves() -> Result<String> {
    let (succeeded, said) = explain()?;
    ensure!(!succeeded && said.contains("no scx_vnuma is running") && said.lines().count() == 1, "it said: {said}");

    let _workers = start_workers_with_memory()?;
    let _scheduler = Scheduler::start(&["--policy", "coarse", "--interval", HALF_A_SECOND])?;
    wait_until_work_runs()?;
    let from = destination()?;
    hog_node_until_seen(from)?;
    wait_for("the plan changes", Duration::from_secs(10), || Ok(destination()? != from))?;
    let to = destination()?;
    let what = format!("epoch 1: move from node {from} to {to}\n");
    let mut explained = String::new();
    wait_for("explain shows the move, and a decision before or after it", Duration::from_secs(5), || {
        explained = explain()?.1;
        Ok(explained.contains(&what) && explained.split("\n\n").count() > 1)
    })?;
    let decision = explained.split("\n\n").find(|decision| decision.contains(&what)).context("BUG: it was there")?;
    let number_before =
        |end: &str, line: &str| -> Option<f64> { line.split(end).next()?.rsplit(' ').next()?.parse().ok() };
    let seen = decision.lines().find(|line| line.contains(&format!(" node {from}: others take ")));
    let seen = seen.with_context(|| format!("node {from} was not seen: {decision}"))?;
    let pressure_pct = number_before(" % (", seen).with_context(|| format!("no pressure: {seen}"))?;
    ensure!(pressure_pct >= 5.0 && seen.contains("steal "), "what made it move: {seen}");
    let moves = decision.lines().find(|line| line.starts_with(&format!("  moves    node {from}: others take ")));
    let moves = moves.with_context(|| format!("no reason for the move: {decision}"))?;
    let mib = number_before(" MiB move", moves).with_context(|| format!("no memory: {moves}"))?;
    ensure!(mib >= MOVED_MIB_MIN, "{moves}");
    ensure!(decision.contains("\n  done     "), "{decision}");
    Ok(format!("{from}->{to} at {pressure_pct} %, {mib} MiB"))
}
