//! `vnuma-sim compare`

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::load::{is_sample, load, Wanted};
use super::options::{ModelOptions, RunningOptions, TraceOptions};
use super::seeds::SeedOptions;
use super::spreads;
use crate::policy::{Order, PolicyName, World};
use crate::sim::params::Params;
use crate::sim::placement::Shard;
use crate::sim::progress::Progress;
use crate::sim::repeat;
use crate::sim::report::Report;
use crate::sim::result::{write_json, RunResult};
use crate::sim::sweep::{Point, SweepResult, FORMAT};
use crate::sim::SimError;

/// Options of `compare`.
#[derive(Args)]
pub struct Compare {
    #[command(flatten)]
    trace: TraceOptions,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    spread: SeedOptions,
    #[command(flatten)]
    running: RunningOptions,
    /// Print the figures as JSON: a list with one object per policy and order
    #[arg(long)]
    json: bool,
    /// Write to DIR each policy's whole result with the first seed, compare.json with the figures of all seeds, and
    /// report.html
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Every policy that the simulator offers, in each of its orders.
pub fn every_policy(base: &Params) -> Vec<Params> {
    let orders = |policy: PolicyName| match policy.has_orders() {
        true => Order::ALL.map(Some).to_vec(),
        false => vec![None],
    };
    let named =
        PolicyName::all(World::Simulated).flat_map(|policy| orders(policy).into_iter().map(move |it| (policy, it)));
    named.map(|(policy, order)| base.with_policy(policy, order)).collect()
}

impl Compare {
    pub fn run(self) -> anyhow::Result<()> {
        self.running.start_threads()?;
        let base = self.model.params(is_sample(&self.trace, &self.running))?;
        let wanted = Wanted { params: &base, shard: Shard::WHOLE, checksums: self.out.is_some() };
        let trace = load(&self.trace, &self.running, &wanted)?;
        let policies = every_policy(&base);
        policies.iter().try_for_each(Params::check)?;
        let labels: Vec<String> = policies.iter().map(Params::policy_label).collect();
        let baseline = self.spread.baseline(&labels)?;
        let nr_seeds = self.spread.count(&trace, &policies.iter().collect::<Vec<_>>());
        let cells = base.placement().nr_cells() as usize;
        let progress = Progress::new("cells", (policies.len() * cells) as u64 * u64::from(nr_seeds));
        let mut points: Vec<Point> =
            policies.into_iter().map(|parameters| Point { values: Vec::new(), parameters, runs: Vec::new() }).collect();
        let mut results: Vec<RunResult> = Vec::new();
        for seed in repeat::seeds(base.seed, nr_seeds) {
            let policies: Vec<Params> = points.iter().map(|point| point.parameters.clone()).collect();
            let repetition = repeat::run(&trace, &policies, seed, &|| progress.step())?;
            points.iter_mut().zip(&repetition.measured).for_each(|(point, measured)| point.runs.push(*measured));
            if seed == base.seed && self.out.is_some() {
                let outcomes = policies.iter().zip(repetition.outcomes);
                let result =
                    |(params, outcome)| RunResult::new(&trace, params, Shard::WHOLE, repetition.horizon, outcome);
                results = outcomes.map(result).collect();
            }
        }
        drop(progress);
        let comparison = SweepResult {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            inputs: trace.inputs.clone(),
            provenance: trace.provenance.clone(),
            base,
            varied: Vec::new(),
            baseline,
            points,
            crc32: None,
        }
        .sealed();
        if let Some(out) = &self.out {
            write(out, results, &comparison)?;
        }
        let mut stdout = std::io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", serde_json::to_string_pretty(&spreads::listed(&comparison))?)?;
        } else {
            stdout.write_all(spreads::text(&comparison).as_bytes())?;
        }
        Ok(stdout.flush()?)
    }
}

/// Write the runs with the first seed, the comparison, and the page that shows both.
fn write(out: &Path, results: Vec<RunResult>, comparison: &SweepResult) -> Result<(), SimError> {
    std::fs::create_dir_all(out).map_err(SimError::file(out))?;
    for result in &results {
        let name = result.parameters.policy_label().replace(' ', "-");
        result.write(&out.join(format!("{name}.json")))?;
    }
    write_json(&out.join("compare.json"), comparison)?;
    Report { runs: results, sweeps: vec![comparison.clone()] }.write(&out.join("report.html"))
}
