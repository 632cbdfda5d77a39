//! Runs of several policies, repeated with several seeds.
//!
//! A seed decides at which machine, and so in which cell, each task arrives. It decides nothing else: the tasks, their times,
//! what they use and which of them may move are the trace's. So the spread over seeds is that of the placement, not that of
//! the workload.

use super::engine::{Outcome, Prepared};
use super::error::SimError;
use super::figures::Figures;
use super::models::ModelFigures;
use super::params::Params;
use super::placement::Shard;
use super::tasks::Horizon;
use super::trace::Trace;

/// What a run with one seed gave.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Measured {
    /// Seed of the placement.
    pub seed: u64,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// Number of tasks that finished under every policy that it was compared with.
    pub finished_by_all: u64,
    /// Mean time from submission to end over those tasks, seconds.
    pub duration_by_all_s: Option<f64>,
    /// Its figures of models that are off by default.
    #[serde(flatten)]
    pub models: ModelFigures,
}

impl Measured {
    /// Check that a run can have these figures. The error names one that it can't have.
    pub fn check(&self) -> Result<(), String> {
        self.figures.check()?;
        self.models.check()?;
        // As large as any other duration.
        Figures { duration_s: self.duration_by_all_s, ..self.figures }.check()
    }
}

/// What runs of several policies with one seed gave, in the order of the policies.
pub struct Repetition {
    /// The figures of each policy.
    pub measured: Vec<Measured>,
    /// The outcome of each policy.
    pub outcomes: Vec<Outcome>,
    /// The simulated time span.
    pub horizon: Horizon,
}

/// Run policies with one seed. They may differ in anything but the cluster's shape, the seed and the time span. `done` is
/// called after each cell of each policy.
pub fn run(trace: &Trace, policies: &[Params], seed: u64, done: &(dyn Fn() + Sync)) -> Result<Repetition, SimError> {
    let seeded: Vec<Params> = policies.iter().map(|params| Params { seed, ..params.clone() }).collect();
    let Some(shape) = seeded.first() else {
        return Err(SimError::Parameters("there is no policy to run".to_owned()));
    };
    let prepared = Prepared::new(trace, shape, Shard::WHOLE);
    prepared.check_tasks()?;
    let horizon = prepared.horizon();
    let together = prepared.run_each(&seeded, done);
    let runs = seeded.iter().zip(&together.outcomes).enumerate();
    let measured = runs.map(|(run, (params, outcome))| Measured {
        seed,
        figures: Figures::new(&outcome.cells, params, horizon.length_s()),
        finished_by_all: together.finished_by_all.tasks,
        duration_by_all_s: together.finished_by_all.mean_s(run),
        models: ModelFigures::new(&outcome.cells),
    });
    Ok(Repetition { measured: measured.collect(), outcomes: together.outcomes, horizon })
}

/// The seeds of `n` repetitions, from the first one on.
pub fn seeds(first: u64, n: u32) -> impl Iterator<Item = u64> {
    (0..u64::from(n)).map(move |at| first.wrapping_add(at))
}
