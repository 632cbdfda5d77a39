//! What policies see differs from what is.

use std::collections::VecDeque;

use crate::cell::{CellView, Pressure};
use crate::sim::error::SimError;
use crate::sim::random::Random;

/// Maximum age of a reading, rounds.
const MAX_AGE_ROUNDS: u32 = 10_000;

/// How far readings of what others take of a machine are from the truth. The guest's own tasks are known exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Sensing {
    /// Standard deviation of a reading, as a share of the machine's CPU. Readings are normally distributed and stay in 0..=1.
    pub noise: f64,
    /// Age of a reading, rebalances.
    pub age_rounds: u32,
    /// Probability that there is no reading, in a round, of a machine without migratable tasks: such a machine has no steal.
    pub blind: f64,
}

impl Sensing {
    /// Return true if what policies see is what is.
    pub fn is_exact(&self) -> bool {
        *self == Sensing::default()
    }

    /// Check the settings. The error names the option.
    pub fn check(&self) -> Result<(), SimError> {
        let shares = [("--sensing-noise", self.noise), ("--sensing-blind", self.blind)];
        if let Some((option, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(SimError::Parameters(format!("{option} {share}: must be 0 to 1")));
        }
        match self.age_rounds <= MAX_AGE_ROUNDS {
            true => Ok(()),
            false => Err(SimError::Parameters(format!("--sensing-age: must be at most {MAX_AGE_ROUNDS} rebalances"))),
        }
    }
}

/// The sensors of a cell.
#[derive(Debug, Default)]
pub(in crate::sim) struct Sensors {
    /// For the latest rounds, newest last, what others took of each machine.
    shares: VecDeque<Vec<f64>>,
}

impl Sensors {
    /// Forget another cell's readings.
    pub(in crate::sim) fn reset(&mut self) {
        self.shares.clear();
    }

    /// Turn the true view of a round into what sensors read.
    pub(in crate::sim) fn read(&mut self, sensing: &Sensing, seed: u64, round: usize, view: &mut CellView) {
        let truth = view.nodes.iter().map(|node| node.pressure.share().unwrap_or(0.0)).collect();
        self.shares.push_back(truth);
        while self.shares.len() > sensing.age_rounds as usize + 1 {
            self.shares.pop_front();
        }
        let oldest = &self.shares[0];
        let CellView { nodes, groups, .. } = view;
        for (node, old) in nodes.iter_mut().zip(oldest) {
            // Drawn by machine and round, so that all policies have the same errors.
            let mut random = Random::of(seed, u64::from(node.id.0), round as u64 + (1 << 32));
            let (error, luck) = (random.normal(), random.share());
            let Pressure::Fresh { share } = node.pressure else { continue };
            let ours_cpus = node.load_cpus - share * node.capacity_cpus;
            let share = (old + sensing.noise * error).clamp(0.0, 1.0);
            node.load_cpus = (ours_cpus + share * node.capacity_cpus).max(0.0);
            let is_idle = groups.binary_search_by_key(&node.id, |group| group.node).is_err();
            node.pressure = match is_idle && luck < sensing.blind {
                true => Pressure::Unknown,
                false => Pressure::Fresh { share },
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Group, Node, NodeId};

    /// Machine 0 has a group that uses 0.1; others take this share of both machines.
    fn view(share: f64) -> CellView {
        let node = |id, ours| Node {
            id: NodeId(id),
            capacity_cpus: 0.5,
            load_cpus: 0.5 * share + ours,
            pressure: Pressure::Fresh { share },
            ..Node::default()
        };
        CellView { nodes: vec![node(0, 0.1), node(1, 0.0)], groups: vec![Group::default()], ..CellView::default() }
    }

    fn read(sensing: Sensing, shares: &[f64]) -> CellView {
        let mut sensors = Sensors::default();
        let mut seen = CellView::default();
        for (round, &share) in shares.iter().enumerate() {
            seen = view(share);
            sensors.read(&sensing, 1, round, &mut seen);
        }
        seen
    }

    #[test]
    fn an_old_reading_is_that_of_an_earlier_round_and_own_work_is_known() {
        let seen = read(Sensing { age_rounds: 2, ..Sensing::default() }, &[0.1, 0.2, 0.4, 0.8]);
        assert_eq!(seen.nodes[0].pressure, Pressure::Fresh { share: 0.2 });
        assert!((seen.nodes[0].load_cpus - 0.2).abs() < 1e-12 && (seen.nodes[1].load_cpus - 0.1).abs() < 1e-12);
    }

    #[test]
    fn only_machines_without_migratable_tasks_are_blind() {
        let seen = read(Sensing { blind: 1.0, ..Sensing::default() }, &[0.3]);
        assert_eq!(seen.nodes[0].pressure, Pressure::Fresh { share: 0.3 });
        assert_eq!(seen.nodes[1].pressure, Pressure::Unknown);
    }

    #[test]
    fn errors_have_the_standard_deviation_that_was_asked_for() {
        let sensing = Sensing { noise: 0.05, ..Sensing::default() };
        let error = |round| {
            let mut seen = view(0.5);
            Sensors::default().read(&sensing, 1, round, &mut seen);
            seen.nodes[0].pressure.share().unwrap() - 0.5
        };
        let errors: Vec<f64> = (0..2000).map(error).collect();
        let mean = errors.iter().sum::<f64>() / 2000.0;
        let deviation = (errors.iter().map(|error| error * error).sum::<f64>() / 2000.0).sqrt();
        assert!(mean.abs() < 0.005 && (deviation - 0.05).abs() < 0.004, "{mean} {deviation}");
    }

    #[test]
    fn impossible_settings_are_refused() {
        assert!(Sensing { noise: f64::NAN, ..Sensing::default() }.check().is_err());
        assert!(Sensing { blind: 1.5, ..Sensing::default() }
            .check()
            .unwrap_err()
            .to_string()
            .contains("--sensing-blind 1.5"));
    }
}
