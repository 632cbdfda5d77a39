//! `--policy auto` uses all idle CPU, keeps off hosts that need their CPU, and moves only work that gains from it.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::guest::hog_times::HogTimes;
use crate::guest::workers::{Setting, Worker};
use crate::guest::{
    hog, hog_in_bursts, hog_node_until_stolen, node_cpus, node_stats, nr_nodes, run_ns_in, target, time_to_last_run,
    wait_for, Scheduler,
};

const AUTO: [&str; 2] = ["--policy", "auto"];
const WINDOW: Duration = Duration::from_secs(10);
/// Time from the start of the work until it has spread over the nodes.
const SETTLE: Duration = Duration::from_secs(6);

/// The CPU time that these workers get within [`WINDOW`].
fn cpu_time(workers: &[Worker]) -> Result<Duration> {
    let total = || workers.iter().map(Worker::cpu_time).sum::<Result<Duration>>();
    let before = total()?;
    std::thread::sleep(WINDOW);
    Ok(total()? - before)
}

/// The work runs under the fair class first, as in a guest without scx_vnuma.
pub fn idle_hosts_are_used_as_the_fair_class_uses_them() -> Result<String> {
    const SHARE_MIN: f64 = 0.95;
    let workers = Worker::start_many(2 * nr_nodes() as usize, &Setting::migratable())?;
    std::thread::sleep(Duration::from_secs(2));
    let fair = cpu_time(&workers)?;
    let _scheduler = Scheduler::start(&AUTO)?;
    std::thread::sleep(SETTLE);
    let epoch = target()?.epoch;
    let ours = cpu_time(&workers)?;
    let nr_moves = target()?.epoch - epoch;
    let share = ours.as_secs_f64() / fair.as_secs_f64();
    let said = format!("{share:.3} of the fair class's {fair:.1?} of CPU time, {nr_moves} retargets meanwhile");
    ensure!(share >= SHARE_MIN, "{said}");
    let run_ns = run_ns_in(Duration::from_secs(2), nr_nodes())?;
    ensure!(run_ns.iter().all(|&ns| ns > 1_000_000_000), "each node is used: {run_ns:?}");
    Ok(said)
}

/// The time within [`WINDOW`] that migratable work held CPUs of these nodes, and the part of it that was stolen, ns.
fn run_and_stolen_ns(nodes: &[u32]) -> Result<(u64, u64)> {
    let sum = || {
        let stats = nodes.iter().map(|&node| node_stats(node)).collect::<Result<Vec<_>>>()?;
        anyhow::Ok((stats.iter().map(|it| it.run_ns).sum::<u64>(), stats.iter().map(|it| it.stolen_ns).sum::<u64>()))
    };
    let before = sum()?;
    std::thread::sleep(WINDOW);
    let after = sum()?;
    Ok((after.0 - before.0, after.1 - before.1))
}

pub fn hogs_on_half_of_the_hosts_are_left_and_the_other_half_is_used() -> Result<String> {
    const USED_MIN: f64 = 0.90;
    const STOLEN_MAX: f64 = 0.05;
    let nodes: Vec<u32> = (0..nr_nodes()).collect();
    let (idle, busy) = nodes.split_at(nodes.len() / 2);
    let workers = Worker::start_many(2 * nodes.len(), &Setting::migratable())?;
    let _scheduler = Scheduler::start(&AUTO)?;
    std::thread::sleep(SETTLE);
    let hogged = busy.iter().map(|&node| node_cpus(node)).collect::<Result<Vec<_>>>()?.concat();
    hog(&hogged)?;
    std::thread::sleep(SETTLE);
    let (run_ns, stolen_ns) = run_and_stolen_ns(&nodes)?;
    let (idle_ns, _) = run_and_stolen_ns(idle)?;
    let (busy_ns, _) = run_and_stolen_ns(busy)?;
    hog(&[])?;
    drop(workers);
    let capacity_ns = WINDOW.as_nanos() as f64 * idle.len() as f64;
    let (used, stolen) = (idle_ns as f64 / capacity_ns, stolen_ns as f64 / run_ns.max(1) as f64);
    let said = format!(
        "{used:.3} of the idle half's CPU is used, {stolen:.3} of the work's time is stolen, {:.3} of the busy half's CPU is \
         held",
        busy_ns as f64 / capacity_ns
    );
    ensure!(used >= USED_MIN && stolen <= STOLEN_MAX, "{said}");
    Ok(said)
}

/// Others burst on all hosts. The work runs under the fair class first, which shares each host's CPU as between equals.
pub fn bursts_on_the_hosts_are_given_way_to() -> Result<String> {
    /// What each burst waits for the CPU, of what it waits beside the fair class, and the work's CPU time.
    const WAITED_MAX: f64 = 0.75;
    const USED_MIN: f64 = 0.5;
    let cpus = (0..nr_nodes()).map(node_cpus).collect::<Result<Vec<_>>>()?.concat();
    let workers = Worker::start_many(2 * cpus.len(), &Setting::migratable())?;
    HogTimes::request()?;
    hog_in_bursts(&cpus)?;
    // They count their turns first.
    std::thread::sleep(SETTLE);
    let measure = || -> Result<(f64, f64)> {
        let before = HogTimes::read()?.of_cpus(&cpus);
        let used = cpu_time(&workers)?;
        let after = HogTimes::read()?.of_cpus(&cpus);
        let waited_ns = (after.waited_ns - before.waited_ns) as f64;
        Ok((waited_ns / (after.ran_ns - before.ran_ns).max(1) as f64, used.as_secs_f64()))
    };
    let (fair_waited, fair_used) = measure()?;
    let _scheduler = Scheduler::start(&AUTO)?;
    std::thread::sleep(SETTLE);
    let (waited, used) = measure()?;
    hog(&[])?;
    let said = format!(
        "a burst waits for {waited:.2} of its length, beside the fair class {fair_waited:.2}; work uses {:.3} of what it uses there",
        used / fair_used
    );
    ensure!(waited <= WAITED_MAX * fair_waited && used >= USED_MIN * fair_used, "{said}");
    Ok(said)
}

pub fn half_a_nodes_demand_stays_on_one_node() -> Result<String> {
    stays_on_one_node_for(Duration::from_secs(30))
}

pub fn half_a_nodes_demand_stays_on_one_node_for_ten_minutes() -> Result<String> {
    stays_on_one_node_for(Duration::from_secs(600))
}

fn stays_on_one_node_for(calm: Duration) -> Result<String> {
    // Each works a fifth of the time.
    let _workers = Worker::start_many(2, &Setting { in_bursts: true, ..Setting::migratable() })?;
    let scheduler = Scheduler::start(&AUTO)?;
    // Every decision that moves work is logged. An epoch may also begin when only the destination of new processes changes.
    let nr_moves = || anyhow::Ok(scheduler.log()?.matches(": move from node").count());
    std::thread::sleep(SETTLE);
    let moves_before = nr_moves()?;
    let run_ns = run_ns_in(calm, nr_nodes())?;
    let nr_moves = nr_moves()? - moves_before;
    let total: u64 = run_ns.iter().sum();
    let most = run_ns.iter().copied().max().unwrap_or(0) as f64 / total.max(1) as f64;
    let said = format!("{most:.3} of the run time is on one node, {nr_moves} moves in {} s", calm.as_secs());
    ensure!(most >= 0.99 && nr_moves == 0, "{said}");
    Ok(said)
}

/// Measures from when two ticks were stolen within 50 ms until migratable work last ran on the hogged node. Work that comes back
/// within half a second counts as not having left.
pub fn a_hog_is_left_at_once_at_the_default_interval() -> Result<String> {
    const MEDIAN_MAX: Duration = Duration::from_millis(50);
    const WORST_MAX: Duration = Duration::from_millis(150);
    let _workers = Worker::start_many(2, &Setting::migratable())?;
    let _scheduler = Scheduler::start(&AUTO)?;
    let busiest = || -> Result<u32> {
        let run_ns = run_ns_in(Duration::from_millis(300), nr_nodes())?;
        Ok((0..nr_nodes()).max_by_key(|&node| run_ns[node as usize]).unwrap_or(0))
    };
    wait_for("work runs", Duration::from_secs(20), || {
        Ok(run_ns_in(Duration::from_millis(200), nr_nodes())?.iter().sum::<u64>() > 100_000_000)
    })?;
    std::thread::sleep(SETTLE);
    let mut reactions = Vec::new();
    for _ in 0..10 {
        let from = busiest()?;
        hog_node_until_stolen(from, 2, Duration::from_millis(50))?;
        reactions.push(time_to_last_run(from, Duration::from_millis(500))?.as_millis() as u64);
        hog(&[])?;
        std::thread::sleep(Duration::from_secs(3));
    }
    let mut sorted = reactions.clone();
    sorted.sort_unstable();
    let (median, worst) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    let said = format!("from when a hog showed to the last run time on its node, ms: {reactions:?}");
    ensure!(u128::from(median) <= MEDIAN_MAX.as_millis() && u128::from(worst) <= WORST_MAX.as_millis(), "{said}");
    Ok(said)
}
