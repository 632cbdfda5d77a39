//! The records of a run, arm by arm.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use scx_vnuma::sim::figures::gini;
use serde::de::DeserializeOwned;

use crate::experiments::colocation::record::{
    Arm, GuestRecord, HostRecord, HostSecond, Setup, GUEST_FILE, HOSTS_FILE, SETUP_FILE,
};

/// One arm's turn in one round.
pub struct Turn {
    pub hosts: HostRecord,
    pub guest: GuestRecord,
    /// The daemon's decisions, if it ran.
    pub decisions: Option<PathBuf>,
    /// The share of all hosts' CPU that LC work leaves idle: what the servers did not use in the round's turn without a guest,
    /// 0..=1.
    pub idle_share: f64,
}

/// A figure of a turn. All but the moves and the harvest, which is a ratio, are compared as ratios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    LatencyMean,
    LatencyP95,
    LatencyP99,
    LatencyP999,
    /// The mean of the seconds' P99 on busy hosts that the guest leaves alone. Emulated hosts share the machine, so work elsewhere slows
    /// LC as well; NaN if there is no such second.
    LatencyP99LeftAlone,
    /// Part of the time of busy hosts in which work runs beside LC.
    Beside,
    RequestsPerS,
    SignsPerS,
    /// CPU time of the guest's vCPUs / CPU time that LC work leaves idle.
    Harvest,
    Utilisation,
    Gini,
    Moves,
}

impl Figure {
    pub const ALL: [Figure; 12] = [
        Figure::LatencyMean,
        Figure::LatencyP95,
        Figure::LatencyP99,
        Figure::LatencyP999,
        Figure::LatencyP99LeftAlone,
        Figure::Beside,
        Figure::RequestsPerS,
        Figure::SignsPerS,
        Figure::Harvest,
        Figure::Utilisation,
        Figure::Gini,
        Figure::Moves,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Figure::LatencyMean => "LC mean, ms",
            Figure::LatencyP95 => "LC P95, ms",
            Figure::LatencyP99 => "LC P99, ms",
            Figure::LatencyP999 => "LC P99.9, ms",
            Figure::LatencyP99LeftAlone => "LC P99 by second, left alone, ms",
            Figure::Beside => "LC's time beside BE, %",
            Figure::RequestsPerS => "LC requests/s",
            Figure::SignsPerS => "BE signs/s",
            Figure::Harvest => "harvest: BE CPU / idle CPU",
            Figure::Utilisation => "CPU utilisation, %",
            Figure::Gini => "Gini over hosts",
            Figure::Moves => "moves",
        }
    }
}

impl Turn {
    pub fn figure(&self, figure: Figure) -> f64 {
        let latency = &self.hosts.latency_us;
        match figure {
            Figure::LatencyMean => latency.mean / 1e3,
            Figure::LatencyP95 => latency.p95 / 1e3,
            Figure::LatencyP99 => latency.p99 / 1e3,
            Figure::LatencyP999 => latency.p999 / 1e3,
            Figure::LatencyP99LeftAlone => {
                let left_alone = self.busy_seconds().filter(|second| second.guest_busy < LEFT_ALONE);
                mean(&left_alone.map(|second| second.p99_us / 1e3).collect::<Vec<_>>())
            }
            Figure::Beside => {
                let is_beside = |second: BusySecond| f64::from(second.guest_busy >= BESIDE);
                100.0 * mean(&self.busy_seconds().map(is_beside).collect::<Vec<_>>())
            }
            Figure::RequestsPerS => self.hosts.requests as f64 / self.hosts.lasted_s,
            Figure::SignsPerS => {
                let signs: u64 = self.guest.seconds.iter().flat_map(|second| &second.signs).sum();
                signs as f64 / self.guest.lasted_s
            }
            Figure::Harvest => mean(&self.mean_of_seconds(|second| &second.guest_busy)) / self.idle_share,
            Figure::Utilisation => 100.0 * mean(&self.utilisation()),
            Figure::Gini => gini(self.utilisation()),
            Figure::Moves => self.guest.moves as f64,
        }
    }

    /// The seconds of busy hosts, by client.
    fn busy_seconds(&self) -> impl Iterator<Item = BusySecond> + '_ {
        let clients = self.hosts.p99_us.iter().enumerate();
        clients.flat_map(move |(client, p99_us)| {
            let seconds = self.hosts.seconds.iter().zip(p99_us).filter(|(_, p99_us)| **p99_us > 0.0);
            let busy_second = move |(second, p99_us): (&HostSecond, &f64)| {
                let host = client * second.busy.len() / self.hosts.p99_us.len();
                let guest_busy = second.guest_busy[host];
                let is_busy = second.busy[host] - guest_busy >= SERVER_BUSY;
                is_busy.then_some(BusySecond { guest_busy, p99_us: *p99_us })
            };
            seconds.filter_map(busy_second)
        })
    }

    /// By host, the share of its CPUs that was busy, 0..=1.
    pub fn utilisation(&self) -> Vec<f64> {
        self.mean_of_seconds(|second| &second.busy)
    }

    /// By host, the mean over the turn.
    fn mean_of_seconds(&self, shares: impl Fn(&HostSecond) -> &[f64]) -> Vec<f64> {
        let seconds = &self.hosts.seconds;
        let starts = std::iter::once(0.0).chain(seconds.iter().map(|second| second.at_s));
        let lasted: Vec<f64> = starts.zip(seconds).map(|(from_s, second)| second.at_s - from_s).collect();
        let total_s: f64 = lasted.iter().sum();
        let sum_s = |host: usize| {
            seconds.iter().zip(&lasted).map(|(second, lasted_s)| shares(second)[host] * lasted_s).sum::<f64>()
        };
        let nr_hosts = seconds.first().map_or(0, |second| shares(second).len());
        (0..nr_hosts).map(|host| sum_s(host) / total_s).collect()
    }

    /// The share of all hosts' CPU that their servers did not use.
    fn left_by_servers(&self) -> f64 {
        let guest = mean(&self.mean_of_seconds(|second| &second.guest_busy));
        1.0 - (mean(&self.utilisation()) - guest)
    }
}

/// A second in which a host's server is busy.
struct BusySecond {
    guest_busy: f64,
    p99_us: f64,
}

/// A busy server uses this share of its host's CPUs at least; a lightly loaded one uses less.
const SERVER_BUSY: f64 = 0.1;
/// What runs in a guest without work takes less of a host than this, and work takes the other at least.
const LEFT_ALONE: f64 = 0.03;
const BESIDE: f64 = 0.1;

/// NaN of nothing.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// All turns of a run. Every arm has one in every round.
pub struct Run {
    pub setup: Setup,
    turns: BTreeMap<Arm, Vec<Turn>>,
}

impl Run {
    /// Reads the folder that the experiment's `run` writes. Turns that are missing because the experiment ended early are left out.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(SETUP_FILE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{}: the experiment's run writes it", path.display()))?;
        let setup: Setup = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let guests: Vec<GuestRecord> = read_lines(&dir.join(GUEST_FILE))?;
        let mut turns = BTreeMap::<Arm, Vec<Turn>>::new();
        for hosts in read_lines::<HostRecord>(&dir.join(HOSTS_FILE))? {
            check(&hosts, setup.nr_hosts)?;
            let guest = guests.iter().find(|guest| (guest.arm, guest.round) == (hosts.arm, hosts.round));
            // The guest died in this turn.
            let Some(guest) = guest.cloned() else { continue };
            let decisions = dir.join(format!("decisions-{}-{}.jsonl", hosts.arm.name(), hosts.round));
            let decisions = decisions.exists().then_some(decisions);
            turns.entry(hosts.arm).or_default().push(Turn { hosts, guest, decisions, idle_share: f64::NAN });
        }
        let nr_rounds = Arm::ALL.iter().map(|arm| turns.get(arm).map_or(0, Vec::len)).min().unwrap_or(0);
        ensure!(nr_rounds > 0, "{}: not one round is complete", dir.display());
        turns.values_mut().for_each(|turns| turns.truncate(nr_rounds));
        Ok(Run::new(setup, turns))
    }

    /// `turns` has as many turns of each arm, in order of round. Sets their idle shares.
    fn new(setup: Setup, mut turns: BTreeMap<Arm, Vec<Turn>>) -> Self {
        let idle_shares: Vec<f64> = turns[&Arm::LcOnly].iter().map(Turn::left_by_servers).collect();
        for turns in turns.values_mut() {
            turns.iter_mut().zip(&idle_shares).for_each(|(turn, idle_share)| turn.idle_share = *idle_share);
        }
        Run { setup, turns }
    }

    pub fn nr_rounds(&self) -> usize {
        self.turns(Arm::LcOnly).len()
    }

    /// The turns of an arm, in order of round.
    pub fn turns(&self, arm: Arm) -> &[Turn] {
        self.turns.get(&arm).map_or(&[], Vec::as_slice)
    }

    /// A figure of an arm over the rounds.
    pub fn spread(&self, arm: Arm, figure: Figure) -> Spread {
        Spread::of(self.turns(arm).iter().map(|turn| turn.figure(figure)).collect())
    }

    /// The ratios of two arms, round by round; `None` where the baseline is zero or missing.
    pub fn ratio(&self, arm: Arm, baseline: Arm, figure: Figure) -> Option<Spread> {
        let pairs = self.turns(arm).iter().zip(self.turns(baseline));
        let ratio = |(turn, baseline): (&Turn, &Turn)| {
            let baseline = baseline.figure(figure);
            (baseline > 0.0).then(|| turn.figure(figure) / baseline)
        };
        pairs.map(ratio).collect::<Option<Vec<_>>>().map(Spread::of)
    }

    /// What an arm adds to the P99 of LC only, as a share of what rebalance.sh adds, round by round; `None` where that adds
    /// nothing.
    pub fn p99_cost_relative_to_rebalance(&self, arm: Arm) -> Option<Spread> {
        let p99 = |arm: Arm, round: usize| self.turns(arm)[round].figure(Figure::LatencyP99);
        let share = |round| {
            let alone = p99(Arm::LcOnly, round);
            let theirs = p99(Arm::Rebalance, round) - alone;
            (theirs > 0.0).then(|| (p99(arm, round) - alone) / theirs)
        };
        (0..self.nr_rounds()).map(share).collect::<Option<Vec<_>>>().map(Spread::of)
    }
}

/// Lowest, median and highest of the values. There must be at least one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Spread { low: values[0], median: values[values.len() / 2], high: values[values.len() - 1] }
    }
}

fn check(hosts: &HostRecord, nr_hosts: usize) -> Result<()> {
    let as_many = |second: &HostSecond| second.busy.len() == nr_hosts && second.guest_busy.len() == nr_hosts;
    if hosts.seconds.is_empty() || !hosts.seconds.iter().all(as_many) || hosts.lasted_s <= 0.0 {
        bail!("{HOSTS_FILE}: round {} of {} has no seconds of {nr_hosts} hosts", hosts.round, hosts.arm.name());
    }
    Ok(())
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("{}: the experiment's run writes it", path.display()))?;
    let parse = |(nr, line): (usize, std::io::Result<String>)| {
        let line = line.with_context(|| path.display().to_string())?;
        serde_json::from_str(&line).with_context(|| format!("{}:{}: not a record", path.display(), nr + 1))
    };
    BufReader::new(file).lines().enumerate().map(parse).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::experiments::colocation::record::{Demand, GuestSecond, Latency};

    /// A turn of three seconds, in which host 0 is busy and the guest has `guest_part` of that.
    fn turn(arm: Arm, round: u32, p99_ms: f64, signs: u64, guest_part: f64) -> Turn {
        let latency_us = Latency { mean: 1e3, p95: 2e3, p99: p99_ms * 1e3, p999: 9e3, max: 1e4 };
        let host_second = |at_s: f64, busy: f64| HostSecond {
            at_s,
            busy: vec![busy, 0.0, 0.0, 0.0],
            guest_busy: vec![busy * guest_part, 0.0, 0.0, 0.0],
        };
        let seconds = vec![host_second(1.0, 0.25), host_second(3.0, 1.0)];
        let hosts =
            HostRecord { arm, round, lasted_s: 2.0, requests: 100, latency_us, seconds, p99_us: vec![vec![1e3; 2]; 4] };
        let second = |at_s| GuestSecond { at_s, signs: vec![signs, 0, 0, 0], stolen_cpus: vec![0.0; 4] };
        let seconds = vec![second(1.0), second(2.0)];
        let guest = GuestRecord { arm, round, lasted_s: 2.0, moves: 1, interval_ms: Some(100), seconds };
        Turn { hosts, guest, decisions: None, idle_share: f64::NAN }
    }

    /// A run of two rounds.
    pub fn run() -> Run {
        let setup = Setup {
            nr_hosts: 4,
            cpus_per_host: 1,
            demand: Demand::Node,
            mean_ms: 20.0,
            deviation_ms: 5.0,
            phase_s: 1.0,
            batch: 10,
            capacity_per_s: 1000.0,
            seed: 1,
        };
        let p99_ms = [4.0, 12.0, 8.0, 6.0, 4.5, 4.25, 5.0, 7.0];
        let turns = Arm::ALL.into_iter().zip(p99_ms).map(|(arm, p99_ms)| {
            let (signs, guest_part) = if arm == Arm::LcOnly { (0, 0.0) } else { (10, 0.5) };
            let of_round = |round| turn(arm, round, f64::from(round + 1) * p99_ms, signs, guest_part);
            (arm, vec![of_round(0), of_round(1)])
        });
        Run::new(setup, turns.collect())
    }

    #[test]
    fn utilisation_weighs_each_second_by_its_length() {
        let turn = turn(Arm::Coarse, 0, 1.0, 0, 0.5);
        assert_eq!(turn.utilisation(), [0.75, 0.0, 0.0, 0.0]);
        assert_eq!((turn.figure(Figure::Utilisation), turn.figure(Figure::Gini)), (18.75, 0.75));
    }

    #[test]
    fn the_harvest_is_a_share_of_what_lc_work_alone_leaves_idle() {
        // LC alone takes 0.75 of one of four hosts; the guest took half of that much.
        let harvest = |arm| run().spread(arm, Figure::Harvest).median;
        assert_eq!(harvest(Arm::Coarse), 0.375 / 3.25);
        assert_eq!(harvest(Arm::LcOnly), 0.0);
    }

    #[test]
    fn lc_is_beside_work_or_left_alone_second_by_second() {
        let mut turn = turn(Arm::Coarse, 0, 1.0, 0, 0.5);
        let second = |busy: [f64; 4], guest_busy: [f64; 4]| HostSecond {
            at_s: 1.0,
            busy: busy.to_vec(),
            guest_busy: guest_busy.to_vec(),
        };
        // Of host 3's server too little runs to count.
        let first = second([0.5, 0.5, 0.9, 0.99], [0.01, 0.2, 0.05, 0.9]);
        turn.hosts.seconds = vec![first, second([0.3, 0.0, 0.0, 0.0], [0.0; 4])];
        turn.hosts.p99_us = vec![vec![2e3, 4e3], vec![9e3, 0.0], vec![9e3, 0.0], vec![9e3, 9e3]];
        assert_eq!(turn.figure(Figure::LatencyP99LeftAlone), 3.0);
        assert_eq!(turn.figure(Figure::Beside), 25.0);
        turn.hosts.seconds.clear();
        assert!(turn.figure(Figure::LatencyP99LeftAlone).is_nan(), "there was no such second");
    }

    #[test]
    fn costs_are_compared_round_by_round() {
        let run = run();
        let cost = run.p99_cost_relative_to_rebalance(Arm::Coarse).unwrap();
        assert_eq!((cost.low, cost.high), (0.25, 0.25));
        assert_eq!(run.ratio(Arm::Coarse, Arm::LcOnly, Figure::LatencyP99).unwrap().median, 1.125);
        assert_eq!(run.ratio(Arm::Coarse, Arm::LcOnly, Figure::SignsPerS), None, "LC only makes none");
    }

    #[test]
    fn a_folder_without_records_says_who_writes_them() {
        let err = Run::read(Path::new("/proc")).err().expect("no setup there");
        assert!(format!("{err:#}").contains("the experiment's run writes it"), "{err:#}");
    }
}
