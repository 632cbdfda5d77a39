//! What is compared between policies: each figure with its name, and which way is better.

use super::repeat::Measured;

/// Which values of a quantity are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Larger ones.
    More,
    /// Smaller ones.
    Less,
}

/// A quantity of a run.
pub struct Quantity {
    /// The name, as in JSON.
    pub name: &'static str,
    /// The title of its chart.
    pub title: &'static str,
    /// The unit of its chart's axis.
    pub unit: &'static str,
    /// Units of the axis in one unit of the value.
    pub factor: f64,
    /// Which values are better.
    pub better: Better,
    /// How tables write it.
    pub format: Format,
    /// The value, if the run has one.
    pub of: fn(&Measured) -> Option<f64>,
}

impl Quantity {
    /// Return true if every run has it, and false if it belongs to a model that is off by default.
    pub fn is_of_every_run(&self) -> bool {
        QUANTITIES[..OF_EVERY_RUN].iter().any(|quantity| quantity.name == self.name)
    }
}

/// How tables write a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With this many decimals.
    Decimals(usize),
    /// With an exponent and this many decimals.
    Exponent(usize),
}

impl Format {
    /// Write a value.
    pub fn text(self, value: f64) -> String {
        match self {
            Format::Decimals(decimals) => format!("{value:.decimals$}"),
            Format::Exponent(decimals) => format!("{value:.decimals$e}"),
        }
    }

    /// Write a difference, with its sign.
    pub fn signed(self, value: f64) -> String {
        match self {
            Format::Decimals(decimals) => format!("{value:+.decimals$}"),
            Format::Exponent(decimals) => format!("{value:+.decimals$e}"),
        }
    }
}

/// The quantities by which policies are compared, in the order of tables. The mean duration of the tasks that finished is none
/// of them: under another policy these are other tasks.
pub const QUANTITIES: [Quantity; 16] = [
    Quantity {
        name: "cpu_utilisation",
        title: "CPU utilisation",
        unit: "% of the cluster's CPU",
        factor: 100.0,
        better: Better::More,
        format: Format::Decimals(5),
        of: |run| Some(run.figures.cpu_utilisation),
    },
    Quantity {
        name: "gini",
        title: "Gini coefficient",
        unit: "0 (all alike) to 1",
        factor: 1.0,
        better: Better::Less,
        format: Format::Decimals(4),
        of: |run| Some(run.figures.gini),
    },
    Quantity {
        name: "overcommit",
        title: "Overcommit",
        unit: "millionths of the cluster's CPU",
        factor: 1e6,
        better: Better::Less,
        format: Format::Exponent(2),
        of: |run| Some(run.figures.overcommit),
    },
    Quantity {
        name: "duration_by_all_s",
        title: "Duration, tasks that finish under all",
        unit: "s, mean from submission to end",
        factor: 1.0,
        better: Better::Less,
        format: Format::Decimals(1),
        of: |run| run.duration_by_all_s,
    },
    Quantity {
        name: "slowdown_p90",
        title: "Slowdown, 90th percentile",
        unit: "duration / work, all tasks",
        factor: 1.0,
        better: Better::Less,
        format: Format::Decimals(2),
        of: |run| run.figures.slowdown_p90,
    },
    Quantity {
        name: "slowdown_p99",
        title: "Slowdown, 99th percentile",
        unit: "duration / work, all tasks",
        factor: 1.0,
        better: Better::Less,
        format: Format::Decimals(1),
        of: |run| run.figures.slowdown_p99,
    },
    Quantity {
        name: "finished",
        title: "Finished tasks",
        unit: "tasks",
        factor: 1.0,
        better: Better::More,
        format: Format::Decimals(0),
        of: |run| Some(run.figures.finished as f64),
    },
    Quantity {
        name: "migrations",
        title: "Moves",
        unit: "thousand tasks",
        factor: 1e-3,
        better: Better::Less,
        format: Format::Decimals(0),
        of: |run| Some(run.figures.migrations as f64),
    },
    Quantity {
        name: "network_bytes_per_s",
        title: "Network",
        unit: "GB/s",
        factor: 1e-9,
        better: Better::Less,
        format: Format::Exponent(3),
        of: |run| Some(run.figures.network_bytes_per_s),
    },
    Quantity {
        name: "lc_slowdown_mean",
        title: "Slowdown of latency-critical work, mean",
        unit: "response / response alone",
        factor: 1.0,
        better: Better::Less,
        format: Format::Decimals(4),
        of: |run| run.models.lc_slowdown_mean,
    },
    Quantity {
        name: "lc_slowdown_p50",
        title: "Slowdown of latency-critical work, median",
        unit: "response / response alone",
        factor: 1.0,
        better: Better::Less,
        format: Format::Decimals(3),
        of: |run| run.models.lc_slowdown_p50,
    },
    Quantity {
        name: "lc_slowdown_p99",
        title: "Slowdown of latency-critical work, 99th percentile",
        unit: "response / response alone",
        factor: 1.0,
        better: Better::Less,
        format: Format::Decimals(3),
        of: |run| run.models.lc_slowdown_p99,
    },
    Quantity {
        name: "lc_slowdown_p999",
        title: "Slowdown of latency-critical work, 99.9th percentile",
        unit: "response / response alone",
        factor: 1.0,
        better: Better::Less,
        format: Format::Decimals(3),
        of: |run| run.models.lc_slowdown_p999,
    },
    Quantity {
        name: "memory_utilisation",
        title: "Memory utilisation",
        unit: "% of the cluster's memory",
        factor: 100.0,
        better: Better::More,
        format: Format::Decimals(4),
        of: |run| run.models.memory_utilisation,
    },
    Quantity {
        name: "memory_overcommit",
        title: "Memory overcommit",
        unit: "% of the cluster's memory",
        factor: 100.0,
        better: Better::Less,
        format: Format::Exponent(2),
        of: |run| run.models.memory_overcommit,
    },
    Quantity {
        name: "page_wait_share",
        title: "Waiting for pages",
        unit: "% of running tasks' time",
        factor: 100.0,
        better: Better::Less,
        format: Format::Exponent(2),
        of: |run| run.models.page_wait_share,
    },
];

/// Number of quantities that every run has; those after them belong to models that are off by default.
const OF_EVERY_RUN: usize = 9;

/// The quantities of these runs: those of every run, and of the others those that a run has.
pub fn of_runs<'a>(runs: impl Iterator<Item = &'a Measured> + Clone) -> Vec<&'static Quantity> {
    let (always, others) = QUANTITIES.split_at(OF_EVERY_RUN);
    let has = |quantity: &&Quantity| runs.clone().any(|run| (quantity.of)(run).is_some());
    always.iter().chain(others.iter().filter(has)).collect()
}
