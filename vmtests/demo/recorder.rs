//! The demo's load and its record: for each second, who had the CPU of each node's host, and the work done there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use procfs::{CurrentSI, KernelStats};

use super::record::{NodeSecond, Second};

use crate::guest::hog_times::HogTimes;
use crate::guest::workers::{total_work, BoundTo, Setting, Worker, NODES_MAX};
use crate::guest::{hog, node_cpus, nr_nodes, Scheduler};

/// The same load on the same nodes, first under the guest's own scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PhaseName {
    /// Linux alone: the kernel's fair class runs all tasks
    Alone,
    /// scx_vnuma decides where the migratable tasks run
    With,
}

const NR_MIGRATABLE: usize = 8;

/// The hosts with a hog, and for how many seconds. It is the same in both phases, wherever the work is. Host 0 has none: the fixed
/// task stays there.
const SCHEDULE: [(&[u32], u32); 7] = [(&[], 6), (&[1], 7), (&[], 7), (&[3], 7), (&[], 7), (&[1, 2], 7), (&[], 7)];

/// scx_vnuma's decision log. It is in memory until the end: writing it to the share would count as the guest's work.
const DECISIONS: &str = "/tmp/decisions.jsonl";

const SECOND_MIN: Duration = Duration::from_millis(500);

/// Runs one phase of the demo and records it to /lab/out/PHASE.jsonl, and scx_vnuma's decisions to /lab/out/decisions.jsonl.
pub fn record(phase: PhaseName) -> Result<()> {
    let fixed = Setting { cpu: node_cpus(0)?.first().copied(), in_bursts: true, ..Setting::default() };
    let fixed = Worker::start(&fixed)?;
    let migratable = Worker::start_many(NR_MIGRATABLE, &Setting::migratable())?;
    let (file, scheduler) = match phase {
        PhaseName::Alone => ("alone", None),
        PhaseName::With => ("with", Some(Scheduler::start(&["--log", DECISIONS])?)),
    };
    // Recording is work too: it stays with the fixed task, away from the hogs.
    let _bound = BoundTo::node(0)?;
    let mut recorder = Recorder::start(migratable, fixed, scheduler)?;
    let mut end = Instant::now();
    for (hogged, nr_seconds) in SCHEDULE {
        let cpus = hogged.iter().map(|&node| node_cpus(node)).collect::<Result<Vec<_>>>()?.concat();
        hog(&cpus)?;
        for _ in 0..nr_seconds {
            // By the clock, so that both phases last equally long, but never so short that it holds a few ticks only.
            end = (end + Duration::from_secs(1)).max(Instant::now() + SECOND_MIN);
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
            recorder.second(hogged)?;
        }
    }
    hog(&[])?;
    std::fs::write(format!("/lab/out/{file}.jsonl"), recorder.record)?;
    if let Some(scheduler) = &mut recorder.scheduler {
        scheduler.end(libc::SIGTERM)?;
        std::fs::copy(DECISIONS, "/lab/out/decisions.jsonl").context("copying the decision log")?;
    }
    Ok(())
}

/// All counters at one time.
struct Sample {
    at: Instant,
    cpus: KernelStats,
    hogs: HogTimes,
    work: [u64; NODES_MAX],
    fixed_work: u64,
}

struct Recorder {
    /// It is written at the end: the kernel's threads that write it would count as the guest's work.
    record: String,
    start: Instant,
    last: Sample,
    migratable: Vec<Worker>,
    fixed: Worker,
    scheduler: Option<Scheduler>,
    log_shown: usize,
}

impl Recorder {
    fn start(migratable: Vec<Worker>, fixed: Worker, scheduler: Option<Scheduler>) -> Result<Self> {
        let last = Sample::take(&migratable, &fixed, HogTimes::request()?)?;
        Ok(Recorder { record: String::new(), start: last.at, last, migratable, fixed, scheduler, log_shown: 0 })
    }

    /// Records and shows the time since the last call.
    fn second(&mut self, hogged: &[u32]) -> Result<()> {
        let now = Sample::take(&self.migratable, &self.fixed, HogTimes::read()?)?;
        let before = std::mem::replace(&mut self.last, now);
        let second = Second {
            from_s: before.at.duration_since(self.start).as_secs_f64(),
            to_s: self.last.at.duration_since(self.start).as_secs_f64(),
            fixed_work: self.last.fixed_work - before.fixed_work,
            nodes: (0..nr_nodes()).map(|node| self.last.since(&before, node, hogged)).collect::<Result<_>>()?,
        };
        self.record += &serde_json::to_string(&second)?;
        self.record.push('\n');
        self.show(&second)
    }

    /// Prints the scheduler's new log lines, and a line of the timeline.
    fn show(&mut self, second: &Second) -> Result<()> {
        if let Some(scheduler) = &self.scheduler {
            let log = scheduler.log()?;
            log[self.log_shown..].lines().for_each(|line| println!("            {line}"));
            self.log_shown = log.len();
        }
        println!("{second}");
        Ok(())
    }
}

impl Sample {
    fn take(migratable: &[Worker], fixed: &Worker, hogs: HogTimes) -> Result<Self> {
        Ok(Sample {
            at: Instant::now(),
            cpus: KernelStats::current()?,
            hogs,
            work: total_work(migratable),
            fixed_work: fixed.work().iter().sum(),
        })
    }

    /// What happened on a node since `before`.
    fn since(&self, before: &Sample, node: u32, hogged: &[u32]) -> Result<NodeSecond> {
        let cpus = node_cpus(node)?;
        let wall_s = self.at.duration_since(before.at).as_secs_f64();
        let guest = self.guest_time(&cpus)?.since(&before.guest_time(&cpus)?);
        let (work_cpus, other_cpus) = guest.split(wall_s * cpus.len() as f64);
        // By the host level's clock, because its times may be older than this sample.
        let host_s = self.hogs.uptime_s - before.hogs.uptime_s;
        let hog_cpus = |ns: u64| if host_s > 0.0 { ns as f64 / 1e9 / host_s } else { 0.0 };
        let (hogs, hogs_before) = (self.hogs.of_cpus(&cpus), before.hogs.of_cpus(&cpus));
        Ok(NodeSecond {
            work: self.work[node as usize] - before.work[node as usize],
            work_cpus: work_cpus / wall_s,
            other_cpus: other_cpus / wall_s,
            stolen_cpus: guest.stolen_s / wall_s,
            has_hog: hogged.contains(&node),
            hog_cpus: hog_cpus(hogs.ran_ns.saturating_sub(hogs_before.ran_ns)),
            hog_waited_cpus: hog_cpus(hogs.waited_ns.saturating_sub(hogs_before.waited_ns)),
        })
    }

    fn guest_time(&self, cpus: &[u32]) -> Result<GuestTime> {
        let mut sum = GuestTime::default();
        for &cpu in cpus {
            // The demo switches no CPU off, so the index is the id.
            let time = self.cpus.cpu_time.get(cpu as usize).with_context(|| format!("CPU {cpu} is not online"))?;
            let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
            sum.nice_s += seconds(time.nice);
            sum.other_s += seconds(time.user + time.system + time.irq.unwrap_or(0) + time.softirq.unwrap_or(0));
            sum.idle_s += seconds(time.idle + time.iowait.unwrap_or(0));
            sum.stolen_s += seconds(time.steal.unwrap_or(0));
        }
        Ok(sum)
    }
}

/// Time of some vCPUs as the guest's kernel counts it, CPU-seconds.
#[derive(Debug, Default)]
struct GuestTime {
    /// Of tasks with a nice value above 0: the migratable tasks, and for 10 ms a second scx_vnuma's probe of an empty node.
    nice_s: f64,
    /// All else that ran.
    other_s: f64,
    idle_s: f64,
    stolen_s: f64,
}

impl GuestTime {
    fn since(&self, before: &GuestTime) -> GuestTime {
        GuestTime {
            nice_s: self.nice_s - before.nice_s,
            other_s: self.other_s - before.other_s,
            idle_s: self.idle_s - before.idle_s,
            stolen_s: self.stolen_s - before.stolen_s,
        }
    }

    /// The time that migratable tasks ran and the time that all else ran, out of `wall_s` of all vCPUs.
    ///
    /// The kernel measures idle and stolen time, but counts running time by ticks, and an emulated CPU loses ticks when the real
    /// one has other work. So the ticks only say how the time that was neither idle nor stolen is split.
    fn split(&self, wall_s: f64) -> (f64, f64) {
        let ran_s = (wall_s - self.idle_s - self.stolen_s).max(0.0);
        let ticked_s = self.nice_s + self.other_s;
        if ticked_s <= 0.0 {
            return (0.0, ran_s);
        }
        (ran_s * self.nice_s / ticked_s, ran_s * self.other_s / ticked_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_ticks_are_made_up_for() {
        // Half of the ticks of 1.5 s of running are lost.
        let time = GuestTime { nice_s: 0.5, other_s: 0.25, idle_s: 0.25, stolen_s: 0.25 };
        assert_eq!(time.split(2.0), (1.0, 0.5));
    }

    #[test]
    fn a_cpu_without_a_tick_ran_none_of_the_work() {
        assert_eq!(GuestTime { idle_s: 0.75, ..GuestTime::default() }.split(1.0), (0.0, 0.25));
    }
}
