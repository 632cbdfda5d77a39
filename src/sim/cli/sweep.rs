//! `vnuma-sim sweep`

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Parser};
use rayon::prelude::*;

use super::load::{is_sample, load, Wanted};
use super::options::{ModelOptions, RunningOptions, TraceOptions};
use super::table;
use crate::policy::{Order, PolicyName};
use crate::sim::engine::Prepared;
use crate::sim::figures::Figures;
use crate::sim::params::Params;
use crate::sim::placement::Shard;
use crate::sim::progress::Progress;
use crate::sim::report::Report;
use crate::sim::result::write_json;
use crate::sim::sweep::{combinations, Point, SweepResult, Vary, FORMAT};
use crate::sim::trace::Trace;
use crate::sim::SimError;

/// Options of `sweep`.
#[derive(Args)]
pub struct Sweep {
    #[command(flatten)]
    trace: TraceOptions,
    /// Option of the model and its values, such as overcommit=0.5..1.4:0.1 (both ends included) or order=memory,mai.
    /// If it is repeated, every combination is run
    #[arg(long, required = true, value_name = "OPTION=VALUES")]
    vary: Vec<Vary>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    running: RunningOptions,
    /// Print the points as JSON: a list with one object per combination and policy
    #[arg(long)]
    json: bool,
    /// Write sweep.json and report.html to DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The model's options alone, to set one by its name.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct ModelLine {
    #[command(flatten)]
    model: ModelOptions,
}

impl Sweep {
    pub fn run(self) -> anyhow::Result<()> {
        self.running.start_threads()?;
        let of_sample = is_sample(&self.trace, &self.running);
        let base = self.model.params(of_sample)?;
        let mut planned = Vec::new();
        for values in combinations(&self.vary) {
            let params = self.varied(&values)?.params(of_sample)?;
            let policies = self.policies(&params);
            policies.iter().try_for_each(Params::check)?;
            planned.extend(policies.into_iter().map(|params| (values.clone(), params)));
        }
        let wanted = Wanted { params: &base, shard: Shard::WHOLE, checksums: self.out.is_some() };
        let trace = load(&self.trace, &self.running, &wanted)?;
        planned.iter().try_for_each(|(_, params)| params.check_horizon(&trace))?;
        let progress = Progress::new("runs", planned.len() as u64);
        let points = planned
            .into_par_iter()
            .map(|(values, parameters)| {
                let figures = figures(&trace, &parameters)?;
                progress.step();
                Ok(Point { values, parameters, figures })
            })
            .collect::<Result<Vec<Point>, SimError>>()?;
        drop(progress);
        let result = SweepResult {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            inputs: trace.inputs.clone(),
            provenance: trace.provenance.clone(),
            base,
            varied: self.vary.iter().map(|vary| vary.option.clone()).collect(),
            points,
        };
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out).map_err(SimError::file(out))?;
            write_json(&out.join("sweep.json"), &result)?;
            Report { sweeps: vec![result.clone()], ..Report::default() }.write(&out.join("report.html"))?;
        }
        let mut stdout = std::io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", serde_json::to_string_pretty(&listed(&result))?)?;
        } else {
            stdout.write_all(text(&result).as_bytes())?;
        }
        Ok(stdout.flush()?)
    }

    /// The model's options with the varied ones set to `values`.
    fn varied(&self, values: &[String]) -> anyhow::Result<ModelOptions> {
        let mut line = ModelLine { model: self.model.clone() };
        for (vary, value) in self.vary.iter().zip(values) {
            line.try_update_from([format!("--{}={value}", vary.option)])
                .map_err(|error| anyhow!("--vary {}: {}", vary.option, first_line(&error)))?;
        }
        Ok(line.model)
    }

    /// The policies to run. If none is named: none, coarse, fine by memory, and auto.
    fn policies(&self, params: &Params) -> Vec<Params> {
        let names = ["policy", "order"];
        let named = self.model.policy.is_some() || self.vary.iter().any(|vary| names.contains(&vary.option.as_str()));
        if named {
            return vec![params.clone()];
        }
        let order = Some(self.model.order.unwrap_or(Order::Memory));
        vec![
            params.with_policy(PolicyName::NONE, None),
            params.with_policy(PolicyName::COARSE, None),
            params.with_policy(PolicyName::FINE, order),
            params.with_policy(PolicyName::AUTO, None),
        ]
    }
}

/// Clap's message without its usage lines, since no such command line was typed.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().map_or("", |line| line.trim_start_matches("error: ")).to_owned()
}

fn figures(trace: &Trace, params: &Params) -> Result<Figures, SimError> {
    let prepared = Prepared::new(trace, params, Shard::WHOLE);
    prepared.check_tasks()?;
    let outcome = prepared.run(params, &|| {});
    Ok(Figures::new(&outcome.cells, params, prepared.horizon().length_s()))
}

/// The points as printed. The varied options are a separate object, because one may have the same name as a figure.
fn listed(result: &SweepResult) -> Vec<serde_json::Value> {
    let point = |point: &Point| {
        let mut object = serde_json::json!({ "policy": point.parameters.policy, "order": point.parameters.order });
        for (name, value) in result.varied.iter().zip(&point.values) {
            object["varied"][name] = value.parse::<f64>().map_or_else(|_| value.clone().into(), Into::into);
        }
        if let Ok(serde_json::Value::Object(figures)) = serde_json::to_value(point.figures) {
            figures.into_iter().for_each(|(name, value)| object[name] = value);
        }
        object
    };
    result.points.iter().map(point).collect()
}

fn text(result: &SweepResult) -> String {
    let mut head = result.varied.clone();
    head.push("policy".to_owned());
    head.extend(table::figure_heads());
    let rows = result.points.iter().map(|point| {
        let mut row = point.values.clone();
        row.push(point.parameters.policy_label());
        row.extend(table::figure_cells(&point.figures));
        row
    });
    table::aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}
