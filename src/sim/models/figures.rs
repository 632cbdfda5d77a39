//! Figures of models that are off by default.

use crate::sim::engine::{CellOutcome, LcOutcome, MemoryOutcome};

/// Figures of models that are off by default. Those of a model that is off are `None`, and results don't have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ModelFigures {
    /// Mean slowdown of latency-critical work: the time that a burst takes, divided by the time that it would take without the
    /// other tasks of its machine. Each burst counts with its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lc_slowdown_mean: Option<f64>,
    /// Its median, rounded down by less than 1/64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lc_slowdown_p50: Option<f64>,
    /// Its 99th percentile, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lc_slowdown_p99: Option<f64>,
    /// Its 99.9th percentile, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lc_slowdown_p999: Option<f64>,
    /// Share of the machines' memory that tasks were assigned, up to all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_utilisation: Option<f64>,
    /// Memory that tasks were assigned beyond what their machines have, as a share of all machines' memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_overcommit: Option<f64>,
    /// Share of the time of running tasks for which they waited for pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_wait_share: Option<f64>,
}

impl ModelFigures {
    /// The figures of these cells. Sums run in order of cell, so that merged shards give the same result as the whole.
    pub fn new(cells: &[CellOutcome]) -> ModelFigures {
        let lc = LcOutcome::sum(cells.iter().filter_map(|cell| cell.lc.as_ref()));
        let memory = MemoryOutcome::sum(cells.iter().filter_map(|cell| cell.memory.as_ref()));
        ModelFigures {
            lc_slowdown_mean: lc.mean(),
            lc_slowdown_p50: lc.percentile(0.5),
            lc_slowdown_p99: lc.percentile(0.99),
            lc_slowdown_p999: lc.percentile(0.999),
            memory_utilisation: memory.map(|(used, _)| used),
            memory_overcommit: memory.map(|(_, over)| over),
            page_wait_share: page_wait_share(cells),
        }
    }

    /// The figures that there are: name, value and unit.
    pub fn named(&self) -> Vec<(&'static str, f64, &'static str)> {
        let all = [
            ("lc_slowdown_mean", self.lc_slowdown_mean, " times the response alone"),
            ("lc_slowdown_p50", self.lc_slowdown_p50, ""),
            ("lc_slowdown_p99", self.lc_slowdown_p99, ""),
            ("lc_slowdown_p999", self.lc_slowdown_p999, ""),
            ("memory_utilisation", self.memory_utilisation, " of the machines' memory"),
            ("memory_overcommit", self.memory_overcommit, " of the machines' memory"),
            ("page_wait_share", self.page_wait_share, " of the running tasks' time"),
        ];
        all.into_iter().filter_map(|(name, value, unit)| Some((name, value?, unit))).collect()
    }

    /// Check that a run can have these figures. The error names one that it can't have.
    pub fn check(&self) -> Result<(), String> {
        match self.named().into_iter().find(|(_, value, _)| !(0.0..1e18).contains(value)) {
            Some((name, value, _)) => Err(format!("{name} is {value:e}, which no run gives")),
            None => Ok(()),
        }
    }
}

fn page_wait_share(cells: &[CellOutcome]) -> Option<f64> {
    let waited_s =
        cells.iter().map(|cell| cell.page_wait_s).collect::<Option<Vec<f64>>>().filter(|all| !all.is_empty())?;
    let ran_s: f64 = cells.iter().map(|cell| cell.work_done_s).sum();
    Some(if ran_s > 0.0 { waited_s.iter().sum::<f64>() / ran_s } else { 0.0 })
}
