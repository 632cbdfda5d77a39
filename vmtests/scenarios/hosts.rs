//! With the hosts' own metrics, work is sent to the idle host, and faulty exporters do not mislead it.
//!
//! The lab's hosts run node_exporter; exporters that report wrong values or die are servers in the guest itself.

use std::fs::File;
use std::io::BufReader;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use scx_vnuma::cell::NodeId;
use scx_vnuma::decision_log::{LogReader, LoggedRound};
use scx_vnuma::sense::{HostSpec, Hosts, Reading};

use super::fake_exporter::{FakeExporter, Says, FAULTS};
use crate::guest::workers::{Setting, Worker};
use crate::guest::{destination, hog, node_cpus, nr_nodes, run_ns_in, steal_ticks, target, wait_for, Scheduler};

const ROUND: Duration = Duration::from_secs(1);
/// The warning that no host answers.
const BLIND: &str = "no node's pressure is known, so nothing moves";
/// Time until a host has answered twice, which the first reading needs.
const FIRST_READING: Duration = Duration::from_secs(20);

/// The value of `--host` for each node, with its CPUs' numbers on the host level.
fn lab_hosts() -> Result<Vec<String>> {
    let host = |node| {
        let cpus: Vec<String> = node_cpus(node)?.iter().map(u32::to_string).collect();
        Ok(format!("{node}=http://10.0.2.2:9100/metrics?cpus={}", cpus.join(",")))
    };
    (0..nr_nodes()).map(host).collect()
}

/// The value of `--host` for a node whose host is a fake exporter.
pub fn liar_host(node: u32, exporter: &FakeExporter) -> String {
    format!("{node}=http://{}", exporter.address())
}

/// Starts scx_vnuma under `coarse` with rounds of 1 s and a host for each node, so that no node is probed.
fn start_with(hosts: &[String], more: &[&str]) -> Result<Scheduler> {
    let mut args = vec!["--policy", "coarse", "--interval", "1s"];
    hosts.iter().for_each(|host| args.extend(["--host", host]));
    Scheduler::start(&[&args, more].concat())
}

/// If each node has a host, nodes are probed only before a move. One exporter serves all hosts, and one thread queries it.
fn nothing_is_probed(scheduler: &Scheduler) -> Result<()> {
    /// Probing takes one of these ticks per second.
    const TICKS_MAX: u64 = 1;

    let stats = || -> Result<Vec<_>> {
        let threads = procfs::process::Process::new(scheduler.pid())?.tasks()?;
        Ok(threads.flatten().filter_map(|thread| thread.stat().ok()).collect())
    };
    let before = stats()?;
    std::thread::sleep(3 * ROUND);
    let after = stats()?;
    let of = |name: &str| after.iter().filter(|stat| stat.comm.starts_with(name)).collect::<Vec<_>>();
    let (asking, probing) = (of("host-"), of("probe"));
    ensure!(asking.len() == 1, "{} threads query hosts", asking.len());
    ensure!(probing.len() == nr_nodes() as usize, "{} threads could probe", probing.len());
    for thread in probing {
        let earlier = before.iter().find(|stat| stat.pid == thread.pid).context("a probing thread has just started")?;
        let ticks = thread.utime + thread.stime - earlier.utime - earlier.stime;
        ensure!(ticks <= TICKS_MAX, "a node with a host is probed: {ticks} ticks in three rounds");
    }
    Ok(())
}

/// The share of each node that others take according to its host, once all hosts have answered.
fn taken_by_host(hosts: &Hosts) -> Result<Vec<f64>> {
    let share = |node| match hosts.reading(NodeId(node)) {
        Some(Reading::Taken { share, .. }) => Some(share),
        Some(Reading::Failed) | None => None,
    };
    let mut shares = None;
    wait_for("all hosts answer", FIRST_READING, || {
        shares = (0..nr_nodes()).map(share).collect::<Option<Vec<_>>>();
        Ok(shares.is_some())
    })?;
    shares.context("no host answered")
}

fn hog_nodes(nodes: &[u32]) -> Result<()> {
    let cpus = nodes.iter().map(|&node| node_cpus(node)).collect::<Result<Vec<_>>>()?;
    hog(&cpus.concat())
}

pub fn hosts_tell_a_hog_from_the_guests_own_work() -> Result<String> {
    const NR_ANSWERS: u32 = 5;
    // Long enough for a full period after the change.
    let settled = 4 * ROUND;
    let cpu = node_cpus(0)?[0];
    let _worker = Worker::start(&Setting { cpu: Some(cpu), ..Setting::default() })?;
    let specs = lab_hosts()?.iter().map(|host| Ok(host.parse::<HostSpec>()?)).collect::<Result<_>>()?;
    let hosts = Hosts::start(specs, ROUND)?;
    taken_by_host(&hosts)?;
    std::thread::sleep(settled);
    let calm = taken_by_host(&hosts)?;
    let guest_share = hosts.load(NodeId(0)).map_or(0.0, |reading| reading.guest_share);
    hog_nodes(&[0, 1])?;
    std::thread::sleep(settled);
    // Emulated hosts lose ticks, so that a single answer counts few.
    let mut hogged = vec![0.0; calm.len()];
    for _ in 0..NR_ANSWERS {
        std::thread::sleep(ROUND);
        let taken = taken_by_host(&hosts)?;
        hogged.iter_mut().zip(taken).for_each(|(mean, share)| *mean += share / f64::from(NR_ANSWERS));
    }
    let psi_share = hosts.psi_share(NodeId(0));
    let figures = format!("calm {calm:.2?}, guest {guest_share:.2}; hogs on 0 and 1 {hogged:.2?}, psi {psi_share:.2?}");
    ensure!(guest_share > 0.5, "the guest's own work is not accounted as a guest's: {figures}");
    ensure!(calm.iter().all(|&share| share < 0.25), "without a hog: {figures}");
    // A hog that competes with the guest's work gets a third, as two of the three are one session's (autogroup); alone it gets all.
    ensure!(hogged[0] > 0.2 && hogged[1] > 0.8, "{figures}");
    ensure!(hogged[2..].iter().all(|&share| share < 0.25), "{figures}");
    ensure!(psi_share.is_some_and(|share| share > 0.1), "{figures}");
    Ok(figures)
}

pub fn with_host_metrics_work_goes_past_hogged_hosts_and_stays() -> Result<String> {
    // Two bad rounds after the one in which the hogs started.
    const ROUNDS_MAX: u32 = 3;
    let _workers = Worker::start_many(4, &Setting::migratable())?;
    let scheduler = start_with(&lab_hosts()?, &["--start-node", "0"])?;
    // Each host has answered twice, and the guards' cool-down is over.
    std::thread::sleep(6 * ROUND);
    nothing_is_probed(&scheduler)?;
    ensure!(destination()? == 0, "work was sent to node {} before there was a hog", destination()?);

    let cpu = node_cpus(0)?[0];
    let before = steal_ticks(cpu)?;
    hog_nodes(&[0, 1])?;
    wait_for("a hog steals time", Duration::from_secs(10), || Ok(steal_ticks(cpu)? > before + 1))?;
    let onset = Instant::now();
    wait_for("work is sent elsewhere", ROUNDS_MAX * ROUND, || Ok(destination()? != 0))?;
    let rounds = onset.elapsed().as_secs_f64() / ROUND.as_secs_f64();
    let (to, epoch) = (destination()?, target()?.epoch);
    ensure!(to >= 2, "work was sent to node {to}, whose host is hogged");

    std::thread::sleep(ROUND);
    let run_ns = run_ns_in(10 * ROUND, nr_nodes())?;
    let share = run_ns[to as usize] as f64 / run_ns.iter().sum::<u64>() as f64;
    ensure!(share > 0.95, "in the ten rounds after, {share:.3} of the run time was on node {to}: {run_ns:?} ns");
    ensure!(target()?.epoch == epoch, "in the ten rounds after, work was sent on to node {}", destination()?);
    // An emulated host that loses ticks counts as not answering for a second.
    let mut explained = String::new();
    let is_explained = wait_for("each host's PSI is explained", 5 * ROUND, || {
        let output = Command::new("scx_vnuma").args(["explain", "-n", "1"]).output()?;
        explained = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(explained.matches("PSI of the host ").count() == nr_nodes() as usize)
    });
    is_explained.with_context(|| format!("the last round: {explained}"))?;
    Ok(format!("on node {to} after {rounds:.1} rounds; {share:.3} of the run time of ten rounds there"))
}

pub fn faulty_exporters_are_never_chosen_and_delay_no_round() -> Result<String> {
    /// The default of `--severe`.
    const SEVERE_SHARE: f64 = 0.25;

    let log = format!("/tmp/exporters.{}.jsonl", std::process::id());
    let _workers = Worker::start_many(2, &Setting::migratable())?;
    let exporters = (0..4).map(|_| Ok(FakeExporter::start(Says::Taken(0.0))?)).collect::<Result<Vec<_>>>()?;
    let hosts: Vec<String> = (0u32..).zip(&exporters).map(|(node, exporter)| liar_host(node, exporter)).collect();
    let mut scheduler = start_with(&hosts, &["--start-node", "0", "--cool-down", "0s", "--log", &log])?;
    let start = Instant::now();
    std::thread::sleep(3 * ROUND);

    // The hosts of nodes 0 and 3 report correct values; each time, the one that has the work is under pressure.
    for lies in FAULTS.chunks(2) {
        for (exporter, lie) in exporters[1..3].iter().zip(lies) {
            exporter.say(*lie);
        }
        // Wait until the last correct reading has expired.
        std::thread::sleep(2 * ROUND);
        let from = destination()?;
        let to = 3 - from;
        exporters[to as usize].say(Says::Taken(0.0));
        exporters[from as usize].say(Says::Taken(0.9));
        wait_for(&format!("work is sent to node {to} while others answer {lies:?}"), 6 * ROUND, || {
            Ok(destination()? == to)
        })?;
    }
    ensure!(scheduler.is_alive()?, "scx_vnuma has ended: {}", scheduler.log()?);
    let passed = start.elapsed();
    scheduler.end(libc::SIGTERM)?;

    let rounds = LogReader::new(BufReader::new(File::open(&log)?))?.collect::<Result<Vec<_>, _>>()?;
    let expected = passed.as_secs_f64() / ROUND.as_secs_f64();
    ensure!(rounds.len() as f64 > 0.9 * expected, "{} rounds in {passed:.1?}", rounds.len());
    // Whatever they answer, they are queried once a second, and once more before work leaves or finds no destination.
    let looks_again = |round: &&LoggedRound| {
        let mut with_work = round.view.nodes.iter().filter(|node| !round.view.groups_on(node.id).is_empty());
        !round.plan.moves.is_empty() || with_work.any(|node| node.pressure.share() >= Some(SEVERE_SHARE))
    };
    let most = 1.1 * expected + 2.0 + rounds.iter().filter(looks_again).count() as f64;
    for exporter in &exporters {
        let nr_requests = exporter.requests().len() as f64;
        ensure!(
            (0.8 * expected..most).contains(&nr_requests),
            "{nr_requests} requests in {passed:.1?}, {most:.0} at most"
        );
    }
    let moved: Vec<NodeId> = rounds.iter().flat_map(|round| &round.plan.moves).map(|step| step.to).collect();
    ensure!(!moved.is_empty() && moved.iter().all(|to| [0, 3].contains(&to.0)), "work was sent to {moved:?}");
    Ok(format!("{} faults, {} rounds in {passed:.1?}", FAULTS.len(), rounds.len()))
}

pub fn a_destination_whose_host_dies_is_left() -> Result<String> {
    // As long as work wants all of a node, its steal tells what the host no longer does.
    let mut workers = Worker::start_many(2, &Setting::migratable())?;
    let idle = Says::Taken(0.0);
    let mut hosts =
        [idle, idle, idle, Says::HangsUp].map(FakeExporter::start).into_iter().collect::<Result<Vec<_>, _>>()?;
    let args: Vec<String> = (0u32..).zip(&hosts).map(|(node, host)| liar_host(node, host)).collect();
    let scheduler = start_with(&args, &["--start-node", "0"])?;
    std::thread::sleep(6 * ROUND);
    ensure!(destination()? == 0, "work was sent to node {} before the host died", destination()?);
    drop(hosts.remove(0));
    std::thread::sleep(5 * ROUND);
    ensure!(destination()? == 0, "work was sent to node {} although nothing was stolen from it", destination()?);
    let log = scheduler.log()?;
    let nr_warnings = log.lines().filter(|line| line.contains("WARN") && line.contains("host of node 0")).count();
    ensure!(nr_warnings == 1, "{nr_warnings} warnings of the dead host: {log}");

    // Work that sleeps most of the time can't tell.
    workers.clear();
    let _worker = Worker::start(&Setting { in_bursts: true, ..Setting::migratable() })?;
    let took = wait_for("work leaves the dead host's node", 4 * ROUND, || Ok(destination()? != 0))?;
    let to = destination()?;
    ensure!([1, 2].contains(&to), "work was sent to node {to}, although its host is unknown");

    // Then all hosts die.
    let nr_said = || Ok::<_, anyhow::Error>(scheduler.log()?.matches(BLIND).count());
    let nr_before = nr_said()?;
    hosts.clear();
    wait_for("it warns that nothing is known", 6 * ROUND, || Ok(nr_said()? > nr_before))?;
    let epoch = target()?.epoch;
    std::thread::sleep(5 * ROUND);
    ensure!(target()?.epoch == epoch, "work was sent to node {} with no pressure known", destination()?);
    ensure!(nr_said()? == nr_before + 1, "not one warning, but one a round: {}", scheduler.log()?);
    Ok(format!("on node {to} after {:.1} rounds", took.as_secs_f64() / ROUND.as_secs_f64()))
}
