//! The schedule of requests to each host. It is fixed before anything runs, and is the same for each arm of a round.

use std::time::Duration;

use anyhow::{ensure, Result};
use rand::rngs::StdRng;
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};

/// Hosts of the cluster.
pub const NR_HOSTS: usize = 4;

/// Requests to a lightly loaded host, as a share of those to a busy one.
const LIGHT: f64 = 0.125;

/// By phase and host, the share of a full batch. The busy hosts shift, and one is idle in each phase.
const PHASES: [[f64; NR_HOSTS]; 4] =
    [[1.0, 1.0, LIGHT, 0.0], [0.0, 1.0, 1.0, LIGHT], [LIGHT, 0.0, 1.0, 1.0], [1.0, LIGHT, 0.0, 1.0]];

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
    pub mean_ms: f64,
    pub deviation_ms: f64,
    pub phase_s: f64,
    /// Requests in a full batch.
    pub batch: u32,
    pub seed: u64,
}

impl LoadMap {
    /// Duration of the load.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.phase_s * PHASES.len() as f64)
    }

    /// The batches of a host in a round, at Gaussian intervals (section 5.1 of the thesis), in order of time.
    pub fn batches(&self, round: u32, host: usize) -> Result<Vec<Batch>> {
        ensure!(
            self.mean_ms > 0.0 && self.deviation_ms >= 0.0,
            "the interval's mean must be above 0, its deviation not below"
        );
        let interval_ms = Normal::new(self.mean_ms, self.deviation_ms)?;
        let stream = self.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(round) * NR_HOSTS as u64 + host as u64);
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
            let share = PHASES[phase.min(PHASES.len() - 1)][host];
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

    const MAP: LoadMap = LoadMap { mean_ms: 20.0, deviation_ms: 5.0, phase_s: 10.0, batch: 80, seed: 1 };

    #[test]
    fn the_seed_fixes_the_load_and_rounds_and_hosts_differ() {
        let batches = |round, host| MAP.batches(round, host).unwrap();
        assert_eq!(batches(0, 0), batches(0, 0));
        assert_ne!(batches(0, 0), batches(1, 0));
        assert_ne!(batches(0, 0), batches(0, 1));
    }

    #[test]
    fn busy_hosts_shift_and_one_is_idle_in_each_phase() {
        for phase in 0..PHASES.len() {
            let requests = |host| -> u32 {
                let batches = MAP.batches(0, host).unwrap();
                let of_phase = batches.iter().filter(|batch| (batch.due.as_secs_f64() / MAP.phase_s) as usize == phase);
                of_phase.map(|batch| batch.nr_requests).sum()
            };
            let busy: Vec<usize> = (0..NR_HOSTS).filter(|&host| requests(host) > 20_000).collect();
            assert_eq!(busy.len(), 2, "busy in phase {phase}: {busy:?}");
            assert!(busy.contains(&phase));
            assert_eq!((0..NR_HOSTS).filter(|&host| requests(host) == 0).count(), 1, "idle in phase {phase}");
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
