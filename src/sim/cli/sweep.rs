//! `vnuma-sim sweep`

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use rayon::prelude::*;

use super::load::{is_sample, load, Wanted};
use super::options::{ModelOptions, RunningOptions, TraceOptions};
use super::seeds::SeedOptions;
use super::spreads;
use crate::policy::{Order, PolicyName};
use crate::sim::params::Params;
use crate::sim::placement::Shard;
use crate::sim::progress::Progress;
use crate::sim::repeat;
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
    spread: SeedOptions,
    #[command(flatten)]
    running: RunningOptions,
    /// Print the points as JSON: a list with one object per combination and policy
    #[arg(long)]
    json: bool,
    /// Write sweep.json and report.html to DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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
        let labels: Vec<String> = planned.iter().map(|(_, params)| params.policy_label()).collect();
        let baseline = self.spread.baseline(&labels)?;
        let wanted = Wanted { params: &base, shard: Shard::WHOLE, checksums: self.out.is_some() };
        let trace = load(&self.trace, &self.running, &wanted)?;
        planned.iter().try_for_each(|(_, params)| params.check_horizon(&trace))?;
        let nr_seeds = self.nr_seeds(&trace, &planned)?;
        let result = SweepResult {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            inputs: trace.inputs.clone(),
            provenance: trace.provenance.clone(),
            base,
            varied: self.vary.iter().map(|vary| vary.option.clone()).collect(),
            baseline,
            points: points(&trace, planned, nr_seeds)?,
            crc32: None,
        }
        .sealed();
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out).map_err(SimError::file(out))?;
            write_json(&out.join("sweep.json"), &result)?;
            Report { sweeps: vec![result.clone()], ..Report::default() }.write(&out.join("report.html"))?;
        }
        let mut stdout = std::io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", serde_json::to_string_pretty(&spreads::listed(&result))?)?;
        } else {
            stdout.write_all(spreads::text(&result).as_bytes())?;
        }
        Ok(stdout.flush()?)
    }

    /// Number of seeds of each combination. A sweep over seeds has its own.
    fn nr_seeds(&self, trace: &Trace, planned: &[(Vec<String>, Params)]) -> Result<u32, SimError> {
        match (self.vary.iter().any(|vary| vary.option == "seed"), self.spread.seeds) {
            (true, None | Some(1)) => Ok(1),
            (true, Some(_)) => Err(SimError::Parameters("--seeds: --vary seed=… varies the seed already".to_owned())),
            (false, _) => Ok(self.spread.count(trace, &planned.iter().map(|(_, params)| params).collect::<Vec<_>>())),
        }
    }

    /// The model's options with the varied ones set to `values`.
    fn varied(&self, values: &[String]) -> anyhow::Result<ModelOptions> {
        self.vary.iter().zip(values).try_fold(self.model.clone(), |model, (vary, value)| {
            model.with(&vary.option, value).map_err(|what| anyhow!("--vary {}: {what}", vary.option))
        })
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

/// Run all that is planned with each seed. Runs that differ in nothing but the policy run together.
fn points(trace: &Trace, planned: Vec<(Vec<String>, Params)>, nr_seeds: u32) -> Result<Vec<Point>, SimError> {
    let without_policy = |params: &Params| params.with_policy(PolicyName::NONE, None);
    let mut groups: Vec<(Params, Vec<usize>)> = Vec::new();
    for (at, (_, params)) in planned.iter().enumerate() {
        match groups.iter_mut().find(|(of_group, _)| *of_group == without_policy(params)) {
            Some((_, members)) => members.push(at),
            None => groups.push((without_policy(params), vec![at])),
        }
    }
    let progress = Progress::new("runs", planned.len() as u64 * u64::from(nr_seeds));
    let repetitions: Vec<(&[usize], u64)> = groups
        .iter()
        .flat_map(|(shared, members)| repeat::seeds(shared.seed, nr_seeds).map(|seed| (members.as_slice(), seed)))
        .collect();
    let measured = repetitions
        .into_par_iter()
        .map(|(members, seed)| {
            let policies: Vec<Params> = members.iter().map(|&at| planned[at].1.clone()).collect();
            let measured = repeat::run(trace, &policies, seed, &|| {})?.measured;
            members.iter().for_each(|_| progress.step());
            Ok(members.iter().copied().zip(measured).collect::<Vec<_>>())
        })
        .collect::<Result<Vec<_>, SimError>>()?;
    drop(progress);
    let point = |(values, parameters)| Point { values, parameters, runs: Vec::new() };
    let mut points: Vec<Point> = planned.into_iter().map(point).collect();
    for (at, measured) in measured.into_iter().flatten() {
        points[at].runs.push(measured);
    }
    Ok(points)
}
