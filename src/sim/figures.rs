//! The figures of a run, from what happened in its cells.

use super::engine::CellOutcome;
use super::params::Params;

/// What a run is judged by. A mean over nothing is `None`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Figures {
    /// Share of the cluster's CPU that was busy.
    pub cpu_utilisation: f64,
    /// Gini coefficient of the machines' utilisation: 0 when all are alike.
    pub gini: f64,
    /// CPU wanted past the machines' capacity, as a share of the cluster's.
    pub overcommit: f64,
    /// Mean time from submission to end over the tasks that finished, seconds.
    pub duration_s: Option<f64>,
    /// Mean ratio of that to the task's work.
    pub slowdown: Option<f64>,
    /// Moves between machines.
    pub migrations: u64,
    /// Memory moved, bytes.
    pub migrated_bytes: u64,
    /// The same per second of simulated time.
    pub network_bytes_per_s: f64,
    /// Tasks that arrived.
    pub tasks: u64,
    /// Tasks that finished.
    pub finished: u64,
}

impl Figures {
    /// The figures of these cells' machines. Sums run in order of cell, so parts merged give what the whole gives.
    pub fn new(cells: &[CellOutcome], params: &Params, length_s: f64) -> Figures {
        let sum = |value: fn(&CellOutcome) -> u64| cells.iter().map(value).sum::<u64>();
        let busy_cpu_s: Vec<f64> = cells.iter().flat_map(|cell| &cell.busy_cpu_s).copied().collect();
        let over_cpu_s: f64 = cells.iter().flat_map(|cell| &cell.over_cpu_s).sum();
        let machine_cpu_s = length_s * params.capacity;
        let cluster_cpu_s = machine_cpu_s * busy_cpu_s.len() as f64;
        let finished = sum(|cell| cell.finished);
        // A shard may have no cell at all; NaN is no number in JSON.
        let share = |part: f64| if cluster_cpu_s > 0.0 { part / cluster_cpu_s } else { 0.0 };
        let mean = |total: f64| (finished > 0).then(|| total / finished as f64);
        let migrated_bytes = sum(|cell| cell.migrated_bytes);
        Figures {
            cpu_utilisation: share(busy_cpu_s.iter().sum()),
            gini: gini(busy_cpu_s.iter().map(|busy| busy / machine_cpu_s).collect()),
            overcommit: share(over_cpu_s),
            duration_s: mean(cells.iter().map(|cell| cell.turnaround_s).sum()),
            slowdown: mean(cells.iter().map(|cell| cell.slowdown).sum()),
            migrations: sum(|cell| cell.migrations),
            migrated_bytes,
            network_bytes_per_s: migrated_bytes as f64 / length_s,
            tasks: sum(|cell| cell.tasks),
            finished,
        }
    }
}

/// The Gini coefficient: 0 when all values are equal, towards 1 when one has all. 0 when there is nothing to share.
pub fn gini(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let sum: f64 = values.iter().sum();
    if sum <= 0.0 {
        return 0.0;
    }
    let weighted: f64 = values.iter().zip(1..).map(|(x, i)| (2.0 * f64::from(i) - n - 1.0) * x).sum();
    weighted / (n * sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gini_of_equals_is_zero_and_of_one_owner_is_one_less_a_share() {
        assert_eq!(gini(vec![3.0; 5]), 0.0);
        assert_eq!(gini(vec![0.0, 0.0, 0.0, 8.0]), 0.75);
        assert_eq!(gini(vec![0.0; 4]), 0.0);
    }
}
