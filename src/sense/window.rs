//! Counter differences between two rounds, and the sources' readings of each node's pressure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{CpuTime, CpuTimeReader, CpuTimes, Dsm, Hosts, NodeReadings, Nodes, Probes, Reading};
use crate::bpf::{Class, RunTime, RunTimes};
use crate::cell::NodeId;
use crate::linux::CpuSet;

/// All counters at one moment.
struct Snapshot {
    at: Instant,
    cpu_times: CpuTimes,
    run_times: RunTimes,
    nr_queued: Vec<u32>,
    rested_ns: Vec<u64>,
}

/// Counter differences between two samples.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Length of the window by the guest's clock.
    pub wall: Duration,
    /// Each CPU's time in the window, for CPUs that were online at its end.
    pub cpu_times: CpuTimes,
    /// Time that a process's migratable tasks really ran on a node in the window, ns, by (process id, node); 0 if they
    /// ran only shortly before it.
    pub used_ns: HashMap<(u32, NodeId), u64>,
    /// Time that a process's migratable tasks waited to run on a node, ns, by (process id, node), summed over the tasks. A
    /// task that still waits adds its time once it runs.
    pub waited_ns: HashMap<(u32, NodeId), u64>,
    /// CPUs whose steal time can't be true in this window: more than the window is long, or less than before. Live
    /// migration, suspends and hypervisors' errors make such jumps.
    pub implausible_steal: BTreeSet<u32>,
    /// Length of each node's queue of waiting tasks at the end of the window, by node id.
    pub nr_queued: Vec<u32>,
    /// Time for which CPUs of a node gave way to others in the window while tasks were queued, ns, by node id.
    pub rested_ns: Vec<u64>,
    /// True if the kernel side can make nodes give way to others.
    pub can_give_way: bool,
}

impl Window {
    /// Return true if the window is too long for rounds every `interval`: the guest or the daemon was paused, or the clock
    /// jumped. What was stolen meanwhile says nothing of the pressure now.
    pub fn spans_a_pause(&self, interval: Duration) -> bool {
        /// Rounds may be late: a busy guest, or one on emulated CPUs, delays them by seconds.
        const LATE_MAX: Duration = Duration::from_secs(5);
        const LATE_MAX_ROUNDS: u32 = 10;

        self.wall > LATE_MAX.max(interval.saturating_mul(LATE_MAX_ROUNDS))
    }

    /// Number of these CPUs that were online.
    pub fn nr_online(&self, cpus: &CpuSet) -> usize {
        self.online(cpus).count()
    }

    /// Sum of the time of these CPUs.
    pub fn sum(&self, cpus: &CpuSet) -> CpuTime {
        self.online(cpus).fold(CpuTime::default(), |sum, time| CpuTime {
            busy_ns: sum.busy_ns + time.busy_ns,
            steal_ns: sum.steal_ns + time.steal_ns,
        })
    }

    /// Number of migratable tasks that wait in a node's queue at the end of the window.
    pub fn nr_queued_on(&self, node: NodeId) -> u32 {
        self.nr_queued.get(node.0 as usize).copied().unwrap_or(0)
    }

    /// Time that migratable tasks really ran on a node in the window, ns. Busy time is sampled by ticks, which may be lost;
    /// this is exact.
    pub fn used_ns_on(&self, node: NodeId) -> u64 {
        self.used_ns.iter().filter(|((_, ran_on), _)| *ran_on == node).map(|(_, ns)| ns).sum()
    }

    /// Time for which CPUs of a node gave way while tasks were queued, ns.
    pub fn rested_ns_on(&self, node: NodeId) -> u64 {
        self.rested_ns.get(node.0 as usize).copied().unwrap_or(0)
    }

    /// Convert time to CPUs: in a window of 2 s, 1 s is half a CPU.
    pub fn in_cpus(&self, ns: u64) -> f64 {
        match self.wall.as_nanos() {
            0 => 0.0,
            wall_ns => ns as f64 / wall_ns as f64,
        }
    }

    fn online<'a>(&'a self, cpus: &'a CpuSet) -> impl Iterator<Item = &'a CpuTime> {
        cpus.iter().filter_map(|cpu| self.cpu_times.get(&cpu))
    }
}

/// Turns counters into one window per round and collects the sources' readings.
pub struct Sampler {
    /// Fallback for kernels that don't expose the CPUs' times to BPF programs.
    reader: CpuTimeReader,
    /// Its run times include processes that earlier calls read and the last one did not.
    last: Option<Snapshot>,
    recently_ran: RecentlyRan,
    hosts: Hosts,
    probes: Option<Probes>,
    dsm: Option<Dsm>,
    watched: Watched,
    /// Nodes that get no work, so that nobody needs to know how busy their hosts are.
    drained: BTreeSet<NodeId>,
}

/// The nodes that are probed when they are empty: in a large cell the readings of most affect nothing.
#[derive(Clone, Debug, Default)]
struct Watched(BTreeSet<NodeId>);

impl Watched {
    /// Return true if the policy wants fresh readings of `node`. One that names no nodes wants those of all.
    fn has(&self, node: NodeId) -> bool {
        self.0.is_empty() || self.0.contains(&node)
    }
}

impl Sampler {
    /// Open the sources. Nodes without a steal or host reading are probed.
    pub fn open(hosts: Hosts, probes: Option<Probes>) -> Result<Self> {
        Ok(Sampler {
            reader: CpuTimeReader::open()?,
            last: None,
            recently_ran: RecentlyRan::default(),
            hosts,
            probes,
            dsm: None,
            watched: Watched::default(),
            drained: BTreeSet::new(),
        })
    }

    /// Ask the hosts about their distributed memory too.
    pub fn with_dsm(mut self, dsm: Dsm) -> Self {
        self.dsm = Some(dsm);
        self
    }

    /// How long a vCPU waits for a page, in seconds, if the hosts tell.
    pub fn page_s(&self) -> Option<f64> {
        self.dsm.as_ref()?.page_s()
    }

    /// Ask other hosts from now on.
    pub fn set_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// Don't probe these nodes from now on.
    pub fn set_drained(&mut self, drained: BTreeSet<NodeId>) {
        self.drained = drained;
    }

    /// Probe in another way from now on.
    pub fn set_probes(&mut self, probes: Option<Probes>) {
        self.probes = probes;
    }

    /// From now on, probe only these nodes; all of them if there are none. The readings of others go stale.
    pub fn watch(&mut self, nodes: &BTreeSet<NodeId>) {
        if self.watched.0 != *nodes {
            self.watched.0.clone_from(nodes);
        }
    }

    /// The window since the last call; `None` on the first. If `processes` is given, only they can have run.
    pub fn window(&mut self, class: &dyn Class, processes: Option<&[u32]>) -> Result<Option<Window>> {
        /// At most this many run times are remembered, since many of their processes may have ended.
        const REMEMBERED_MAX: usize = 4096;

        let counters = class.counters()?;
        let cpu_times = match counters.cpu_times {
            Some(times) => {
                times.into_iter().map(|(cpu, busy_ns, steal_ns)| (cpu, CpuTime { busy_ns, steal_ns })).collect()
            }
            None => self.reader.read()?,
        };
        // Reading all of them drops those that have ended.
        let processes = processes.filter(|_| self.nr_remembered() <= REMEMBERED_MAX);
        let run_times = class.run_times(processes)?;
        let (nr_queued, rested_ns) = (counters.nr_queued, counters.rested_ns);
        let mut now = Snapshot { at: Instant::now(), cpu_times, run_times, nr_queued, rested_ns };
        let mut window = self.last.as_ref().map(|last| between(last, &now));
        if let Some(window) = &mut window {
            window.can_give_way = counters.can_give_way;
            let mut used_ns = std::mem::take(&mut window.used_ns);
            self.recently_ran.complete(&mut used_ns, now.at, |node| window.nr_queued_on(node) > 0);
            window.used_ns = used_ns;
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

    /// The sources' readings of each node at the end of `window`. Starts and stops periodic probes as nodes need them.
    pub fn readings(&self, window: &Window, nodes: &Nodes) -> BTreeMap<NodeId, NodeReadings> {
        let readings = nodes.iter().map(|(node, cpus)| {
            let (host, host_psi_share) = (self.hosts.reading(node), self.hosts.psi_share(node));
            let dsm = self.dsm.as_ref().and_then(|dsm| dsm.load(node));
            let mut readings = NodeReadings { host, host_psi_share, dsm, ..steal_readings(window, node, cpus) };
            match &self.probes {
                Some(probes) if readings.host.is_none() => {
                    let is_wanted = self.watched.has(node) && !self.drained.contains(&node);
                    probes.ask(node, !readings.has_run && window.nr_online(cpus) > 0 && is_wanted);
                    readings.probe = probes.reading(node);
                }
                Some(probes) => readings.probe = probes.found_busy(node),
                None => {}
            }
            (node, readings)
        });
        readings.collect()
    }

    /// Ask the hosts again, now, probe those of `nodes` that are nearly empty, and update `readings`: before work moves to a
    /// node, its readings must be fresher than a second. Returns false if there was nothing to ask.
    pub fn confirm(&self, readings: &mut BTreeMap<NodeId, NodeReadings>, nodes: &BTreeSet<NodeId>) -> bool {
        /// Hosts answer within some ms. For one that doesn't, the last reading counts.
        const PATIENCE: Duration = Duration::from_millis(100);

        let has_asked = self.hosts.refresh_now(PATIENCE);
        for (node, readings) in readings.iter_mut() {
            (readings.host, readings.host_psi_share) = (self.hosts.reading(*node), self.hosts.psi_share(*node));
        }
        let Some(probes) = &self.probes else { return has_asked };
        let asks = |node, readings: &NodeReadings| !readings.has_run && nodes.contains(&node);
        let late = probes.refresh_now(|node| readings.get(&node).is_some_and(|readings| asks(node, readings)));
        for (node, readings) in readings.iter_mut().filter(|(node, readings)| asks(**node, readings)) {
            readings.probe = if late.contains(node) { Some(Reading::Failed) } else { probes.reading(*node) };
        }
        true
    }

    /// Record that a process was sent to another node: if it ran recently, the next windows count it as having run
    /// there.
    pub fn moved(&mut self, tgid: u32, from: NodeId, to: NodeId) {
        self.recently_ran.moved(tgid, from, to);
    }

    /// Thread ids of the probes, which must stay on the nodes they measure.
    pub fn bound_threads(&self) -> Vec<i32> {
        self.probes.as_ref().map(Probes::threads).unwrap_or_default()
    }

    /// CPU time that all probes have used so far.
    pub fn probed(&self) -> Duration {
        self.probes.as_ref().map(Probes::cpu_time).unwrap_or_default()
    }
}

/// The processes that ran recently, and where. In a short window, work on a busy node may get no turn although it is
/// there.
#[derive(Default)]
struct RecentlyRan {
    last_ran: HashMap<(u32, NodeId), Instant>,
}

impl RecentlyRan {
    /// The kernel's deadline server for sched_ext gives even tasks that are starved by fixed ones a turn within this
    /// time.
    const LASTS: Duration = Duration::from_secs(1);
    /// The kernel ends a scheduler class under which a task doesn't get a turn for this long.
    const LASTS_WAITING: Duration = Duration::from_secs(30);

    /// Add to a window that ends `now` those that ran shortly before it, at 0 ns. Where tasks are still waiting in the node's
    /// queue, they may be these: under a limit, or on a node that is busy with fixed tasks, turns are rare.
    fn complete(
        &mut self,
        used_ns: &mut HashMap<(u32, NodeId), u64>,
        now: Instant,
        is_waited_on: impl Fn(NodeId) -> bool,
    ) {
        self.last_ran.extend(used_ns.keys().map(|&key| (key, now)));
        self.last_ran.retain(|(_, node), at| {
            let lasts = if is_waited_on(*node) { Self::LASTS_WAITING } else { Self::LASTS };
            now.duration_since(*at) < lasts
        });
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

/// Steal shows at most what the guest wanted to run: below this share of a CPU it tells little about the host.
const WANTED_CPUS_MIN: f64 = 0.25;

/// At least this share of a node's CPU counts as all of it.
const WANTED_ALL_SHARE: f64 = 0.85;

fn steal_readings(window: &Window, node: NodeId, cpus: &CpuSet) -> NodeReadings {
    let steal_failed = cpus.iter().any(|cpu| window.implausible_steal.contains(&cpu));
    let time = window.sum(cpus);
    let nr_online = window.nr_online(cpus).max(1) as f64;
    let rested_ns = window.rested_ns_on(node);
    let wanted_cpus = window.in_cpus(time.busy_ns.max(window.used_ns_on(node)) + time.steal_ns + rested_ns);
    NodeReadings {
        steal_share: (window.in_cpus(time.steal_ns) / nr_online).min(1.0),
        rested_share: (window.in_cpus(rested_ns) / nr_online).min(1.0),
        wanted_share: (wanted_cpus / nr_online).min(1.0),
        has_run: wanted_cpus >= WANTED_CPUS_MIN,
        wanted_all: window.nr_online(cpus) > 0 && wanted_cpus >= WANTED_ALL_SHARE * nr_online,
        steal_failed,
        ..NodeReadings::default()
    }
}

/// Keep the earlier run times of processes that were not read this time, so that a process that is selected again
/// continues where it was.
fn remember(earlier: RunTimes, now: &mut RunTimes) {
    for (key, time) in earlier {
        now.entry(key).or_insert(time);
    }
}

/// Ticks are counted late, by one at each end of a window.
const STEAL_SLACK: Duration = Duration::from_millis(20);

fn between(earlier: &Snapshot, later: &Snapshot) -> Window {
    let wall = later.at.duration_since(earlier.at);
    let mut implausible_steal = BTreeSet::new();
    let cpu_times = later.cpu_times.iter().map(|(&cpu, time)| {
        // A CPU that was offline before has no baseline, so it has no time in this window.
        let before = earlier.cpu_times.get(&cpu).unwrap_or(time);
        let since = time.since(*before);
        if time.steal_ns < before.steal_ns || u128::from(since.steal_ns) > (wall + STEAL_SLACK).as_nanos() {
            log::debug!(
                "CPU {cpu}: steal time went from {} to {} ns within {} ns, which can't be true",
                before.steal_ns,
                time.steal_ns,
                wall.as_nanos()
            );
            implausible_steal.insert(cpu);
            return (cpu, CpuTime { steal_ns: 0, ..since });
        }
        (cpu, since)
    });
    let cpu_times = cpu_times.collect();
    let (mut used_ns, mut waited_ns) = (HashMap::new(), HashMap::new());
    for (&key, time) in &later.run_times {
        let before = earlier.run_times.get(&key).copied().unwrap_or_else(RunTime::default);
        // A smaller value belongs to another process with a reused id.
        let before = if time.run_ns < before.run_ns { RunTime::default() } else { before };
        for (of, ns) in [
            (&mut used_ns, time.used_ns().saturating_sub(before.used_ns())),
            (&mut waited_ns, time.wait_ns.saturating_sub(before.wait_ns)),
        ] {
            if ns > 0 {
                of.insert(key, ns);
            }
        }
    }
    // A node that doesn't give way at the moment counts 0.
    let rested_since = |(node, &rested_ns): (usize, &u64)| match earlier.rested_ns.get(node) {
        None | Some(0) => 0,
        Some(before_ns) => rested_ns.saturating_sub(*before_ns),
    };
    Window {
        wall,
        cpu_times,
        used_ns,
        waited_ns,
        implausible_steal,
        nr_queued: later.nr_queued.clone(),
        rested_ns: later.rested_ns.iter().enumerate().map(rested_since).collect(),
        can_give_way: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_times: CpuTimes) -> Snapshot {
        Snapshot {
            at: Instant::now(),
            cpu_times,
            run_times: RunTimes::new(),
            nr_queued: Vec::new(),
            rested_ns: Vec::new(),
        }
    }

    #[test]
    fn a_window_of_many_rounds_and_seconds_spans_a_pause() {
        let spans = |wall_ms, interval_ms| {
            let window = Window { wall: Duration::from_millis(wall_ms), ..Window::default() };
            window.spans_a_pause(Duration::from_millis(interval_ms))
        };
        assert!(!spans(5_000, 500) && spans(5_001, 500), "ten rounds");
        assert!(!spans(5_000, 100) && spans(5_001, 100), "rounds may be late by seconds");
        assert!(!spans(20_000, 2_000) && spans(600_000, 2_000), "ten minutes in one round");
    }

    #[test]
    fn rests_count_from_when_a_node_begins_to_give_way() {
        let snapshot = |rested_ns: &[u64]| Snapshot { rested_ns: rested_ns.to_vec(), ..sample(CpuTimes::new()) };
        let rested_ns = |earlier: &[u64], later: &[u64]| between(&snapshot(earlier), &snapshot(later)).rested_ns;
        assert_eq!(rested_ns(&[5, 0, 7], &[8, 9, 0]), [3, 0, 0], "0 stands for a node that doesn't give way");
        assert_eq!(rested_ns(&[], &[8]), [0]);
    }

    #[test]
    fn a_cpu_that_comes_online_in_the_window_has_no_time_in_it() {
        let old = CpuTime { busy_ns: 900, steal_ns: 900 };
        let window = between(&sample(CpuTimes::new()), &sample(CpuTimes::from([(1, old)])));
        assert_eq!(window.cpu_times[&1], CpuTime::default());
    }

    #[test]
    fn a_process_that_was_not_read_in_between_continues_where_it_was() {
        let sample_of = |tgid: u32, run_ns| {
            let run_times = RunTimes::from([((tgid, NodeId(0)), RunTime { run_ns, ..RunTime::default() })]);
            Snapshot { run_times, ..sample(CpuTimes::new()) }
        };
        let mut without_it = sample_of(8, 1);
        remember(sample_of(7, 900).run_times, &mut without_it.run_times);
        let used_ns = |run_ns| between(&without_it, &sample_of(7, run_ns)).used_ns.get(&(7, NodeId(0))).copied();
        assert_eq!(used_ns(950), Some(50));
        assert_eq!(used_ns(900), None);
        assert_eq!(used_ns(20), Some(20), "another process with a reused id");
    }

    #[test]
    fn a_process_that_ran_within_the_last_second_is_still_in_the_window() {
        let (start, key) = (Instant::now(), (7, NodeId(0)));
        let mut recent = RecentlyRan::default();
        let mut seen = |used_ns: &[((u32, NodeId), u64)], at_ms| {
            let mut used_ns = used_ns.iter().copied().collect();
            recent.complete(&mut used_ns, start + Duration::from_millis(at_ms), |_| false);
            used_ns.get(&key).copied()
        };
        assert_eq!(seen(&[(key, 50)], 0), Some(50));
        assert_eq!(seen(&[], 999), Some(0));
        assert_eq!(seen(&[], 1000), None);
        assert_eq!(seen(&[], 1001), None);
    }

    #[test]
    fn only_watched_nodes_are_probed_and_all_where_none_is_named() {
        let has = |watched: &[u32]| {
            let watched = Watched(watched.iter().copied().map(NodeId).collect());
            [0, 1].map(|node| watched.has(NodeId(node)))
        };
        assert_eq!((has(&[]), has(&[1])), ([true, true], [false, true]));
    }

    #[test]
    fn a_process_stays_in_the_window_for_as_long_as_tasks_wait_on_its_node() {
        let (start, here, there) = (Instant::now(), (7, NodeId(0)), (8, NodeId(1)));
        let mut recent = RecentlyRan::default();
        recent.complete(&mut HashMap::from([(here, 50), (there, 50)]), start, |_| true);
        let mut used_ns = HashMap::new();
        recent.complete(&mut used_ns, start + Duration::from_secs(5), |node| node == NodeId(0));
        assert_eq!(used_ns, HashMap::from([(here, 0)]));
    }

    #[test]
    fn a_moved_process_counts_as_on_its_new_node_before_it_has_run_there() {
        let (start, from, to) = (Instant::now(), NodeId(0), NodeId(1));
        let mut recent = RecentlyRan::default();
        recent.complete(&mut HashMap::from([((7, from), 50), ((8, from), 50)]), start, |_| false);
        recent.moved(7, from, to);
        recent.moved(9, from, to);
        let mut used_ns = HashMap::new();
        recent.complete(&mut used_ns, start + Duration::from_millis(50), |_| false);
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
            steal_readings(&window, NodeId(0), &[0].into()),
            NodeReadings {
                steal_share: 0.5,
                wanted_share: 1.0,
                has_run: true,
                wanted_all: true,
                ..NodeReadings::default()
            }
        );
        assert_eq!(
            steal_readings(&window, NodeId(0), &[1, 2, 4].into()),
            NodeReadings { steal_share: 0.1875, wanted_share: 0.1875, has_run: true, ..NodeReadings::default() }
        );
        assert_eq!(
            steal_readings(&window, NodeId(0), &[3].into()),
            NodeReadings { wanted_share: 0.2, ..NodeReadings::default() },
            "a fifth of a CPU shows too little of the host"
        );
    }

    #[test]
    fn run_time_counts_where_ticks_are_lost() {
        const MS: u64 = 1_000_000;
        let window = Window {
            wall: Duration::from_secs(1),
            cpu_times: CpuTimes::from([(0, CpuTime { busy_ns: 200 * MS, steal_ns: 400 * MS })]),
            used_ns: HashMap::from([((7, NodeId(0)), 500 * MS), ((8, NodeId(0)), 80 * MS), ((7, NodeId(1)), 900 * MS)]),
            ..Window::default()
        };
        assert!(steal_readings(&window, NodeId(0), &[0].into()).wanted_all);
        let idle = Window { used_ns: HashMap::new(), ..window };
        assert!(!steal_readings(&idle, NodeId(0), &[0].into()).wanted_all);
    }

    #[test]
    fn steal_that_cannot_be_true_is_unknown_for_its_round_only() {
        const MS: u64 = 1_000_000;
        let start = Instant::now();
        let at = |ms: u64, steal_ms: u64| Snapshot {
            at: start + Duration::from_millis(ms),
            ..sample(CpuTimes::from([(0, CpuTime { busy_ns: 0, steal_ns: steal_ms * MS })]))
        };
        let cpus = CpuSet::from([0]);
        let reading = |earlier: &Snapshot, later: &Snapshot| {
            let readings = steal_readings(&between(earlier, later), NodeId(0), &cpus);
            (readings.steal_failed, readings.steal_share)
        };
        let ten_minutes = 600_000;
        // A jump of ten minutes in half a second, as after a live migration, and what follows it.
        assert_eq!(reading(&at(0, 0), &at(500, ten_minutes)), (true, 0.0));
        assert_eq!(reading(&at(500, ten_minutes), &at(1000, ten_minutes + 250)), (false, 0.5));
        assert_eq!(reading(&at(0, 500), &at(500, 400)), (true, 0.0), "it went back");
        assert_eq!(reading(&at(0, 0), &at(500, 500)), (false, 1.0), "all of it may be stolen");
    }
}
