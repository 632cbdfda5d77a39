//! With how many seeds a command repeats its runs, and with which policy it compares.

use clap::Args;

use crate::policy::PolicyName;
use crate::sim::params::Params;
use crate::sim::trace::{Trace, TracedTask};
use crate::sim::SimError;

/// Options of commands that compare policies.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Spread")]
pub struct SeedOptions {
    /// Number of placements to run: those of --seed, of --seed + 1, … [default: 10, or 1 where that would take more than a
    /// minute or so]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_SEEDS))]
    pub seeds: Option<u32>,
    /// Policy with which the others are compared seed by seed, such as none or 'fine memory' [default: the first one]
    #[arg(long, value_name = "POLICY")]
    pub baseline: Option<String>,
}

/// Maximum number of seeds: more means that a seed was taken for their number.
const MAX_SEEDS: i64 = 10_000;
/// Number of seeds where they take little time.
const FEW: u32 = 10;
/// Windows, and tasks that rebalances look at, in all runs: what one core of an EPYC does in 45 s.
const A_MINUTE: f64 = 1e9;

impl SeedOptions {
    /// The number of seeds with which to repeat the runs of a trace.
    pub fn count(&self, trace: &Trace, planned: &[&Params]) -> u32 {
        let looks: f64 = planned.iter().map(|params| looks(trace, params)).sum();
        let few = if looks * f64::from(FEW) <= A_MINUTE { FEW } else { 1 };
        self.seeds.unwrap_or(few)
    }

    /// The label of the policy with which the others are compared: one of these.
    pub fn baseline(&self, labels: &[String]) -> Result<String, SimError> {
        let Some(wanted) = &self.baseline else { return Ok(labels.first().cloned().unwrap_or_default()) };
        let plain = |label: &str| label.replace('-', " ");
        let found = labels.iter().find(|label| plain(label) == plain(wanted)).cloned();
        let refused = || format!("--baseline {wanted}: this policy is not run; {} are", labels.join(", "));
        found.ok_or_else(|| SimError::Parameters(refused()))
    }
}

/// A run's cost: its windows, and the tasks that its rebalances look at.
fn looks(trace: &Trace, params: &Params) -> f64 {
    let horizon = params.horizon(trace);
    let work_us = |task: &TracedTask| {
        let ends = task.end_us.unwrap_or(horizon.end_us).min(horizon.end_us);
        (ends - task.schedule_us.unwrap_or(horizon.start_us).max(horizon.start_us)).max(0) as f64
    };
    let rounds = match params.policy == PolicyName::NONE {
        true => 0.0,
        false => trace.tasks.iter().map(work_us).sum::<f64>() / 1e6 / params.interval_s,
    };
    trace.windows.len() as f64 + rounds
}
