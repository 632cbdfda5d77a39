//! What the BPF scheduler does by itself: it keeps limits, places processes at exec, and leaves a node that is hit. These
//! scenarios load it without the daemon.

use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use scx_vnuma::bpf::{Class, KernelPlan, LoadOptions, SchedulerClass, Steering};
use scx_vnuma::cell::NodeId;
use scx_vnuma::sense::Nodes;

use crate::guest::workers::{BoundTo, Setting, Worker};
use crate::guest::{
    hog, node_cpus, node_stats, nr_nodes, pause_guest, process_run_ns, run_ns_in, time_to_last_run, wait_for,
};

fn load_options(steering: Option<Steering>) -> LoadOptions {
    LoadOptions {
        start_node: NodeId(0),
        switch_all: false,
        places_processes: false,
        steering,
        samples_wakeups: false,
        exit_dump_len: 0,
        verbose: false,
    }
}

/// Runs `scenario` with the BPF scheduler loaded, which must not have been ended by the kernel meanwhile.
fn with_class<T>(scenario: impl FnOnce(&SchedulerClass<'_>) -> Result<T>) -> Result<T> {
    let nodes = Nodes::from_sysfs()?;
    let mut object = MaybeUninit::uninit();
    let class = SchedulerClass::load(&load_options(Some(Steering::default())), nodes.iter(), &mut object)?;
    let outcome = scenario(&class);
    let has_exited = class.has_exited();
    let exit = class.unload();
    ensure!(!has_exited, "the kernel has ended the BPF scheduler: {}", exit.text);
    outcome
}

fn migratable() -> Setting {
    Setting { chooses_ext: true, ..Setting::default() }
}

/// CPUs that migratable work used on `node` for ten seconds under a limit.
fn cpus_used_under(class: &SchedulerClass<'_>, node: u32, limit_cpus: f64) -> Result<f64> {
    let window = Duration::from_secs(10);
    let limits = [(NodeId(node), limit_cpus)].into();
    class.update(&KernelPlan { limits, ..KernelPlan::to(NodeId(node), None) })?;
    std::thread::sleep(Duration::from_millis(500));
    let run_ns = run_ns_in(window, nr_nodes())?;
    Ok(run_ns[node as usize] as f64 / window.as_nanos() as f64)
}

pub fn work_uses_as_much_of_a_node_as_its_limit_allows() -> Result<String> {
    let node = nr_nodes() - 1;
    let nr_cpus = node_cpus(node)?.len() as f64;
    with_class(|class| {
        let _workers = Worker::start_many(4, &migratable())?;
        let mut figures = Vec::new();
        for limit in [0.3, nr_cpus - 0.5, nr_cpus] {
            let used = cpus_used_under(class, node, limit)?;
            figures.push(format!("{used:.3} of {limit}"));
            let tolerance = if limit < 1.0 { 0.03 } else { 0.1 };
            ensure!((used - limit).abs() <= tolerance, "CPUs used: {}", figures.join(", "));
        }
        let used = cpus_used_under(class, node, 0.3)?;
        let sleepers = Worker::start_many(2, &Setting { in_bursts: true, ..migratable() })?;
        let with_sleepers = cpus_used_under(class, node, 0.3)?;
        drop(sleepers);
        ensure!((with_sleepers - 0.3).abs() <= 0.03, "beside tasks that sleep {with_sleepers:.3} of 0.3");
        class.update(&KernelPlan::to(NodeId(node), None))?;
        let all = run_ns_in(Duration::from_secs(1), nr_nodes())?[node as usize] as f64 / 1e9;
        ensure!(all > 0.9 * nr_cpus, "{all:.3} CPUs are used once the limit is lifted");
        Ok(format!(
            "CPUs used of the limit: {}, again {used:.3}, beside sleepers {with_sleepers:.3}",
            figures.join(", ")
        ))
    })
}

pub fn a_lone_task_is_limited_too() -> Result<String> {
    let node = nr_nodes() - 1;
    with_class(|class| {
        let _worker = Worker::start(&migratable())?;
        let used = cpus_used_under(class, node, 0.25)?;
        ensure!((used - 0.25).abs() <= 0.03, "{used:.3} CPUs used of 0.25");
        Ok(format!("{used:.3} CPUs used of 0.25"))
    })
}

/// Changes a task's policy from outside, as the daemon does.
fn set_policy(pid: i32, policy: i32) -> Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter outlives the call.
    let failed = unsafe { libc::sched_setscheduler(pid, policy, &param) } != 0;
    ensure!(!failed, "setting the policy of process {pid}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// The kernel calls running() and stopping() on the CPU of whoever changes a running task's policy. Counted there, a node would
/// seem to run a task for ever, and under a limit would take no other one.
pub fn running_tasks_that_others_make_migratable_are_counted_where_they_run() -> Result<String> {
    const SCHED_EXT: i32 = 7;
    const NR_CHANGES: u32 = 20;
    let _bound = BoundTo::node(0)?;
    with_class(|class| {
        let cpus = (0..nr_nodes()).map(node_cpus).collect::<Result<Vec<_>>>()?.concat();
        let on = |&cpu: &u32| Worker::start(&Setting { cpu: Some(cpu), ..Setting::default() });
        let workers = cpus.iter().map(on).collect::<Result<Vec<_>>>()?;
        class.update(&KernelPlan::to(NodeId(0), None))?;
        for _ in 0..NR_CHANGES {
            for policy in [SCHED_EXT, libc::SCHED_OTHER] {
                workers.iter().try_for_each(|worker| set_policy(worker.pid, policy))?;
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        let counted = (0..nr_nodes()).map(|node| Ok(node_stats(node)?.nr_running)).collect::<Result<Vec<_>>>()?;
        let ran = (0..nr_nodes()).map(|node| Ok(node_stats(node)?.nr_runs)).collect::<Result<Vec<_>>>()?;
        ensure!(counted.iter().all(|&nr| nr == 0), "none is migratable, but so many are said to run: {counted:?}");
        ensure!(ran.iter().all(|&nr| nr >= u64::from(NR_CHANGES) / 2), "hardly any ran while migratable: {ran:?}");
        Ok(format!("{NR_CHANGES} times migratable and back while running; runs by node {ran:?}, none left over"))
    })
}

pub fn the_least_limit_starves_none_of_a_hundred() -> Result<String> {
    const LONG: Duration = Duration::from_secs(40);
    let node = nr_nodes() - 1;
    with_class(|class| {
        let workers = Worker::start_many(100, &migratable())?;
        let limited_to = |cpus| {
            let limits = [(NodeId(node), cpus)].into();
            KernelPlan { limits, ..KernelPlan::to(NodeId(node), None) }
        };
        class.retarget(&limited_to(0.8))?;
        // A task that is on a CPU during a pause seems to have used it all that time. The least limit would take half a minute to
        // give that.
        let mut nr_pauses = 0;
        loop {
            let before_ns = node_stats(node)?.run_ns;
            pause_guest(5)?;
            nr_pauses += 1;
            // A late tick charges it. The watchdog takes a pause for time in which nothing ran.
            std::thread::sleep(Duration::from_secs(1));
            if node_stats(node)?.run_ns - before_ns > 4_000_000_000 {
                break;
            }
            ensure!(nr_pauses < 15, "no task was on a CPU in {nr_pauses} pauses");
        }
        class.update(&limited_to(0.0))?;
        let before = node_stats(node)?;
        std::thread::sleep(LONG);
        let now = node_stats(node)?;
        ensure!(!class.has_exited(), "the kernel has ended the BPF scheduler");
        // They couldn't die quickly under the limit either.
        class.update(&KernelPlan::to(NodeId(node), None))?;
        drop(workers);
        let used = (now.run_ns - before.run_ns) as f64 / LONG.as_nanos() as f64;
        let nr_runs = now.nr_runs - before.nr_runs;
        // As many tasks as this need more than the least limit.
        ensure!(used < 0.1, "{used:.3} CPUs are used, in {nr_runs} runs");
        ensure!(nr_runs >= 100, "the work has had {nr_runs} turns");
        Ok(format!("100 hogs, 40 s after {nr_pauses} pauses, {used:.3} CPUs used, in {nr_runs} runs"))
    })
}

/// A process that sleeps, migratable since before its exec.
fn start_sleeper() -> Result<Child> {
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(Stdio::null());
    // SAFETY: nothing but a system call and an error value, which may be made after fork.
    unsafe {
        command.pre_exec(scx_vnuma::work::make_migratable);
    }
    command.spawn().context("starting sleep")
}

pub fn exec_places_processes_by_weight() -> Result<String> {
    const NR: usize = 60;
    let weights = [1u32, 1, 2];
    with_class(|class| {
        let spread = (0..).map(NodeId).zip(weights).collect();
        class.update(&KernelPlan { spread, ..KernelPlan::to(NodeId(0), None) })?;
        let mut sleepers = (0..NR).map(|_| start_sleeper()).collect::<Result<Vec<_>>>()?;
        std::thread::sleep(Duration::from_secs(1));
        let mut placed = vec![0u32; nr_nodes() as usize];
        let mut nr_there = 0;
        for sleeper in &mut sleepers {
            let node = class.placement(sleeper.id())?.context("a process wasn't placed at exec")?.0 as usize;
            placed[node] += 1;
            nr_there += usize::from(process_run_ns(sleeper.id() as i32)?[node] > 0);
            sleeper.kill()?;
            sleeper.wait()?;
        }
        std::thread::sleep(Duration::from_millis(100));
        for sleeper in &sleepers {
            ensure!(class.placement(sleeper.id())?.is_none(), "a placement outlives its process");
        }
        ensure!(nr_there >= NR * 9 / 10, "{nr_there} of {NR} processes have run where they were placed");
        for (node, weight) in weights.into_iter().enumerate() {
            let fair = NR as u32 * weight / weights.iter().sum::<u32>();
            ensure!(placed[node].abs_diff(fair) <= 2, "placed by node: {placed:?}");
        }
        Ok(format!("{NR} processes, by node {placed:?}, {nr_there} have run there"))
    })
}

pub fn without_an_idle_cpu_exec_places_processes_on_nodes_of_no_weight() -> Result<String> {
    const NR: usize = 20;
    with_class(|class| {
        let spread = [(NodeId(0), 1)].into();
        let overflow = [NodeId(1), NodeId(2)].into();
        class.update(&KernelPlan { spread, overflow, ..KernelPlan::to(NodeId(0), None) })?;
        let placed = || -> Result<Vec<usize>> {
            let start_alone = || {
                let sleeper = start_sleeper();
                // Until it sleeps it is work that the next one may have to wait for.
                std::thread::sleep(Duration::from_millis(50));
                sleeper
            };
            let mut sleepers = (0..NR).map(|_| start_alone()).collect::<Result<Vec<_>>>()?;
            let mut placed = vec![0; nr_nodes() as usize];
            for sleeper in &mut sleepers {
                placed[class.placement(sleeper.id())?.context("a process wasn't placed at exec")?.0 as usize] += 1;
                sleeper.kill()?;
                sleeper.wait()?;
            }
            Ok(placed)
        };
        let idle = placed()?;
        ensure!(idle[0] >= NR * 9 / 10, "with an idle CPU, placed by node: {idle:?}");
        let _busy = Worker::start(&migratable())?;
        std::thread::sleep(Duration::from_millis(500));
        let busy = placed()?;
        ensure!(busy[1] + busy[2] >= NR * 9 / 10 && busy[3] == 0, "without an idle CPU, placed by node: {busy:?}");
        Ok(format!("{NR} processes, by node {idle:?} with an idle CPU, {busy:?} without"))
    })
}

/// Hogs `from` and waits until work has left it. Returns the time from when a millisecond was stolen to the last run there.
fn time_to_leave(class: &SchedulerClass<'_>, from: u32) -> Result<Duration> {
    let cpus = node_cpus(from)?;
    let stolen_ns = || -> Result<u64> {
        let times = class.counters()?.cpu_times.context("the kernel shows no CPU times")?;
        Ok(times.iter().filter(|(cpu, ..)| cpus.contains(cpu)).map(|(_, _, stolen_ns)| stolen_ns).sum())
    };
    let mut before = stolen_ns()?;
    hog(&cpus)?;
    let mut seen = Instant::now();
    wait_for("the hog steals time", Duration::from_secs(10), || {
        let now = stolen_ns()?;
        let has_begun = now > before + 1_000_000;
        // What others on its host do now and then is no hog.
        if seen.elapsed() > Duration::from_millis(20) {
            (before, seen) = (now, Instant::now());
        }
        Ok(has_begun)
    })?;
    time_to_last_run(from, Duration::from_millis(500))
}

pub fn a_node_that_is_hit_is_left_at_once() -> Result<String> {
    const MEDIAN_MAX: Duration = Duration::from_millis(50);
    const NR_DRILLS: u32 = 10;
    let nr_nodes = nr_nodes();
    let _bound = BoundTo::node(nr_nodes - 1)?;
    with_class(|class| {
        let hits = class.hits()?;
        let workers = {
            let all: Vec<u32> = (0..nr_nodes).map(node_cpus).collect::<Result<Vec<_>>>()?.concat();
            let _free = BoundTo::cpus(&all)?;
            Worker::start_many(4, &migratable())?
        };
        let mut reactions = Vec::new();
        let mut seen = Vec::new();
        for nr in 0..NR_DRILLS {
            let (from, to) = (nr % 3, (nr + 1) % 3);
            let fallback = [(NodeId(from), NodeId(to))].into();
            let known_hits = (0..nr_nodes).map(NodeId).collect();
            let plan = KernelPlan { fallback, known_hits, ..KernelPlan::to(NodeId(from), None) };
            class.retarget(&plan)?;
            std::thread::sleep(Duration::from_secs(1));
            // The end of the last hog may have hit the node: forget it.
            class.update(&plan)?;
            hits.take()?;
            reactions.push(time_to_leave(class, from)?);
            let there = run_ns_in(Duration::from_millis(200), nr_nodes)?;
            hog(&[])?;
            let hit = hits.take()?;
            ensure!(!hit.is_empty(), "no hit was reported");
            ensure!(hit[0].node.0 == from && hit[0].is_left, "the hits: {hit:?}");
            seen.push((hit[0].stolen_ns / 1_000_000, hit[0].run_ns / 1_000_000));
            ensure!(there[to as usize] > 100_000_000, "run time after the hit, ns by node: {there:?}");
            std::thread::sleep(Duration::from_secs(1));
        }
        drop(workers);
        reactions.sort_unstable();
        let ms: Vec<_> = reactions.iter().map(Duration::as_millis).collect();
        ensure!(reactions[reactions.len() / 2] <= MEDIAN_MAX, "ms from 1 ms stolen to the last run: {ms:?}; {seen:?}");
        Ok(format!(
            "from 1 ms stolen to the last run time on the node, ms: {ms:?}; stolen and run ms at the hit: {seen:?}"
        ))
    })
}
