//! What happened between two rounds, and who says what of each node's pressure.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{CpuTime, CpuTimeReader, CpuTimes, Hosts, NodeReadings, Nodes, Probes, Reading};
use crate::bpf::{Class, RunTime, RunTimes};
use crate::cell::NodeId;

/// All counters at one moment.
struct Snapshot {
    at: Instant,
    cpu_times: CpuTimes,
    run_times: RunTimes,
    nr_queued: Vec<u32>,
}

/// What happened between two samples.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// How long it was, by the guest's clock.
    pub wall: Duration,
    /// Each CPU's time in it. Only CPUs that were online at its end.
    pub cpu_times: CpuTimes,
    /// Time in it that processes' migratable tasks really ran, ns; 0 for those that only ran shortly before.
    pub used_ns: HashMap<(u32, NodeId), u64>,
    /// Tasks that waited in each node's queue at its end, by node id.
    pub nr_queued: Vec<u32>,
}

impl Window {
    /// How many of these CPUs were online.
    pub fn nr_online(&self, cpus: &[u32]) -> usize {
        self.online(cpus).count()
    }

    /// The time of these CPUs together.
    pub fn sum(&self, cpus: &[u32]) -> CpuTime {
        self.online(cpus).fold(CpuTime::default(), |sum, time| CpuTime {
            busy_ns: sum.busy_ns + time.busy_ns,
            steal_ns: sum.steal_ns + time.steal_ns,
        })
    }

    /// Time in CPUs: of a window of 2 s, 1 s is half a CPU.
    pub fn in_cpus(&self, ns: u64) -> f64 {
        match self.wall.as_nanos() {
            0 => 0.0,
            wall_ns => ns as f64 / wall_ns as f64,
        }
    }

    fn online<'a>(&'a self, cpus: &'a [u32]) -> impl Iterator<Item = &'a CpuTime> {
        cpus.iter().filter_map(|cpu| self.cpu_times.get(cpu))
    }
}

/// Turns counters into windows, one a round, and asks the sources.
pub struct Sampler {
    /// For kernels that don't show CPUs' times to programs.
    reader: CpuTimeReader,
    /// With the run times also of processes that were asked for once and have not been of late.
    last: Option<Snapshot>,
    recently_ran: RecentlyRan,
    hosts: Hosts,
    probes: Option<Probes>,
}

impl Sampler {
    /// Opens what it reads from. Nodes that neither steal nor a host speaks for are probed.
    pub fn open(hosts: Hosts, probes: Option<Probes>) -> Result<Self> {
        Ok(Sampler { reader: CpuTimeReader::open()?, last: None, recently_ran: RecentlyRan::default(), hosts, probes })
    }

    /// The window since the last call; `None` the first time. Only `processes`, if they are named, can have run.
    pub fn window(&mut self, class: &dyn Class, processes: Option<&[u32]>) -> Result<Option<Window>> {
        /// So many are remembered at most, though many of their processes may have ended.
        const REMEMBERED_MAX: usize = 4096;

        let counters = class.counters()?;
        let cpu_times = match counters.cpu_times {
            Some(times) => {
                times.into_iter().map(|(cpu, busy_ns, steal_ns)| (cpu, CpuTime { busy_ns, steal_ns })).collect()
            }
            None => self.reader.read()?,
        };
        // Reading all tells which of them are alive.
        let processes = processes.filter(|_| self.nr_remembered() <= REMEMBERED_MAX);
        let run_times = class.run_times(processes)?;
        let mut now = Snapshot { at: Instant::now(), cpu_times, run_times, nr_queued: counters.nr_queued };
        let mut window = self.last.as_ref().map(|last| between(last, &now));
        if let Some(window) = &mut window {
            self.recently_ran.complete(&mut window.used_ns, now.at);
        }
        if let Some(last) = self.last.take().filter(|_| processes.is_some()) {
            remember(last.run_times, &mut now.run_times);
        }
        self.last = Some(now);
        Ok(window)
    }

    fn nr_remembered(&self) -> usize {
        self.last.as_ref().map_or(0, |last| last.run_times.len())
    }

    /// What each node's sources say at the end of `window`. Probes go on where nothing else speaks.
    pub fn readings(&self, window: &Window, nodes: &Nodes) -> BTreeMap<NodeId, NodeReadings> {
        let readings = nodes.iter().map(|(node, cpus)| {
            let (host, host_psi_share) = (self.hosts.reading(node), self.hosts.psi_share(node));
            let mut readings = NodeReadings { host, host_psi_share, ..steal_readings(window, cpus) };
            if let Some(probes) = self.probes.as_ref().filter(|_| readings.host.is_none()) {
                probes.ask(node, !readings.has_run && window.nr_online(cpus) > 0);
                readings.probe = probes.reading(node);
            }
            (node, readings)
        });
        readings.collect()
    }

    /// Asks the hosts and probes the nodes that hardly run anything once more, now, and says in `readings` what came out: before
    /// work goes to a node, more is wanted than what was true a second ago. Returns false when there was nobody to ask.
    pub fn confirm(&self, readings: &mut BTreeMap<NodeId, NodeReadings>) -> bool {
        /// Hosts answer within some ms; one that doesn't is taken at its last reading.
        const PATIENCE: Duration = Duration::from_millis(100);

        let has_asked = self.hosts.refresh_now(PATIENCE);
        for (node, readings) in readings.iter_mut() {
            (readings.host, readings.host_psi_share) = (self.hosts.reading(*node), self.hosts.psi_share(*node));
        }
        let Some(probes) = &self.probes else { return has_asked };
        let is_empty = |node| readings.get(&node).is_some_and(|readings| !readings.has_run);
        let late = probes.refresh_now(is_empty);
        for (node, readings) in readings.iter_mut().filter(|(_, readings)| !readings.has_run) {
            readings.probe = if late.contains(node) { Some(Reading::Failed) } else { probes.reading(*node) };
        }
        true
    }

    /// A process has been sent to another node: who ran of late ran there, as far as the next windows are concerned.
    pub fn moved(&mut self, tgid: u32, from: NodeId, to: NodeId) {
        self.recently_ran.moved(tgid, from, to);
    }

    /// Threads that must stay on the node that they look at.
    pub fn bound_threads(&self) -> Vec<i32> {
        self.probes.as_ref().map(Probes::threads).unwrap_or_default()
    }

    /// CPU time that the probes have taken so far.
    pub fn probed(&self) -> Duration {
        self.probes.as_ref().map(Probes::cpu_time).unwrap_or_default()
    }
}

/// Who ran where of late. A window may be so short that work on a busy node gets no turn in it; it is there all the same.
#[derive(Default)]
struct RecentlyRan {
    last_ran: HashMap<(u32, NodeId), Instant>,
}

impl RecentlyRan {
    /// Within this time even who is starved by fixed tasks gets a turn (the kernel's deadline server for sched_ext).
    const LASTS: Duration = Duration::from_secs(1);

    /// Adds to a window that ends `now` who ran shortly before it, at 0 ns.
    fn complete(&mut self, used_ns: &mut HashMap<(u32, NodeId), u64>, now: Instant) {
        self.last_ran.extend(used_ns.keys().map(|&key| (key, now)));
        self.last_ran.retain(|_, at| now.duration_since(*at) < Self::LASTS);
        for &key in self.last_ran.keys() {
            used_ns.entry(key).or_insert(0);
        }
    }

    fn moved(&mut self, tgid: u32, from: NodeId, to: NodeId) {
        if let Some(at) = self.last_ran.remove(&(tgid, from)) {
            self.last_ran.insert((tgid, to), at);
        }
    }
}

/// Steal shows at most what the guest wanted to run: below this share of a CPU it says little of the host.
const WANTED_CPUS_MIN: f64 = 0.25;

fn steal_readings(window: &Window, cpus: &[u32]) -> NodeReadings {
    let time = window.sum(cpus);
    let nr_online = window.nr_online(cpus).max(1) as f64;
    NodeReadings {
        steal_share: (window.in_cpus(time.steal_ns) / nr_online).min(1.0),
        has_run: window.in_cpus(time.busy_ns + time.steal_ns) >= WANTED_CPUS_MIN,
        ..NodeReadings::default()
    }
}

/// Keeps what was read earlier of who has not been asked for this time: a process that is given back and selected again goes
/// on where it was.
fn remember(earlier: RunTimes, now: &mut RunTimes) {
    for (key, time) in earlier {
        now.entry(key).or_insert(time);
    }
}

fn between(earlier: &Snapshot, later: &Snapshot) -> Window {
    let cpu_times = later.cpu_times.iter().map(|(&cpu, time)| {
        // A CPU that was offline before has no baseline: nothing is known of it in this window.
        let before = earlier.cpu_times.get(&cpu).unwrap_or(time);
        (cpu, time.since(*before))
    });
    let used_ns = later.run_times.iter().map(|(&key, time)| {
        let before = earlier.run_times.get(&key).copied().unwrap_or_else(RunTime::default);
        // Less than before is another process of the same id.
        let before = if time.run_ns < before.run_ns { RunTime::default() } else { before };
        (key, time.used_ns().saturating_sub(before.used_ns()))
    });
    Window {
        wall: later.at.duration_since(earlier.at),
        cpu_times: cpu_times.collect(),
        used_ns: used_ns.filter(|(_, used_ns)| *used_ns > 0).collect(),
        nr_queued: later.nr_queued.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_times: CpuTimes) -> Snapshot {
        Snapshot { at: Instant::now(), cpu_times, run_times: RunTimes::new(), nr_queued: Vec::new() }
    }

    #[test]
    fn a_cpu_that_comes_online_in_the_window_brings_no_history() {
        let old = CpuTime { busy_ns: 900, steal_ns: 900 };
        let window = between(&sample(CpuTimes::new()), &sample(CpuTimes::from([(1, old)])));
        assert_eq!(window.cpu_times[&1], CpuTime::default());
    }

    #[test]
    fn a_process_that_was_not_asked_for_in_between_goes_on_where_it_was() {
        let sample_of = |tgid: u32, run_ns| {
            let run_times = RunTimes::from([((tgid, NodeId(0)), RunTime { run_ns, ..RunTime::default() })]);
            Snapshot { run_times, ..sample(CpuTimes::new()) }
        };
        let mut without_it = sample_of(8, 1);
        remember(sample_of(7, 900).run_times, &mut without_it.run_times);
        let used_ns = |run_ns| between(&without_it, &sample_of(7, run_ns)).used_ns.get(&(7, NodeId(0))).copied();
        assert_eq!(used_ns(950), Some(50));
        assert_eq!(used_ns(900), None);
        assert_eq!(used_ns(20), Some(20), "another process of the same id");
    }

    #[test]
    fn who_ran_within_the_last_second_is_still_there() {
        let (start, key) = (Instant::now(), (7, NodeId(0)));
        let mut recent = RecentlyRan::default();
        let mut seen = |used_ns: &[((u32, NodeId), u64)], at_ms| {
            let mut used_ns = used_ns.iter().copied().collect();
            recent.complete(&mut used_ns, start + Duration::from_millis(at_ms));
            used_ns.get(&key).copied()
        };
        assert_eq!(seen(&[(key, 50)], 0), Some(50));
        assert_eq!(seen(&[], 999), Some(0));
        assert_eq!(seen(&[], 1000), None);
        assert_eq!(seen(&[], 1001), None);
    }

    #[test]
    fn who_was_sent_on_is_there_before_it_has_run_there() {
        let (start, from, to) = (Instant::now(), NodeId(0), NodeId(1));
        let mut recent = RecentlyRan::default();
        recent.complete(&mut HashMap::from([((7, from), 50), ((8, from), 50)]), start);
        recent.moved(7, from, to);
        recent.moved(9, from, to);
        let mut used_ns = HashMap::new();
        recent.complete(&mut used_ns, start + Duration::from_millis(50));
        assert_eq!(used_ns, HashMap::from([((7, to), 0), ((8, from), 0)]));
    }

    #[test]
    fn steal_is_a_share_of_wall_time_and_of_the_nodes_cpus() {
        const MS: u64 = 1_000_000;
        let time = |busy_ms, steal_ms| CpuTime { busy_ns: busy_ms * MS, steal_ns: steal_ms * MS };
        let window = Window {
            wall: Duration::from_secs(2),
            cpu_times: CpuTimes::from([(0, time(1000, 1000)), (1, time(0, 750)), (2, time(0, 0)), (3, time(400, 0))]),
            ..Window::default()
        };
        assert_eq!(
            steal_readings(&window, &[0]),
            NodeReadings { steal_share: 0.5, has_run: true, ..NodeReadings::default() }
        );
        assert_eq!(
            steal_readings(&window, &[1, 2, 4]),
            NodeReadings { steal_share: 0.1875, has_run: true, ..NodeReadings::default() }
        );
        assert_eq!(
            steal_readings(&window, &[3]),
            NodeReadings::default(),
            "a fifth of a CPU can't show what the host does"
        );
    }
}
