//! The schedule of requests to each host. It is fixed before anything runs, and is the same for each arm of a round.

use std::cmp::Ordering;
use std::time::Duration;

use anyhow::{ensure, Result};
use rand::rngs::StdRng;
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};

/// Requests to a lightly loaded host, as a share of those to a busy one.
const LIGHT: f64 = 0.125;

/// Number of hosts that are busy at a time.
pub fn nr_busy(nr_hosts: usize) -> usize {
    nr_hosts / 2
}

/// The share of a full batch that a host gets in a phase. Half of the hosts are busy, one is lightly loaded, the rest are idle;
/// from phase to phase each host takes over from the one before it.
fn share(nr_hosts: usize, phase: usize, host: usize) -> f64 {
    let role = (host + nr_hosts - phase % nr_hosts) % nr_hosts;
    match role.cmp(&nr_busy(nr_hosts)) {
        Ordering::Less => 1.0,
        // One must be idle.
        Ordering::Equal if nr_hosts > 2 => LIGHT,
        _ => 0.0,
    }
}

/// Requests sent together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch {
    /// When they are due, since the start of the load.
    pub due: Duration,
    /// Number of requests, at least one.
    pub nr_requests: u32,
}

/// The whole load.
#[derive(Clone, Copy, Debug)]
pub struct LoadMap {
    /// Two or more.
    pub nr_hosts: usize,
    /// Each sends its own batches.
    pub clients_per_host: usize,
    pub mean_ms: f64,
    pub deviation_ms: f64,
    pub phase_s: f64,
    /// Requests in a full batch.
    pub batch: u32,
    pub seed: u64,
}

impl LoadMap {
    /// Duration of the load: as many phases as hosts, so that each host has had each part.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.phase_s * self.nr_hosts as f64)
    }

    pub fn nr_clients(&self) -> usize {
        self.nr_hosts * self.clients_per_host
    }

    /// The batches of a client in a round, at Gaussian intervals (section 5.1 of the thesis), in order of time. Clients are
    /// counted host by host.
    pub fn batches(&self, round: u32, client: usize) -> Result<Vec<Batch>> {
        ensure!(
            self.mean_ms > 0.0 && self.deviation_ms >= 0.0,
            "the interval's mean must be above 0, its deviation not below"
        );
        let interval_ms = Normal::new(self.mean_ms, self.deviation_ms)?;
        let stream =
            self.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(round) * self.nr_clients() as u64 + client as u64);
        let mut random = StdRng::seed_from_u64(stream);
        let mut batches = Vec::new();
        let mut due = Duration::ZERO;
        loop {
            // A Gaussian has no lower bound, but an interval can't be negative.
            due += Duration::from_secs_f64(interval_ms.sample(&mut random).max(1.0) / 1e3);
            if due >= self.length() {
                return Ok(batches);
            }
            let phase = (due.as_secs_f64() / self.phase_s) as usize;
            let share = share(self.nr_hosts, phase, client / self.clients_per_host);
            if share > 0.0 {
                let nr_requests = (f64::from(self.batch) * share).round().max(1.0) as u32;
                batches.push(Batch { due, nr_requests });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: LoadMap = LoadMap {
        nr_hosts: 4,
        clients_per_host: 1,
        mean_ms: 20.0,
        deviation_ms: 5.0,
        phase_s: 10.0,
        batch: 80,
        seed: 1,
    };

    #[test]
    fn the_seed_fixes_the_load_and_rounds_and_clients_differ() {
        let map = LoadMap { clients_per_host: 2, ..MAP };
        let batches = |round, client| map.batches(round, client).unwrap();
        assert_eq!(batches(0, 0), batches(0, 0));
        assert_ne!(batches(0, 0), batches(1, 0));
        assert_ne!(batches(0, 0), batches(0, 1), "two clients of a host");
        assert_ne!(batches(0, 0), batches(0, 2), "clients of two hosts");
    }

    #[test]
    fn the_busy_hosts_shift_and_one_is_idle_in_each_phase() {
        let parts = |nr_hosts, phase| -> Vec<f64> { (0..nr_hosts).map(|host| share(nr_hosts, phase, host)).collect() };
        assert_eq!(parts(4, 0), [1.0, 1.0, LIGHT, 0.0]);
        assert_eq!(parts(4, 1), [0.0, 1.0, 1.0, LIGHT]);
        assert_eq!(parts(3, 0), [1.0, LIGHT, 0.0]);
        assert_eq!(parts(3, 2), [LIGHT, 0.0, 1.0]);
        assert_eq!((parts(2, 0), parts(2, 1)), (vec![1.0, 0.0], vec![0.0, 1.0]));
        assert_eq!(parts(4, 4), parts(4, 0));
    }

    #[test]
    fn a_host_gets_requests_as_its_part_of_the_phase_says() {
        let map = LoadMap { nr_hosts: 3, clients_per_host: 2, ..MAP };
        for phase in 0..3 {
            let requests = |client| -> u32 {
                let batches = map.batches(0, client).unwrap();
                let of_phase = batches.iter().filter(|batch| (batch.due.as_secs_f64() / map.phase_s) as usize == phase);
                of_phase.map(|batch| batch.nr_requests).sum()
            };
            for client in 0..map.nr_clients() {
                let full = 80.0 * 10e3 / 20.0;
                let part = f64::from(requests(client)) / full;
                let expected = share(3, phase, client / 2);
                assert!((part - expected).abs() < 0.05, "client {client} in phase {phase}: {part}, not {expected}");
            }
        }
    }

    #[test]
    fn intervals_are_as_long_as_asked_for() {
        // Host 2 is idle in the last of the four phases.
        let batches = MAP.batches(0, 2).unwrap();
        let mean_ms = 3.0 * MAP.phase_s * 1e3 / batches.len() as f64;
        assert!((mean_ms - 20.0).abs() < 0.5, "{mean_ms} ms");
        assert!(batches.windows(2).all(|pair| pair[0].due < pair[1].due));
    }

    #[test]
    fn an_interval_of_nothing_is_refused() {
        assert!(LoadMap { mean_ms: 0.0, ..MAP }.batches(0, 0).is_err());
    }
}
