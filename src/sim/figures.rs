//! The figures of a run, computed from the outcomes of its cells.

use super::engine::{CellOutcome, Slowdowns};
use super::params::Params;
use super::placement::Placement;

/// The figures by which runs are compared. A mean over nothing is `None`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Figures {
    /// Share of the cluster's CPU that was busy.
    pub cpu_utilisation: f64,
    /// What no policy on these machines can exceed: the utilisation if every task ran at full speed from its submission.
    pub cpu_utilisation_bound: f64,
    /// Gini coefficient of the machines' utilisation: 0 if all are equal.
    pub gini: f64,
    /// What no moves inside the cells could go below: the Gini coefficient if each machine were as busy as its cell's mean.
    pub gini_bound: f64,
    /// CPU demand beyond the machines' capacity, as a share of the cluster's CPU.
    pub overcommit: f64,
    /// Mean time from submission to end over the finished tasks, seconds.
    pub duration_s: Option<f64>,
    /// Median of that time divided by the task's work, over all tasks that arrived. An unfinished task counts with the least
    /// that it can have. Percentiles are rounded down by less than 1/128.
    pub slowdown_p50: Option<f64>,
    /// The 90th percentile of the same.
    pub slowdown_p90: Option<f64>,
    /// The 99th percentile of the same.
    pub slowdown_p99: Option<f64>,
    /// Number of moves between machines.
    pub migrations: u64,
    /// Memory moved, bytes.
    pub migrated_bytes: u64,
    /// Memory moved per second of simulated time, bytes.
    pub network_bytes_per_s: f64,
    /// Number of tasks that arrived.
    pub tasks: u64,
    /// Number of tasks that finished.
    pub finished: u64,
}

impl Figures {
    /// The figures of these cells. Sums run in order of cell, so that merged shards give the same result as the whole.
    pub fn new(cells: &[CellOutcome], params: &Params, length_s: f64) -> Figures {
        let sum = |value: fn(&CellOutcome) -> u64| cells.iter().map(value).sum::<u64>();
        let busy_cpu_s: Vec<f64> = cells.iter().flat_map(|cell| &cell.busy_cpu_s).copied().collect();
        let over_cpu_s: f64 = cells.iter().flat_map(|cell| &cell.over_cpu_s).sum();
        let machine_cpu_s = length_s * params.capacity;
        let placement = params.placement();
        let cluster_cpu_s = match &params.models.shapes {
            None => machine_cpu_s * busy_cpu_s.len() as f64,
            Some(_) => cells.iter().flat_map(|cell| machines_cpu_s(cell, params, &placement, length_s)).sum(),
        };
        let finished = sum(|cell| cell.finished);
        // A shard may have no cells at all, and JSON has no NaN.
        let share = |part: f64| if cluster_cpu_s > 0.0 { part / cluster_cpu_s } else { 0.0 };
        let mean = |total: f64| (finished > 0).then(|| total / finished as f64);
        let migrated_bytes = sum(|cell| cell.migrated_bytes);
        let mut slowdowns = Slowdowns::default();
        cells.iter().for_each(|cell| slowdowns.add(&cell.slowdowns));
        Figures {
            cpu_utilisation: share(busy_cpu_s.iter().sum()),
            cpu_utilisation_bound: share(
                cells.iter().map(|cell| cell.unhindered_cpu_s).sum::<f64>().min(cluster_cpu_s),
            ),
            gini: gini(cells.iter().flat_map(|cell| busy_shares(cell, params, &placement, length_s)).collect()),
            gini_bound: gini(cells.iter().flat_map(|cell| mean_busy(cell, params, &placement)).collect()),
            overcommit: share(over_cpu_s),
            duration_s: mean(cells.iter().map(|cell| cell.turnaround_s).sum()),
            slowdown_p50: slowdowns.percentile(0.5),
            slowdown_p90: slowdowns.percentile(0.9),
            slowdown_p99: slowdowns.percentile(0.99),
            migrations: sum(|cell| cell.migrations),
            migrated_bytes,
            network_bytes_per_s: migrated_bytes as f64 / length_s,
            tasks: sum(|cell| cell.tasks),
            finished,
        }
    }
}

impl Figures {
    /// The largest value of a figure that isn't a share: far beyond any run, and axes and sums can have it.
    const MOST: f64 = 1e18;

    /// Check that a run can have these figures. The error names one that it can't have.
    pub fn check(&self) -> Result<(), String> {
        /// Rounding of shares.
        const SLACK: f64 = 1e-9;

        let amounts = [
            ("cpu_utilisation", self.cpu_utilisation, 1.0 + SLACK),
            ("cpu_utilisation_bound", self.cpu_utilisation_bound, 1.0 + SLACK),
            ("gini", self.gini, 1.0 + SLACK),
            ("gini_bound", self.gini_bound, 1.0 + SLACK),
            ("overcommit", self.overcommit, Self::MOST),
            ("duration_s", self.duration_s.unwrap_or(0.0), Self::MOST),
            ("slowdown_p50", self.slowdown_p50.unwrap_or(1.0), Self::MOST),
            ("slowdown_p90", self.slowdown_p90.unwrap_or(1.0), Self::MOST),
            ("slowdown_p99", self.slowdown_p99.unwrap_or(1.0), Self::MOST),
            ("network_bytes_per_s", self.network_bytes_per_s, u64::MAX as f64 * 1e6),
        ];
        match amounts.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
            Some((name, value, _)) => Err(format!("{name} is {value:e}, which no run gives")),
            None => Ok(()),
        }
    }
}

/// The CPU that each machine of a cell had, CPU-seconds.
fn machines_cpu_s<'a>(
    cell: &CellOutcome,
    params: &'a Params,
    placement: &Placement,
    length_s: f64,
) -> impl Iterator<Item = f64> + use<'a> {
    let capacities = params.capacities_from(placement.first_in(cell.cell)).take(cell.busy_cpu_s.len());
    capacities.map(move |capacity| length_s * capacity)
}

/// The share of its CPU for which each machine of a cell was busy.
fn busy_shares<'a>(
    cell: &'a CellOutcome,
    params: &'a Params,
    placement: &Placement,
    length_s: f64,
) -> impl Iterator<Item = f64> + use<'a> {
    cell.busy_cpu_s.iter().zip(machines_cpu_s(cell, params, placement, length_s)).map(|(busy, all)| busy / all)
}

/// The mean busy time of a cell's machines, once for each machine; of machines that are not identical, by their CPU.
fn mean_busy(cell: &CellOutcome, params: &Params, placement: &Placement) -> impl Iterator<Item = f64> + use<> {
    let machines = cell.busy_cpu_s.len();
    let cpus = match &params.models.shapes {
        None => machines as f64,
        Some(_) => machines_cpu_s(cell, params, placement, 1.0).sum(),
    };
    std::iter::repeat_n(cell.busy_cpu_s.iter().sum::<f64>() / cpus, machines)
}

/// The Gini coefficient: 0 if all values are equal, close to 1 if one has everything. 0 if the sum is 0.
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
    fn impossible_figures_are_refused_by_name() {
        let good = Figures::new(&[], &Params::default(), 1.0);
        assert_eq!(good.check(), Ok(()));
        assert!(Figures { overcommit: 1e308, ..good }.check().unwrap_err().contains("overcommit is 1e308"));
        assert!(Figures { cpu_utilisation: 1.1, ..good }.check().unwrap_err().contains("cpu_utilisation"));
        assert!(Figures { duration_s: Some(-1.0), ..good }.check().unwrap_err().contains("duration_s"));
    }

    #[test]
    fn gini_of_equal_values_is_zero_and_of_a_single_owner_is_one_minus_a_share() {
        assert_eq!(gini(vec![3.0; 5]), 0.0);
        assert_eq!(gini(vec![0.0, 0.0, 0.0, 8.0]), 0.75);
        assert_eq!(gini(vec![0.0; 4]), 0.0);
    }
}
