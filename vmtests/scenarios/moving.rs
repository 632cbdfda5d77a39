//! Migratable work leaves a busy host, and only then.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::guest::workers::{thread_ids, BoundTo, KeptEmpty, Setting, Worker};
use crate::guest::{
    destination, hog, hog_node_until_seen, hog_node_until_stolen, node_cpus, nr_nodes, run_ns_in, share_elsewhere,
    steal_ticks, target, time_to_last_run, wait_for, Scheduler,
};

const SHARE_MIN: f64 = 0.95;

/// The default of `--cool-down`: after a move, nothing moves for this long.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// Waits until migratable work runs on the destination.
pub fn wait_until_work_runs() -> Result<()> {
    wait_for("migratable work runs on the destination", Duration::from_secs(20), || {
        let to = destination()?;
        let run_ns = run_ns_in(Duration::from_millis(200), nr_nodes())?;
        Ok(run_ns[to as usize] > 100_000_000)
    })?;
    Ok(())
}

pub fn a_hog_is_fled_within_two_rounds_three_times() -> Result<String> {
    let interval = Duration::from_secs(1);
    let _workers = Worker::start_many(8, &Setting::migratable())?;
    let _scheduler = Scheduler::start(&["--policy", "coarse", "--interval", "1s"])?;
    wait_until_work_runs()?;
    let mut shares = Vec::new();
    for _ in 0..3 {
        let from = destination()?;
        hog_node_until_seen(from)?;
        std::thread::sleep(2 * interval);
        let run_ns = run_ns_in(interval, nr_nodes())?;
        let share = share_elsewhere(&run_ns, from)?;
        ensure!(share >= SHARE_MIN, "two rounds after the hog, {share:.3} of the run time has left node {from}");
        shares.push(format!("{from}->{} {share:.3}", destination()?));
        std::thread::sleep(COOL_DOWN);
    }
    Ok(format!("share of run time off the busy node after two rounds: {}", shares.join(", ")))
}

pub fn short_rounds_react_within_a_third_of_a_second() -> Result<String> {
    const MEDIAN_MAX: Duration = Duration::from_millis(300);
    const WORST_MAX: Duration = Duration::from_millis(500);
    let _workers = Worker::start_many(8, &Setting::migratable())?;
    // The default would only make the test longer.
    let _scheduler = Scheduler::start(&["--policy", "coarse", "--interval", "100ms", "--cool-down", "1s"])?;
    wait_until_work_runs()?;
    let mut reactions = Vec::new();
    for _ in 0..10 {
        let from = destination()?;
        reactions.push(time_to_leave(from, 3)?);
        hog(&[])?;
        std::thread::sleep(Duration::from_secs(1));
    }
    reactions.sort_unstable();
    let (median, worst) = (reactions[reactions.len() / 2], reactions[reactions.len() - 1]);
    ensure!(median <= MEDIAN_MAX && worst <= WORST_MAX, "from when a hog showed to the last run: {reactions:?}");
    let ms: Vec<_> = reactions.iter().map(Duration::as_millis).collect();
    Ok(format!("from when a hog showed to the last run time on the node, ms: {ms:?}"))
}

/// The time from when the given number of ticks was stolen from `from` within 100 ms until migratable work last ran there.
pub fn time_to_leave(from: u32, nr_ticks: u64) -> Result<Duration> {
    hog_node_until_stolen(from, nr_ticks, Duration::from_millis(100))?;
    let left_after = time_to_last_run(from, Duration::from_secs(1))?;
    ensure!(destination()? != from, "work is still sent to node {from}");
    Ok(left_after)
}

pub fn without_contention_nothing_moves() -> Result<String> {
    let _workers = Worker::start_many(4, &Setting::migratable())?;
    let _scheduler = Scheduler::start(&["--policy", "coarse", "--interval", "500ms"])?;
    wait_until_work_runs()?;
    let cpu = node_cpus(destination()?)?[0];
    let steal_before = steal_ticks(cpu)?;
    std::thread::sleep(20 * Duration::from_millis(500));
    let steal = steal_ticks(cpu)? - steal_before;
    let epoch = target()?.epoch;
    ensure!(epoch == 0, "{epoch} retargets in 20 rounds with {steal} ticks of steal");
    Ok(format!("20 rounds, {steal} ticks of steal, no retarget"))
}

/// Runs hogs on the hosts of nodes 2 and 3, and a little fixed work on the other nodes. The migratable work begins on node 3.
/// Returns its node in each of `nr_rounds` rounds of a second, after the given number of rounds to settle.
fn destinations_under_two_hogs(args: &[&str], nr_to_settle: usize, nr_rounds: usize) -> Result<Vec<u32>> {
    let interval = Duration::from_secs(1);
    // The first idle CPU does the kernel's work for all CPUs, so it must not be on node 2 either.
    let _kept = KeptEmpty::node(2)?;
    let _workers = Worker::start_many(8, &Setting::migratable())?;
    let a_little = |cpu| Worker::start(&Setting { in_bursts: true, cpu: Some(cpu), ..Setting::default() });
    // Two for each CPU, so that an empty node still seems less loaded with the kernel's own work on it. With three, and the work,
    // these nodes would seem as loaded as the busy ones.
    let cpus = [node_cpus(0)?, node_cpus(1)?].concat().repeat(2);
    let _fixed = cpus.into_iter().map(a_little).collect::<Result<Vec<_>>>()?;
    // This program, which samples the nodes, does not run there either.
    let _bound = BoundTo::node(0)?;
    let _scheduler =
        Scheduler::start(&[args, &["--policy", "coarse", "--interval", "1s", "--start-node", "3"]].concat())?;
    wait_until_work_runs()?;
    // Long enough for the daemon to have observed the idle cell.
    std::thread::sleep(2 * interval);
    hog(&[node_cpus(2)?, node_cpus(3)?].concat())?;
    std::thread::sleep(interval * nr_to_settle as u32);
    let round = |_| -> Result<u32> {
        let run_ns = run_ns_in(interval, nr_nodes())?;
        let busiest = (0..nr_nodes()).max_by_key(|&node| run_ns[node as usize]);
        busiest.context("there are no nodes")
    };
    let seen = (0..nr_rounds).map(round).collect();
    hog(&[])?;
    seen
}

/// The behaviour of the thesis's script: an empty node reads no steal time, so the busy host of node 2 looks idle while the work
/// is on node 3, and that of node 3 looks idle while it is on node 2.
pub fn by_steal_alone_work_bounces_between_two_busy_hosts() -> Result<String> {
    let seen = destinations_under_two_hogs(&["--no-probe", "--no-guards"], 2, 12)?;
    let is_bounce = |pair: &[u32]| pair[0] != pair[1] && pair.iter().all(|&node| node >= 2);
    let nr_bounces = seen.windows(2).filter(|pair| is_bounce(pair)).count();
    // A tick stolen from both nodes at once eventually lets the work escape.
    ensure!(nr_bounces >= 4, "work did not bounce: {seen:?}; the probing test is meaningless without the bouncing");
    Ok(format!("nodes of the work, second by second: {seen:?}"))
}

pub fn probing_finds_an_idle_host_and_work_stays() -> Result<String> {
    let seen = destinations_under_two_hogs(&[], 3, 10)?;
    ensure!(seen.iter().all(|&node| node == seen[0] && node < 2), "work was on nodes {seen:?}, second by second");
    Ok(format!("within two rounds on node {}, and there for 10 more", seen[0]))
}

pub fn equally_busy_hosts_make_no_stampede() -> Result<String> {
    const SECONDS: u64 = 60;
    let _workers = Worker::start_many(8, &Setting::migratable())?;
    let scheduler = Scheduler::start(&["--policy", "coarse", "--interval", "1s"])?;
    wait_until_work_runs()?;
    let cpus: Vec<u32> = (0..nr_nodes()).map(node_cpus).collect::<Result<Vec<_>>>()?.concat();
    hog(&cpus)?;
    std::thread::sleep(Duration::from_secs(SECONDS));
    hog(&[])?;
    let retargets = target()?.epoch;
    let most = SECONDS / COOL_DOWN.as_secs();
    ensure!(retargets <= most, "{retargets} retargets in {SECONDS} s: {}", scheduler.log()?);
    Ok(format!("{retargets} retargets in {SECONDS} s; at most one per cool-down would be {most}"))
}

pub fn one_retarget_moves_all_that_run() -> Result<String> {
    let interval = Duration::from_secs(1);
    let sleeper = Setting { nr_threads: 200, asleep: true, ..Setting::migratable() };
    let asleep = Worker::start_many(10, &sleeper)?;
    wait_for("all 2000 sleeping tasks are there", Duration::from_secs(30), || Ok(thread_ids(&asleep)?.len() == 2000))?;
    // Started before the busy tasks: otherwise loading it would share the CPUs with 200 of them.
    let scheduler = Scheduler::start(&["--policy", "coarse", "--interval", "1s", "-v"])?;
    let runner = Setting { nr_threads: 20, ..Setting::migratable() };
    let running = Worker::start_many(10, &runner)?;
    wait_until_work_runs()?;
    wait_for("all 200 runnable tasks are there", Duration::from_secs(30), || Ok(thread_ids(&running)?.len() == 200))?;
    std::thread::sleep(interval);
    let tids = thread_ids(&running)?;

    let from = destination()?;
    hog_node_until_seen(from)?;
    wait_for("the plan changes", 3 * interval, || Ok(destination()? != from))?;
    hog(&[])?;
    std::thread::sleep(interval);
    let run_ns = run_ns_in(interval, nr_nodes())?;
    let share = share_elsewhere(&run_ns, from)?;
    ensure!(share > 0.999, "a round after the retarget, {share:.4} of the run time is off node {from}");

    let log = scheduler.log()?;
    let line = log.lines().find(|line| line.contains("epoch 1: move")).context("no line of epoch 1 in the log")?;
    let ours_us: u64 = line.rsplit(' ').nth(1).and_then(|us| us.parse().ok()).context("no cost in the log line")?;
    let asleep = thread_ids(&asleep)?;
    // Every tenth task, times ten: each call takes a tenth of a second in an emulated machine.
    let taskset_us = 10 * taskset_cpu_time(tids.iter().chain(&asleep).step_by(10))?.as_micros() as u64;
    let ratio = taskset_us / ours_us.max(1);
    ensure!(ratio >= 10, "taskset took {taskset_us} us of CPU, the daemon {ours_us} us");
    Ok(format!(
        "2200 tasks: daemon {ours_us} us of CPU, `taskset -p` loop {taskset_us} us (220 of them, times ten): 1/{ratio}"
    ))
}

/// The CPU time of a `taskset -p` for each task, as the thesis's script does it. The mask allows all CPUs.
fn taskset_cpu_time<'a>(tids: impl Iterator<Item = &'a i32>) -> Result<Duration> {
    let before = children_cpu_time();
    for tid in tids {
        let mut taskset = Command::new("/lab/bin/taskset");
        let status = taskset.args(["-p", "ff", &tid.to_string()]).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "taskset -p ff {tid}: {status}");
    }
    Ok(children_cpu_time() - before)
}

fn children_cpu_time() -> Duration {
    // SAFETY: rusage is plain data, which the kernel fills in.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
