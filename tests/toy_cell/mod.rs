//! A small cell whose hosts are used by scripted others: enough physics to close the loop around a policy.
//!
//! Time advances in steps of 1 ms. In each step a host's CPU time is shared equally between its others and the guest's
//! work, if both want it. Sensors measure what a live guest's would: stolen time where work ran, probes where it did
//! not, both with noise.

use std::collections::{BTreeMap, VecDeque};

use scx_vnuma::cell::{CellView, Demand, Group, GroupId, Move, Node, NodeId, Plan, Pressure, Sample};
use scx_vnuma::policy::{Auto, AutoMemory};

/// Length of a periodic probe and of one before a move.
const PROBE_MS: usize = 10;
const LOOK_MS: usize = 30;

/// Threshold of the kernel side's detector, which sums stolen time beyond a tenth of the run time. A hog that takes
/// half of a CPU is detected after this / (.5 − .1 · .5).
const ALARM_MS: f64 = 12.0;

/// What others want of a host, as a function of the time in ms.
pub enum Others {
    /// A number of CPUs, whatever they got before.
    Steady(Box<dyn Fn(u64) -> f64>),
    /// Work that arrives, in CPU-ms, and is done as fast as the host can.
    Batches(Box<dyn Fn(u64) -> f64>),
}

/// One host and the node on it.
pub struct Host {
    pub cpus: f64,
    pub others: Others,
    /// Unfinished batches: time of arrival, ms, and CPU-ms left.
    queue: VecDeque<(u64, f64)>,
    /// What others wanted in the last ms, latest first.
    wanted: VecDeque<f64>,
}

impl Host {
    pub fn idle(cpus: f64) -> Self {
        Host::with(cpus, |_| 0.0)
    }

    pub fn with(cpus: f64, wants_cpus: impl Fn(u64) -> f64 + 'static) -> Self {
        Host { cpus, others: Others::Steady(Box::new(wants_cpus)), queue: VecDeque::new(), wanted: VecDeque::new() }
    }

    pub fn with_batches(cpus: f64, arriving_ms: impl Fn(u64) -> f64 + 'static) -> Self {
        Host { others: Others::Batches(Box::new(arriving_ms)), ..Host::idle(cpus) }
    }
}

impl Host {
    /// Number of CPUs that others want in this ms.
    fn others_wanted(&mut self, now_ms: u64) -> f64 {
        let wanted = match &self.others {
            Others::Steady(wants_cpus) => wants_cpus(now_ms),
            Others::Batches(arriving_ms) => {
                let arriving_ms = arriving_ms(now_ms);
                if arriving_ms > 0.0 {
                    self.queue.push_back((now_ms, arriving_ms));
                }
                self.queue.iter().map(|(_, left)| left).sum()
            }
        };
        let wanted = wanted.min(self.cpus);
        self.wanted.push_front(wanted);
        self.wanted.truncate(LOOK_MS);
        wanted
    }

    /// The reading of a probe over the last `ms`.
    fn probed_share(&self, ms: usize) -> f64 {
        // It takes one CPU of all.
        let in_its_way = |wanted: &f64| (wanted - (self.cpus - 1.0)).max(0.0);
        let seen = self.wanted.iter().take(ms).map(in_its_way).sum::<f64>() / ms as f64;
        (seen / (1.0 - seen).max(1e-3)).min(1.0)
    }

    fn others_got(&mut self, now_ms: u64, mut got: f64, batches_ms: &mut Vec<f64>) {
        while let Some((arrived_ms, left)) = self.queue.front_mut() {
            let done = left.min(got);
            *left -= done;
            got -= done;
            if *left > 1e-9 {
                break;
            }
            batches_ms.push((now_ms + 1 - *arrived_ms) as f64);
            self.queue.pop_front();
        }
    }
}

/// One process of the guest.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub id: u64,
    pub node: u32,
    /// CPU that it wants, at most one CPU per thread.
    pub wants_cpus: f64,
    pub threads: u32,
    pub bytes: f64,
    pub born_ms: u64,
    /// CPU-ms left to do; it wakes up when there is enough.
    pub to_do_ms: f64,
    pub is_awake: bool,
    /// CPU-ms after which it ends.
    pub total_ms: f64,
}

impl Work {
    /// Advance by 1 ms: add work, and drop work that has waited too long.
    fn want(&mut self) {
        const WAKES_AT_MS: f64 = 5.0;
        const GIVES_UP_AT_MS: f64 = 50.0;

        self.to_do_ms = (self.to_do_ms + self.wants_cpus).min(GIVES_UP_AT_MS * self.wants_cpus.max(0.1));
        let threshold_ms = if self.is_awake { 0.5 } else { WAKES_AT_MS };
        self.is_awake = self.wants_cpus >= 1.0 || self.to_do_ms >= threshold_ms;
    }

    fn asks_cpus(&self) -> f64 {
        let threads = f64::from(self.threads);
        if self.is_awake {
            self.to_do_ms.min(threads).max(self.wants_cpus.floor())
        } else {
            0.0
        }
    }

    pub fn busy_loop(id: u64, node: u32) -> Self {
        Work {
            id,
            node,
            wants_cpus: 1.0,
            threads: 1,
            bytes: 16e6,
            born_ms: 0,
            to_do_ms: 0.0,
            is_awake: false,
            total_ms: f64::INFINITY,
        }
    }
}

/// Sums since the last [`Cell::forget`].
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub ms: u64,
    /// By node, in CPU-ms: what work got, what it was denied while it was allowed to run, what others got and wanted.
    pub ran: Vec<f64>,
    pub stolen: Vec<f64>,
    pub others_got: Vec<f64>,
    pub others_wanted: Vec<f64>,
    /// Durations of others' batches, ms.
    pub batches_ms: Vec<f64>,
    pub moves: Vec<(u64, Move)>,
    pub rounds: u64,
}

impl Sums {
    pub fn ran_cpus(&self) -> f64 {
        self.ran.iter().sum::<f64>() / self.ms as f64
    }

    /// A percentile of the durations of others' batches, ms.
    pub fn batch_percentile_ms(&self, percentile: f64) -> f64 {
        let mut sorted = self.batches_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * percentile / 100.0) as usize]
    }

    /// The share that others got of what they wanted.
    pub fn others_share(&self, node: usize) -> f64 {
        self.others_got[node] / self.others_wanted[node].max(1e-9)
    }
}

#[derive(Clone, Copy, Default)]
struct Sensor {
    ran_ms: f64,
    stolen_ms: f64,
    others_ms: f64,
    waited_ms: f64,
    /// The kernel side's CUSUM, ms.
    jump_ms: f64,
    alarm: bool,
    probe: f64,
    probe_before: f64,
    /// What the probe of this round saw of the node, and the bursts that it got for that.
    spin: Option<(f64, f64)>,
    probe_due_ms: u64,
    probe_period_ms: u64,
    /// As the kernel side rests: until when, how long the last rest was, and undisturbed time since, ms.
    rests_until_ms: u64,
    rest_ms: u64,
    undisturbed_ms: f64,
    lost_ms: f64,
    doubled: u32,
    rested_ms: f64,
}

/// The kernel side's rests, ms.
const REST_MIN_MS: u64 = 2;
const REST_DOUBLINGS: u32 = 2;
const UNDISTURBED_MS: f64 = 4.5;
const NOTED_MS: f64 = 1.0;
const ALLOWED_GIVING_WAY: f64 = 0.5;
const ALARM_GIVING_WAY_MS: f64 = 5.0;

impl Sensor {
    /// Take in a step in which work ran and lost time, on a node that gives way.
    /// Returns the last rest if others had the CPU meanwhile.
    fn give_way(&mut self, now_ms: u64, got_ms: f64, stolen_ms: f64) -> f64 {
        // Equal shares of each ms stand for a slice each in turn.
        self.lost_ms = if stolen_ms > 0.0 { self.lost_ms + stolen_ms } else { 0.0 };
        if self.lost_ms < NOTED_MS {
            self.undisturbed_ms += got_ms;
            return 0.0;
        }
        let goes_on = self.undisturbed_ms < UNDISTURBED_MS;
        let rested_ms = if goes_on { self.rest_ms } else { 0 };
        self.doubled = if rested_ms > 0 && self.doubled < REST_DOUBLINGS { self.doubled + 1 } else { 0 };
        self.rest_ms = REST_MIN_MS << self.doubled;
        self.rests_until_ms = now_ms + 1 + self.rest_ms;
        (self.undisturbed_ms, self.lost_ms) = (0.0, 0.0);
        rested_ms as f64
    }
}

pub struct Cell {
    pub hosts: Vec<Host>,
    pub work: Vec<Work>,
    pub auto: Auto,
    pub memory: AutoMemory,
    pub plan: Plan,
    pub now_ms: u64,
    pub sums: Sums,
    /// Time at which work last ran on each node, ms.
    pub last_ran_ms: Vec<u64>,
    /// Hosts tell what others use of them.
    pub has_host_metrics: bool,
    /// The kernel side can make nodes give way.
    pub can_give_way: bool,
    interval_ms: u64,
    round_began_ms: u64,
    sensors: Vec<Sensor>,
    got_ms: BTreeMap<u64, (f64, f64)>,
    seed: u64,
    execs: u64,
}

impl Cell {
    pub fn new(hosts: Vec<Host>, work: Vec<Work>, interval_ms: u64) -> Self {
        let nodes = hosts.len();
        let sensor = Sensor { probe_period_ms: 1000, ..Sensor::default() };
        let mut cell = Cell {
            hosts,
            work,
            auto: Auto::with_interval(interval_ms as f64 / 1e3),
            memory: AutoMemory::default(),
            plan: Plan::default(),
            now_ms: 0,
            sums: Sums::default(),
            last_ran_ms: vec![0; nodes],
            has_host_metrics: false,
            can_give_way: true,
            interval_ms,
            round_began_ms: 0,
            sensors: vec![sensor; nodes],
            got_ms: BTreeMap::new(),
            seed: 7,
            execs: 0,
        };
        cell.forget();
        cell
    }

    pub fn forget(&mut self) {
        let none = vec![0.0; self.hosts.len()];
        self.sums = Sums {
            ran: none.clone(),
            stolen: none.clone(),
            others_got: none.clone(),
            others_wanted: none,
            ..Sums::default()
        };
    }

    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    /// Starts a process as exec does: where the weights say, but where a CPU is idle if none is there.
    pub fn exec(&mut self, work: Work) {
        let spread = &self.plan.spread;
        let by_weight = {
            let turn = self.execs as f64 * 0.618 % 1.0;
            let mut sum = 0.0;
            spread.iter().find(|(_, weight)| {
                sum += **weight;
                turn < sum
            })
        };
        self.execs += 1;
        let is_idle = |id: &NodeId| {
            let asks = |work: &&Work| work.node == id.0;
            let busy: f64 = self.work.iter().filter(asks).map(|work| f64::from(work.threads)).sum();
            busy + f64::from(work.threads) <= self.hosts[id.0 as usize].cpus
        };
        let first = by_weight.map_or(NodeId(work.node), |(id, _)| *id);
        let mut others: Vec<_> = spread.iter().filter(|(id, _)| is_idle(id)).collect();
        others.sort_by(|a, b| b.1.total_cmp(a.1));
        let node = if is_idle(&first) { first } else { others.first().map_or(first, |(id, _)| **id) };
        self.work.push(Work { node: node.0, born_ms: self.now_ms, ..work });
    }

    /// 0..1.
    fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn step(&mut self) {
        self.work.iter_mut().for_each(Work::want);
        for node in 0..self.hosts.len() {
            self.run_node(node);
            self.probe(node);
        }
        self.now_ms += 1;
        self.sums.ms += 1;
        let alarm = self.sensors.iter().any(|sensor| sensor.alarm);
        // The daemon takes a few ms to wake up and doesn't run rounds back to back.
        const ALARM_ROUND_MS: u64 = 5;
        let since = self.now_ms - self.round_began_ms;
        if since >= self.interval_ms || (alarm && since >= ALARM_ROUND_MS) {
            self.round();
        }
    }

    fn run_node(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let host = &mut self.hosts[node];
        let others = host.others_wanted(now_ms);
        let here = || self.work.iter().filter(|work| work.node as usize == node);
        let here: Vec<(u64, f64)> = here().map(|work| (work.id, work.asks_cpus())).collect();
        let wanted: f64 = here.iter().map(|(_, asks_cpus)| asks_cpus).sum();
        let limit = self.plan.limits.get(&NodeId(node as u32)).copied().unwrap_or(f64::INFINITY);
        let gives_way = self.plan.gives_way.contains(&NodeId(node as u32));
        let rests = gives_way && now_ms < self.sensors[node].rests_until_ms;
        let asked_if_awake = wanted.min(limit).min(host.cpus);
        let asked = if rests { 0.0 } else { asked_if_awake };
        let got =
            if asked + others <= host.cpus { asked } else { asked.min((host.cpus / 2.0).max(host.cpus - others)) };
        let others_got = others.min(host.cpus - got);
        let stolen = asked - got;
        if got > 0.0 {
            self.last_ran_ms[node] = self.now_ms;
        }
        for (id, asks_cpus) in here.into_iter().filter(|(_, asks_cpus)| *asks_cpus > 0.0) {
            let share = asks_cpus / wanted;
            let entry = self.got_ms.entry(id).or_default();
            entry.0 += got * share;
            entry.1 += (wanted - got) * share;
            let work = self.work.iter_mut().find(|work| work.id == id).unwrap();
            work.to_do_ms -= got * share;
            work.total_ms -= got * share;
        }
        let noise = if self.random() < 0.02 { 0.3 * got.min(1.0) } else { 0.0 };
        let sensor = &mut self.sensors[node];
        sensor.ran_ms += got - noise;
        sensor.stolen_ms += stolen + noise;
        sensor.others_ms += others_got;
        sensor.waited_ms += wanted - got;
        let mut left = 0.0;
        if rests {
            sensor.rested_ms += asked_if_awake;
        } else if gives_way {
            left = sensor.give_way(now_ms, got, stolen);
        }
        if !rests && !self.plan.has_others.contains(&NodeId(node as u32)) {
            let allowed = if gives_way { ALLOWED_GIVING_WAY * (asked + left) } else { 0.1 * got };
            sensor.jump_ms = (sensor.jump_ms + stolen + left - allowed).max(0.0);
        }
        if sensor.jump_ms >= if gives_way { ALARM_GIVING_WAY_MS } else { ALARM_MS } {
            (sensor.alarm, sensor.jump_ms) = (true, 0.0);
        }
        let sums = &mut self.sums;
        sums.ran[node] += got;
        sums.stolen[node] += stolen;
        sums.others_got[node] += others_got;
        sums.others_wanted[node] += others;
        self.hosts[node].others_got(now_ms, others_got, &mut sums.batches_ms);
    }

    /// Take a probe's reading if one is due. It spins for 10 ms; here it evaluates the last 10 ms.
    fn probe(&mut self, node: usize) {
        let due = self.sensors[node].probe_due_ms;
        if self.now_ms < due {
            return;
        }
        let noise = 0.02 * self.random();
        let jitter_ms = (30.0 * self.random()) as u64;
        let share = self.hosts[node].probed_share(PROBE_MS).max(noise);
        let sensor = &mut self.sensors[node];
        sensor.probe = share.max(sensor.probe_before);
        sensor.spin = Some((share, 1.0 / (1.0 + share)));
        // As `sense::probe` has it: a busy node is probed less often, and its first idle reading is confirmed soon.
        let (was_busy, is_busy) = (sensor.probe_before >= 0.25, share >= 0.25);
        sensor.probe_before = share;
        sensor.probe_period_ms = match (was_busy, is_busy) {
            (_, true) => 2000,
            (true, false) => 250,
            (false, false) => 1000,
        };
        sensor.probe_due_ms = self.now_ms + sensor.probe_period_ms + jitter_ms;
    }

    fn view(&self) -> CellView {
        let window_ms = (self.now_ms - self.round_began_ms) as f64;
        let node = |(at, host): (usize, &Host)| {
            let sensor = &self.sensors[at];
            let wanted_ms = sensor.ran_ms + sensor.stolen_ms + sensor.rested_ms;
            let taken_or_left_ms = sensor.stolen_ms + sensor.rested_ms;
            // The steal of a node that ran little says little.
            let steal = if wanted_ms > 0.0 { taken_or_left_ms / wanted_ms } else { 0.0 };
            let has_run = wanted_ms >= 0.25 * window_ms * host.cpus;
            let host_share = self.has_host_metrics.then_some(sensor.others_ms / window_ms / host.cpus);
            let share = if let Some(share) = host_share {
                share.max(if wanted_ms > 0.0 { sensor.stolen_ms / wanted_ms } else { 0.0 })
            } else if has_run {
                steal
            } else {
                sensor.probe.max(if wanted_ms > 20.0 { steal } else { 0.0 })
            };
            let window_rounds = window_ms / self.interval_ms as f64;
            let sample = if self.has_host_metrics {
                Sample { share, rounds: window_rounds }
            } else if has_run {
                let got_ms = sensor.ran_ms.max(1e-3);
                let rounds = wanted_ms / window_ms / host.cpus * window_rounds;
                let at_most = if sensor.rested_ms > 0.0 { taken_or_left_ms / wanted_ms } else { 0.0 };
                Sample { share: (sensor.stolen_ms / got_ms).max(at_most).min(1.0), rounds }
            } else {
                let (share, rounds) = sensor.spin.unwrap_or((0.0, 0.0));
                Sample { share, rounds }
            };
            Node {
                id: NodeId(at as u32),
                capacity_cpus: host.cpus,
                pressure: Pressure::Fresh { share },
                load_cpus: share * host.cpus + sensor.ran_ms / window_ms,
                waiting_cpus: sensor.waited_ms / window_ms,
                stolen_share: (wanted_ms >= 10.0).then_some(steal),
                sample: Some(sample),
                alarm: sensor.alarm,
                can_give_way: self.can_give_way,
                ..Node::default()
            }
        };
        let group = |work: &Work| {
            let (got_ms, waited_ms) = self.got_ms.get(&work.id).copied().unwrap_or_default();
            let demand = Demand {
                request_cpus: f64::from(work.threads),
                usage_cpus: got_ms / window_ms,
                memory_bytes: work.bytes,
                ..Demand::default()
            };
            Group {
                id: GroupId(work.id),
                node: NodeId(work.node),
                nr_tasks: work.threads,
                demand,
                age_rounds: (self.now_ms - work.born_ms) as f64 / self.interval_ms as f64,
                wanted_cpus: Some((got_ms + waited_ms) / window_ms),
            }
        };
        let mut groups: Vec<Group> = self.work.iter().map(group).collect();
        groups.sort_by_key(|group| (group.node, group.id));
        CellView {
            nodes: self.hosts.iter().enumerate().map(node).collect(),
            groups,
            window_rounds: window_ms / self.interval_ms as f64,
            ..CellView::default()
        }
    }

    fn round(&mut self) {
        let mut view = self.view();
        self.auto.observe(&mut self.memory, &view);
        self.plan = self.auto.decide(&self.memory, &view);
        let is_confirmed = !self.plan.moves.is_empty() || self.auto.is_stuck(&self.memory, &view, &self.plan);
        if is_confirmed {
            for (host, sensor) in self.hosts.iter().zip(&mut self.sensors) {
                sensor.probe_before = 0.0;
                sensor.probe = host.probed_share(LOOK_MS);
                sensor.spin = Some((sensor.probe, LOOK_MS as f64 / PROBE_MS as f64 / (1.0 + sensor.probe)));
            }
            view = self.view();
            self.plan = self.auto.decide(&self.memory, &view);
        }
        self.auto.commit(&mut self.memory, &view, &self.plan);
        for step in &self.plan.moves {
            let work = self.work.iter_mut().find(|work| work.id == step.group.0);
            work.expect("a plan moves what is there").node = step.to.0;
            self.sums.moves.push((self.now_ms, *step));
        }
        self.sums.rounds += 1;
        self.round_began_ms = self.now_ms;
        self.got_ms.clear();
        for sensor in &mut self.sensors {
            let measured_since = if is_confirmed { sensor.spin } else { None };
            *sensor = Sensor {
                ran_ms: 0.0,
                stolen_ms: 0.0,
                rested_ms: 0.0,
                others_ms: 0.0,
                waited_ms: 0.0,
                alarm: false,
                spin: measured_since,
                ..*sensor
            };
        }
    }
}
