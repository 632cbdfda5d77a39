//! `vnuma-sim compare`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::load::{is_sample, load, Wanted};
use super::options::{ModelOptions, RunningOptions, TraceOptions};
use super::table;
use crate::policy::{Order, PolicyName, World};
use crate::sim::engine::Prepared;
use crate::sim::figures::Figures;
use crate::sim::params::Params;
use crate::sim::placement::Shard;
use crate::sim::progress::Progress;
use crate::sim::report::Report;
use crate::sim::result::{write_json, RunResult};
use crate::sim::SimError;

/// Options of `compare`.
#[derive(Args)]
pub struct Compare {
    #[command(flatten)]
    trace: TraceOptions,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    running: RunningOptions,
    /// Print the figures as JSON: a list with one object per policy and order
    #[arg(long)]
    json: bool,
    /// Write each run's whole result, compare.json and report.html to DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// One row of a comparison: a policy and its figures.
#[derive(serde::Serialize)]
struct Compared<'a> {
    policy: PolicyName,
    order: Option<Order>,
    #[serde(flatten)]
    figures: &'a Figures,
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
        let prepared = Prepared::new(&trace, &base, Shard::WHOLE);
        prepared.check_tasks()?;
        let policies = every_policy(&base);
        policies.iter().try_for_each(Params::check)?;
        let progress = Progress::new("cells", (policies.len() * prepared.nr_cells()) as u64);
        let outcomes = prepared.run_each(&policies, &|| progress.step());
        let results: Vec<RunResult> = policies
            .iter()
            .zip(outcomes)
            .map(|(params, outcome)| RunResult::new(&trace, params, Shard::WHOLE, prepared.horizon(), outcome))
            .collect();
        drop(progress);
        let compared: Vec<Compared<'_>> = results
            .iter()
            .map(|result| Compared {
                policy: result.parameters.policy,
                order: result.parameters.order,
                figures: &result.figures,
            })
            .collect();
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out).map_err(SimError::file(out))?;
            for result in &results {
                let name = result.parameters.policy_label().replace(' ', "-");
                result.write(&out.join(format!("{name}.json")))?;
            }
            write_json(&out.join("compare.json"), &compared)?;
            Report { runs: results.clone(), ..Report::default() }.write(&out.join("report.html"))?;
        }
        let mut stdout = std::io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", serde_json::to_string_pretty(&compared)?)?;
        } else {
            stdout.write_all(comparison(&results).as_bytes())?;
        }
        Ok(stdout.flush()?)
    }
}

fn comparison(results: &[RunResult]) -> String {
    let head = std::iter::once("policy".to_owned()).chain(table::figure_heads()).collect();
    let rows = results.iter().map(|result| {
        std::iter::once(result.parameters.policy_label()).chain(table::figure_cells(&result.figures)).collect()
    });
    table::aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}
