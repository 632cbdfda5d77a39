//! Fine-grained: each process goes where the pure policy sends it.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use scx_vnuma::cell::{GroupId, NodeId};
use scx_vnuma::decision_log::{LogReader, LoggedRound};
use scx_vnuma::policy::{Fine, Memory, Order, Policy};

use super::fake_exporter::{FakeExporter, Says};
use super::hosts::liar_host;
use crate::guest::cgroup::Cgroup;
use crate::guest::workers::{Setting, Worker};
use crate::guest::{hog, node_cpus, nr_nodes, placement, process_run_ns, target, wait_for, Scheduler};

/// A node is loaded to this share at most, so that neither destination can take all four processes.
const WARNING: f64 = 0.45;

/// The default of `--bad`.
const BAD: f64 = 0.05;

/// The default of `--severe`.
const SEVERE: f64 = 0.25;

/// Four processes that each order sorts differently: by CPU 3 < 2 < 1 < 0, by memory 2 < 0 < 3 < 1, by threads
/// 0 = 2 < 1 < 3, and by faults 1 comes last.
fn four_processes() -> Result<Vec<Worker>> {
    let settings = [
        Setting { nice: 1, memory_bytes: 12 << 20, ..Setting::default() },
        Setting { nice: 4, memory_bytes: 40 << 20, nr_threads: 2, faults: true, ..Setting::default() },
        Setting { nice: 7, memory_bytes: 2 << 20, ..Setting::default() },
        Setting { nice: 10, memory_bytes: 24 << 20, nr_threads: 3, ..Setting::default() },
    ];
    settings.iter().map(Worker::start).collect()
}

pub fn each_order_is_carried_out_as_the_policy_says() -> Result<String> {
    let orders = Order::ALL.map(carry_out).into_iter().collect::<Result<Vec<_>>>()?;
    Ok(format!("first and second destination took: {}", orders.join("; ")))
}

fn carry_out(order: Order) -> Result<String> {
    let workers = four_processes()?;
    let round = flees_as_planned(&workers, order, &[], |worker| worker.pid as u64)?;
    let took = |destination| round.plan.moves.iter().filter(|step| Some(step.to) == destination).count();
    Ok(format!("{order} {} and {}", took(round.plan.first), took(round.plan.second)))
}

/// Runs hogs on hosts 1 and 0 with all work on node 0, and returns the round that moved the work. Fails unless the pure policy
/// makes the same decision from the recorded view, and each worker then runs where its group was sent.
fn flees_as_planned(
    workers: &[Worker],
    order: Order,
    args: &[&str],
    group_of: impl Fn(&Worker) -> u64,
) -> Result<LoggedRound> {
    // A log is always a new file.
    let log = format!("/tmp/fine.{}.jsonl", workers.first().context("no workers")?.pid);
    let warning = WARNING.to_string();
    let policy = ["--policy", "fine", "--order", order.name(), "--warning", &warning, "--start-node", "0"];
    let pace = ["--interval", "1s", "--cool-down", "60s", "--log", &log];
    let scheduler = Scheduler::start(&[&policy[..], &pace, args].concat())?;
    wait_for("all become migratable", Duration::from_secs(10), || Ok(workers.iter().all(Worker::is_migratable)))?;
    std::thread::sleep(Duration::from_secs(3));
    // The probe of node 1 must have seen its hog, or the node would still be a destination.
    hog(&node_cpus(1)?)?;
    wait_for("the hog of node 1 shows", Duration::from_secs(10), || {
        let seen = rounds(&log)?.last().and_then(|round| round.view.node(NodeId(1))?.pressure.share());
        Ok(seen.is_some_and(|share| share >= SEVERE))
    })?;
    hog(&[node_cpus(0)?, node_cpus(1)?].concat())?;
    wait_for("work moves", Duration::from_secs(10), || Ok(target()?.epoch >= 1))?;
    let (ran_ns, homes) = runs_by_homes(workers, &log)?;
    hog(&[])?;

    let round = rounds(&log)?.into_iter().find(moves).context("the decision log has no move")?;
    let expected = Fine { order, destinations: 2, warning_share: WARNING, min_gain_cpus: 0.0, avoid_share: BAD }
        .decide(&round.view, &Memory::default());
    ensure!(round.plan.moves == expected.moves, "{order}: the log has {:?}, the policy {expected:?}", round.plan);
    ensure!(!expected.moves.is_empty(), "{order}: nothing moved");
    guards_hold(&round).with_context(|| order.to_string())?;
    if order == Order::Mai {
        tells_what_it_goes_by(&scheduler)?;
    }
    for (worker, ran_ns) in workers.iter().zip(&ran_ns) {
        let home = homes.get(&GroupId(group_of(worker))).copied().unwrap_or(NodeId(0));
        let total_ns: u64 = ran_ns.iter().sum();
        ensure!(total_ns > 0, "{order}: process {} did not run for two seconds", worker.pid);
        let share = ran_ns[home.0 as usize] as f64 / total_ns as f64;
        ensure!(share > 0.95, "{order}: process {} was sent to node {home} and ran {ran_ns:?} ns", worker.pid);
    }
    Ok(round)
}

/// The nodes that groups have been sent to.
type Homes = HashMap<GroupId, NodeId>;

/// What each worker runs on each node, ns, in two seconds without a move, and the nodes that groups have been sent to by then. A
/// destination that turns out to be taken is left at once, so the first move need not be the last.
fn runs_by_homes(workers: &[Worker], log: &str) -> Result<(Vec<Vec<u64>>, Homes)> {
    const TRIES: usize = 4;
    for _ in 0..TRIES {
        let epoch = target()?.epoch;
        // The log line is written right after the retarget.
        std::thread::sleep(Duration::from_millis(300));
        let homes =
            rounds(log)?.into_iter().flat_map(|round| round.plan.moves).map(|step| (step.group, step.to)).collect();
        let before = run_ns(workers)?;
        std::thread::sleep(Duration::from_secs(2));
        let after = run_ns(workers)?;
        if target()?.epoch == epoch {
            let ran = |(after, before): (&Vec<u64>, &Vec<u64>)| after.iter().zip(before).map(|(a, b)| a - b).collect();
            return Ok((after.iter().zip(&before).map(ran).collect(), homes));
        }
    }
    bail!("work moved in each of {TRIES} windows of two seconds");
}

/// Checks the bounds of algorithm 4-2: no destination ends up more loaded than the node that work leaves, or past the warning
/// line.
fn guards_hold(round: &LoggedRound) -> Result<()> {
    /// Tolerance: loads are sums of floats, added in a different order.
    const ROUNDING_CPUS: f64 = 1e-9;

    let mut loads: HashMap<NodeId, f64> = round.view.nodes.iter().map(|node| (node.id, node.load_cpus)).collect();
    for step in &round.plan.moves {
        let (from, to) =
            (round.view.node(step.from).context("no source")?, round.view.node(step.to).context("no destination")?);
        let group = round.view.groups.iter().find(|group| group.id == step.group).context("no group")?;
        let load = loads.entry(to.id).or_default();
        *load += group.demand.usage_cpus;
        ensure!(from.is_candidate(), "the pressure of the node that work left was unknown: {round:?}");
        let limit = from.load_cpus.min(WARNING * to.capacity_cpus) + ROUNDING_CPUS;
        ensure!(*load <= limit, "node {} ends up at {load} CPU, more than {limit}: {round:?}", to.id);
    }
    Ok(())
}

/// The daemon reports what stands for memory accesses per instruction in this guest, in its log and in `scx_vnuma explain`.
fn tells_what_it_goes_by(scheduler: &Scheduler) -> Result<()> {
    let log = scheduler.log()?;
    let by = log
        .lines()
        .find_map(|line| line.split_once("--order mai goes by "))
        .context("it doesn't say what it goes by")?
        .1;
    let has_no_pmu = log.contains("no memory accesses are counted: ");
    ensure!(has_no_pmu == (by == "page faults per second of CPU time"), "it goes by {by}: {log}");
    let explained = Command::new("scx_vnuma").arg("explain").output()?;
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    ensure!(explained.contains(&format!("; fewest {by} first\n")), "no {by} in: {explained}");
    Ok(())
}

fn run_ns(workers: &[Worker]) -> Result<Vec<Vec<u64>>> {
    workers.iter().map(|worker| process_run_ns(worker.pid)).collect()
}

/// The whole rounds of a decision log that is still being written.
fn rounds(log: &str) -> Result<Vec<LoggedRound>> {
    let whole = |text: &str| text.rfind('\n').map_or(0, |end| end + 1);
    let mut text = std::fs::read_to_string(log).with_context(|| format!("reading {log}"))?;
    text.truncate(whole(&text));
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(LogReader::new(text.as_bytes())?.collect::<Result<_, _>>()?)
}

fn moves(round: &LoggedRound) -> bool {
    !round.plan.moves.is_empty()
}

/// A shell that works. Once the file FORK exists it forks a child that works too, and writes the child's id to CHILD.
struct Parent(Child);

impl Parent {
    const FORK: &str = "/tmp/fork";
    const CHILD: &str = "/tmp/child";

    fn start() -> Result<Self> {
        let (fork, child) = (Self::FORK, Self::CHILD);
        for left in [fork, child] {
            let _ = std::fs::remove_file(left);
        }
        let script =
            format!("while [ ! -e {fork} ]; do :; done; (while :; do :; done) & echo $! >{child}; while :; do :; done");
        let mut shell = Command::new("busybox");
        let shell = shell.args(["sh", "-c", &script]).process_group(0).spawn().context("starting a shell")?;
        // SAFETY: no pointers.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, shell.id(), 5) };
        Ok(Parent(shell))
    }

    fn fork(&self) -> Result<i32> {
        std::fs::write(Self::FORK, "")?;
        let mut child = None;
        wait_for("the shell forks", Duration::from_secs(5), || {
            child = std::fs::read_to_string(Self::CHILD).ok().and_then(|text| text.trim().parse().ok());
            Ok(child.is_some())
        })?;
        child.context("BUG: the child has no id")
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // SAFETY: our own child and its group, not waited for before.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// The parent is on the second destination: without a placement of its own the child would be on the first. Fake exporters stand
/// in for the hosts, so that the loads are exactly those with which each destination takes one of two processes.
pub fn a_forked_process_runs_on_its_parents_node() -> Result<String> {
    let other = Worker::start(&Setting::migratable())?;
    let parent = Parent::start()?;
    let hosts = (0..nr_nodes()).map(|_| Ok(FakeExporter::start(Says::Taken(0.0))?)).collect::<Result<Vec<_>>>()?;
    let host_args: Vec<String> = (0u32..).zip(&hosts).map(|(node, host)| liar_host(node, host)).collect();
    // Each uses half a node: one fits on a destination, two don't.
    let mut args = vec!["--policy", "fine", "--order", "none", "--warning", "0.75", "--start-node", "0"];
    args.extend(["--no-probe", "--interval", "1s", "--cool-down", "60s"]);
    host_args.iter().for_each(|host| args.extend(["--host", host]));
    let _scheduler = Scheduler::start(&args)?;
    wait_for("it becomes migratable", Duration::from_secs(10), || Ok(other.is_migratable()))?;
    // Each host has answered twice.
    std::thread::sleep(Duration::from_secs(4));
    hosts[0].say(Says::Taken(0.9));
    wait_for("they move", Duration::from_secs(20), || Ok(target()?.epoch == 1))?;
    let second = target()?.destination.second as usize;
    let child = parent.fork()?;
    std::thread::sleep(Duration::from_secs(1));
    let theirs = process_run_ns(parent.0.id() as i32)?;
    ensure!(theirs[second] > 0, "the parent was to be on node {second} and ran {theirs:?} ns");
    let ran_ns = process_run_ns(child)?;
    let elsewhere_ns = ran_ns.iter().sum::<u64>() - ran_ns[second];
    ensure!(ran_ns[second] > 100_000_000 && elsewhere_ns == 0, "the child of node {second} ran {ran_ns:?} ns");
    let placed = [parent.0.id() as i32, child];
    ensure!(placed.iter().all(|&tgid| placement(tgid).is_ok_and(|node| node == Some(second as u32))), "no placements");
    drop(parent);
    wait_for("the placements of what ended go away", Duration::from_secs(10), || {
        Ok(placed.iter().all(|&tgid| placement(tgid).is_ok_and(|node| node.is_none())))
    })?;
    Ok(format!("parent and child on node {second}"))
}

/// Two cgroups of two processes each. One has a quota of a CPU and a half, which its use never approaches.
pub fn a_cgroup_moves_whole() -> Result<String> {
    const QUOTA_CPUS: f64 = 1.5;
    let cgroups = [Cgroup::new("vnuma-free")?, Cgroup::new("vnuma-limited")?];
    cgroups[1].limit(Some(QUOTA_CPUS))?;
    let workers = Worker::start_many(4, &Setting::migratable())?;
    let mut cgroup_of = HashMap::new();
    for (worker, cgroup) in workers.iter().zip(cgroups.iter().cycle()) {
        cgroup.add(worker)?;
        cgroup_of.insert(worker.pid, cgroup.id()?);
    }
    // The limited cgroup requests less, so it is picked first.
    let round = flees_as_planned(&workers, Order::Request, &["--group", "cgroup", "--lift-quotas"], |worker| {
        cgroup_of[&worker.pid]
    })?;
    let asked =
        |id: u64| round.view.groups.iter().find(|group| group.id.0 == id).map(|group| group.demand.request_cpus);
    let asked = [asked(cgroups[0].id()?), asked(cgroups[1].id()?)];
    ensure!(asked == [Some(2.0), Some(QUOTA_CPUS)], "two processes, and a quota: they ask for {asked:?} CPUs");
    let first = round.plan.moves.iter().find(|step| Some(step.to) == round.plan.first).context("nothing went first")?;
    ensure!(first.group.0 == cgroups[1].id()?, "cgroup {} went first", first.group.0);
    Ok(format!("{} of two cgroups moved, each with both processes", round.plan.moves.len()))
}
