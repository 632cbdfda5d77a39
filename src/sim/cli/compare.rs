//! `vnuma-sim compare`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::load::{is_sample, load, Wanted};
use super::options::{ModelOptions, RunningOptions, TraceOptions};
use super::table;
use crate::policy::Order;
use crate::sim::engine::Prepared;
use crate::sim::figures::Figures;
use crate::sim::params::{Params, PolicyKind};
use crate::sim::placement::Shard;
use crate::sim::progress::Progress;
use crate::sim::report::Report;
use crate::sim::result::{write_json, RunResult};
use crate::sim::SimError;

/// Run every policy and order.
#[derive(Args)]
pub struct Compare {
    #[command(flatten)]
    trace: TraceOptions,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    running: RunningOptions,
    /// Print the figures as JSON, a list with one object a policy
    #[arg(long)]
    json: bool,
    /// Write each policy's whole result, compare.json and report.html to DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A policy and its figures, side by side with others.
#[derive(serde::Serialize)]
struct Compared<'a> {
    policy: PolicyKind,
    order: Option<Order>,
    #[serde(flatten)]
    figures: &'a Figures,
}

/// none, coarse, fine in every order, and auto.
pub fn every_policy(base: &Params) -> Vec<Params> {
    let fixed = [(PolicyKind::None, None), (PolicyKind::Coarse, None)];
    let fine = Order::ALL.map(|order| (PolicyKind::Fine, Some(order)));
    let auto = (PolicyKind::Auto, None);
    fixed.into_iter().chain(fine).chain([auto]).map(|(policy, order)| base.with_policy(policy, order)).collect()
}

impl Compare {
    pub fn run(self) -> anyhow::Result<()> {
        self.running.start_threads()?;
        let base = self.model.params(is_sample(&self.trace, &self.running))?;
        let wanted = Wanted { params: &base, shard: Shard::WHOLE, checksums: self.out.is_some() };
        let trace = load(&self.trace, &self.running, &wanted)?;
        let prepared = Prepared::new(&trace, &base, Shard::WHOLE);
        let policies = every_policy(&base);
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
