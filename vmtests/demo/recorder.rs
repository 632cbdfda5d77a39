//! The demo's load and its record: for each second, the time stolen from each node and the work done there.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use scx_vnuma::sense::{CpuTimeReader, CpuTimes};

use super::record::Second;

use crate::guest::workers::{total_work, Setting, Worker, NODES_MAX};
use crate::guest::{hog, node_cpus, nr_nodes, target, Scheduler};

/// The same load, without the scheduler and with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PhaseName {
    /// The migratable tasks are bound to node 0
    Without,
    /// scx_vnuma decides where they run
    With,
}

const NR_MIGRATABLE: usize = 8;
const CALM: Duration = Duration::from_secs(6);
const HOGGED: Duration = Duration::from_secs(12);
const HOG_PLACES: u32 = 3;

/// Runs one phase of the demo and records it to /lab/out/PHASE.jsonl.
pub fn record(phase: PhaseName) -> Result<()> {
    let node_0 = node_cpus(0)?;
    let with = phase == PhaseName::With;
    let fixed = Worker::start(&Setting { cpu: node_0.first().copied(), in_bursts: true, ..Setting::default() })?;
    // Without the scheduler, affinity keeps the work on one node, as in an ordinary VM on one host.
    let bound = if with { None } else { node_0.first().copied() };
    let migratable = Worker::start_many(NR_MIGRATABLE, &Setting { cpu: bound, ..Setting::migratable() })?;
    let scheduler = if with { Some(Scheduler::start(&["--interval", "1s", "-v"])?) } else { None };
    let mut recorder = Recorder::start(if with { "with" } else { "without" }, migratable, fixed, scheduler)?;
    recorder.seconds(CALM, None)?;
    for _ in 0..HOG_PLACES {
        let place = recorder.where_the_work_is();
        hog(&node_cpus(place)?)?;
        recorder.seconds(HOGGED, Some(place))?;
    }
    hog(&[])
}

struct Recorder {
    file: File,
    start: Instant,
    cpu_times: CpuTimeReader,
    last: (Instant, CpuTimes, [u64; NODES_MAX], u64),
    last_work: [u64; NODES_MAX],
    migratable: Vec<Worker>,
    fixed: Worker,
    scheduler: Option<Scheduler>,
    log_shown: usize,
}

impl Recorder {
    fn start(phase: &str, migratable: Vec<Worker>, fixed: Worker, scheduler: Option<Scheduler>) -> Result<Self> {
        let mut cpu_times = CpuTimeReader::open()?;
        let now = (Instant::now(), cpu_times.read()?, total_work(&migratable), fixed.work().iter().sum());
        Ok(Recorder {
            file: File::create(format!("/lab/out/{phase}.jsonl"))?,
            start: now.0,
            cpu_times,
            last: now,
            last_work: [0; NODES_MAX],
            migratable,
            fixed,
            scheduler,
            log_shown: 0,
        })
    }

    fn where_the_work_is(&self) -> u32 {
        (0..nr_nodes()).max_by_key(|&node| self.last_work[node as usize]).unwrap_or(0)
    }

    fn seconds(&mut self, duration: Duration, hogged: Option<u32>) -> Result<()> {
        for _ in 0..duration.as_secs() {
            std::thread::sleep(Duration::from_secs(1));
            let second = self.second(hogged)?;
            writeln!(self.file, "{}", serde_json::to_string(&second)?)?;
            self.show(&second)?;
        }
        Ok(())
    }

    fn second(&mut self, hogged: Option<u32>) -> Result<Second> {
        let now =
            (Instant::now(), self.cpu_times.read()?, total_work(&self.migratable), self.fixed.work().iter().sum());
        let (at, cpu_times, work, fixed_work) = std::mem::replace(&mut self.last, now);
        let (at_now, cpu_times_now, work_now, fixed_work_now) = &self.last;
        let wall_s = at_now.duration_since(at).as_secs_f64();
        let stolen = (0..nr_nodes()).map(|node| {
            let cpus = node_cpus(node)?;
            let steal_ns: u64 =
                cpus.iter().filter_map(|cpu| Some(cpu_times_now.get(cpu)?.since(*cpu_times.get(cpu)?).steal_ns)).sum();
            Ok(steal_ns as f64 / 1e9 / wall_s)
        });
        let stolen_cpus = stolen.collect::<Result<_>>()?;
        self.last_work = std::array::from_fn(|node| work_now[node] - work[node]);
        let plan = self.scheduler.as_ref().map(|_| target()).transpose()?;
        Ok(Second {
            from_s: at.duration_since(self.start).as_secs_f64(),
            to_s: at_now.duration_since(self.start).as_secs_f64(),
            stolen_cpus,
            migratable_work: self.last_work[..nr_nodes() as usize].to_vec(),
            fixed_work: fixed_work_now - fixed_work,
            hogged,
            epoch: plan.map(|plan| plan.epoch),
            destination: plan.map(|plan| plan.destination.first as u32),
        })
    }

    /// Prints the scheduler's new log lines, and a line of the timeline.
    fn show(&mut self, second: &Second) -> Result<()> {
        if let Some(scheduler) = &self.scheduler {
            let log = scheduler.log()?;
            log[self.log_shown..].lines().for_each(|line| println!("            {line}"));
            self.log_shown = log.len();
        }
        let steal: Vec<String> = second.stolen_cpus.iter().map(|cpus| format!("{:3.0}%", cpus * 100.0)).collect();
        let hog = second.hogged.map_or("no hog       ".to_string(), |node| format!("hog on host {node}"));
        let total: u64 = second.migratable_work.iter().sum();
        let share = |work: &u64| format!("{:3}%", work * 100 / total.max(1));
        let shares: Vec<String> = second.migratable_work.iter().map(share).collect();
        println!("{:4.0} s  {hog}  steal {}  work {}", second.to_s, steal.join(" "), shares.join(" "));
        Ok(())
    }
}
