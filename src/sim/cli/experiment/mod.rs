//! `vnuma-sim experiment`

mod file;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use rayon::prelude::*;

use self::file::{Plan, Source, TracePlan};
use super::load::{load, Wanted};
use super::options::{start_threads, RunningOptions, TraceOptions, MAX_THREADS};
use super::say::say;
use super::spreads;
use crate::sim::params::Params;
use crate::sim::pieces::{Piece, Place};
use crate::sim::placement::Shard;
use crate::sim::progress::Progress;
use crate::sim::report::Report;
use crate::sim::result::write_json;
use crate::sim::sweep::{combinations, Point, SweepResult, FORMAT};
use crate::sim::trace::{self, Input, Oddities, Trace};
use crate::sim::{repeat, sample, SimError};

/// Options of `experiment`.
#[derive(Args)]
pub struct Experiment {
    /// What to vary: traces, policies, orders, seeds and options. docs/simulation.md describes the keys
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Where results go: for each trace a folder with sweep.json, report.html, and the finished pieces, from which an
    /// interrupted experiment is resumed [default: the file's name without .toml]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=MAX_THREADS))]
    threads: Option<u16>,
}

impl Experiment {
    pub fn run(self) -> anyhow::Result<()> {
        start_threads(self.threads)?;
        let plan = file::read(&self.file)?;
        // All that can be wrong with the file is told before the first run.
        let planned = plan.traces.iter().map(|trace| planned(&plan, trace)).collect::<anyhow::Result<Vec<_>>>()?;
        let baseline = self.baseline(&plan)?;
        let out = self.out();
        for (trace, combinations) in plan.traces.iter().zip(planned) {
            let folder = out.join(&trace.name);
            let runs = Runs { plan: &plan, trace, combinations, folder: &folder };
            let result = runs.result(&baseline)?;
            write_json(&folder.join("sweep.json"), &result)?;
            Report { sweeps: vec![result.clone()], ..Report::default() }.write(&folder.join("report.html"))?;
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "# {}\n\n{}", trace.name, spreads::text(&result))?;
            stdout.flush()?;
            say(format_args!("{}: {} is written", trace.name, folder.join("report.html").display()));
        }
        Ok(())
    }

    fn out(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| self.file.file_stem().unwrap_or_default().into())
    }

    fn baseline(&self, plan: &Plan) -> Result<String, SimError> {
        let params = Params::default();
        let labels = plan.policies.iter().map(|&(policy, order)| params.with_policy(policy, order).policy_label());
        let labels: Vec<String> = labels.collect();
        let Some(wanted) = &plan.baseline else { return Ok(labels.first().cloned().unwrap_or_default()) };
        labels.iter().find(|label| *label == wanted).cloned().ok_or_else(|| SimError::Format {
            path: self.file.clone(),
            what: format!("baseline: '{wanted}' is not run; {} are", labels.join(", ")),
        })
    }
}

/// One combination of the varied options' values.
struct Combination {
    values: Vec<String>,
    /// The parameters of each policy.
    policies: Vec<Params>,
}

fn planned(plan: &Plan, trace: &TracePlan) -> anyhow::Result<Vec<Combination>> {
    let of_sample = matches!(trace.source, Source::Sample);
    let combination = |values: Vec<String>| {
        let mut model = trace.model.clone();
        for (vary, value) in plan.vary.iter().zip(&values) {
            model = model.with(&vary.option, value).map_err(SimError::Parameters)?;
        }
        let params = model.params(of_sample)?;
        let policies: Vec<Params> =
            plan.policies.iter().map(|&(policy, order)| params.with_policy(policy, order)).collect();
        policies.iter().try_for_each(Params::check)?;
        Ok(Combination { values, policies })
    };
    combinations(&plan.vary).into_iter().map(combination).collect()
}

/// All runs on one trace.
struct Runs<'a> {
    plan: &'a Plan,
    trace: &'a TracePlan,
    combinations: Vec<Combination>,
    folder: &'a Path,
}

impl Runs<'_> {
    /// Run what isn't finished, and put all pieces together.
    fn result(&self, baseline: &str) -> anyhow::Result<SweepResult> {
        let pieces_folder = self.folder.join("pieces");
        std::fs::create_dir_all(&pieces_folder).map_err(SimError::file(&pieces_folder))?;
        let files = files(&self.trace.source)?;
        // For each combination and seed: its place, and the parameters of its runs.
        let jobs: Vec<(Place, u64, &[Params])> = self
            .combinations
            .iter()
            .flat_map(|combination| {
                let first = combination.policies[0].seed;
                repeat::seeds(first, self.plan.seeds).map(move |seed| (seed, combination.policies.as_slice()))
            })
            .map(|(seed, policies)| {
                let seeded: Vec<Params> = policies.iter().map(|params| Params { seed, ..params.clone() }).collect();
                (Place::new(&pieces_folder, &files, &seeded), seed, policies)
            })
            .collect();
        let mut pieces: Vec<Option<Piece>> = jobs.iter().map(|(place, ..)| finished(place)).collect();
        let done = pieces.iter().flatten().count();
        if done > 0 {
            say(format_args!("{}: {done} of {} pieces are finished already", self.trace.name, jobs.len()));
        }
        if done < jobs.len() {
            let trace = self.load()?;
            let progress = Progress::new("pieces", (jobs.len() - done) as u64);
            pieces.par_iter_mut().zip(&jobs).filter(|(piece, _)| piece.is_none()).try_for_each(
                |(piece, (place, seed, policies))| {
                    let measured = repeat::run(&trace, policies, *seed, &|| {})?.measured;
                    *piece = Some(place.store(&trace.inputs, trace.provenance.as_deref(), measured)?);
                    progress.step();
                    Ok::<(), SimError>(())
                },
            )?;
        }
        let pieces: Vec<Piece> = pieces.into_iter().flatten().collect();
        Ok(self.together(&pieces, baseline))
    }

    fn together(&self, pieces: &[Piece], baseline: &str) -> SweepResult {
        let mut points = Vec::new();
        for (combination, pieces) in self.combinations.iter().zip(pieces.chunks(self.plan.seeds as usize)) {
            for (at, parameters) in combination.policies.iter().enumerate() {
                let runs = pieces.iter().map(|piece| piece.measured[at]).collect();
                points.push(Point { values: combination.values.clone(), parameters: parameters.clone(), runs });
            }
        }
        SweepResult {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            inputs: pieces[0].inputs.clone(),
            provenance: pieces[0].provenance.clone(),
            base: self.combinations[0].policies[0].clone(),
            varied: self.plan.vary.iter().map(|vary| vary.option.clone()).collect(),
            baseline: baseline.to_owned(),
            points,
            crc32: None,
        }
        .sealed()
    }

    fn load(&self) -> anyhow::Result<Trace> {
        let (mut options, mut running) = (TraceOptions::default(), RunningOptions { trace: None, threads: None });
        options.strict = self.trace.strict;
        match &self.trace.source {
            Source::Sample => {}
            Source::Prepared(path) => running.trace = Some(path.clone()),
            Source::Tables { events, usage } => (options.events, options.usage) = (events.clone(), usage.clone()),
        }
        let policies = || self.combinations.iter().flat_map(|combination| &combination.policies);
        let wanted = Wanted { params: &self.combinations[0].policies[0], shard: Shard::WHOLE, checksums: true };
        let trace = load(&options, &running, &wanted)?;
        policies().try_for_each(|params| params.check_horizon(&trace))?;
        Ok(trace)
    }
}

/// A piece that is finished. One that can't be used is run again.
fn finished(place: &Place) -> Option<Piece> {
    place.load().unwrap_or_else(|what| {
        say(format_args!("not fatal: {}: {what}; it is run again", place.path().display()));
        None
    })
}

/// The trace's files with their checksums, on which pieces depend.
fn files(source: &Source) -> anyhow::Result<Vec<Input>> {
    match source {
        Source::Sample => Ok(sample::inputs()),
        Source::Prepared(path) => Ok(vec![Input::of_file("trace", path)?]),
        Source::Tables { events, usage } => {
            let mut oddities = Oddities::default();
            let mut inputs = Vec::new();
            for (table, patterns) in [("task_events", events), ("task_usage", usage)] {
                for part in trace::expand(patterns, table, &mut oddities)? {
                    if !part.is_file() {
                        return Err(
                            SimError::OnlyOnce { path: part, why: "an experiment reads it to know it again" }.into()
                        );
                    }
                    inputs.push(Input::of_file(table, &part)?);
                }
            }
            Ok(inputs)
        }
    }
}
