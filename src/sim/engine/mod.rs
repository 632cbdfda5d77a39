//! The simulated cluster. It is event-driven and runs cell by cell, since cells are independent once tasks are placed.

mod cell;
mod finished_by_all;
mod jobs;
mod lc;
mod machine;
mod memory;
mod recording;
mod series;
mod slowdowns;

pub use cell::CellOutcome;
pub use finished_by_all::FinishedByAll;
pub use lc::LcOutcome;
pub use memory::MemoryOutcome;
pub use recording::{intervals, CellRecording, Interval, MoveRecord, Started};
pub use series::{Heat, Rounds};
pub use slowdowns::Slowdowns;

use std::sync::Arc;

use rayon::prelude::*;

use self::cell::CellRun;
use self::lc::Slowed;
use super::error::SimError;
use super::params::Params;
use super::placement::{Placement, Shard};
use super::tasks::{seconds, Horizon, SimTask};
use super::trace::Trace;
use crate::policy::{Policy, PolicyName};

/// Events due within this time of each other happen at one instant. Only in exact arithmetic would windows and
/// rebalances that should coincide have equal times.
const INSTANT_S: f64 = 1e-7;

/// Number of machines in the heat map: enough to see a pattern, few enough to print.
const HEAT_MACHINES: u32 = 100;

/// The outcome of all cells that ran.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Outcomes in order of cell.
    pub cells: Vec<CellOutcome>,
    /// Rebalances, summed over the cells.
    pub rounds: Rounds,
    /// Busy time of the first machines.
    pub heat: Heat,
    /// What happened in each cell, in order of cell; nothing unless it was [asked for](Prepared::recording).
    pub recordings: Vec<CellRecording>,
}

/// The outcomes of several runs of the same tasks, in the order of their parameters.
#[derive(Clone, Debug)]
pub struct Together {
    /// The outcome of each run.
    pub outcomes: Vec<Outcome>,
    /// The tasks that finished in all of them.
    pub finished_by_all: FinishedByAll,
}

/// Outcomes of some cells, and for each of the cells the tasks that finished in all runs.
type Parts = (Vec<Outcome>, Vec<(u32, FinishedByAll)>);

impl Together {
    fn new((outcomes, mut by_cell): Parts, runs: usize) -> Together {
        by_cell.sort_by_key(|&(cell, _)| cell);
        let finished_by_all = FinishedByAll::sum(by_cell.iter().map(|(_, of_cell)| of_cell), runs);
        Together { outcomes, finished_by_all }
    }
}

/// A trace prepared for one cluster and one time span. Any policy can run on it.
pub struct Prepared<'a> {
    horizon: Horizon,
    shard: Shard,
    placement: Placement,
    /// In order of id. A task's rank is its position here.
    tasks: Vec<SimTask<'a>>,
    /// For each machine, the ranks of its tasks in order of arrival.
    arrivals: Vec<Vec<u32>>,
    records: bool,
}

impl<'a> Prepared<'a> {
    /// Build the tasks of a shard's cells and place them on machines.
    pub fn new(trace: &'a Trace, params: &'a Params, shard: Shard) -> Self {
        let horizon = params.horizon(trace);
        let placement = params.placement();
        let tasks: Vec<SimTask<'a>> = trace
            .tasks
            .par_iter()
            .filter(|task| shard.of == 1 || shard.has_cell(placement.cell(task.id)))
            .filter_map(|task| SimTask::new(trace, task, horizon))
            .collect();
        let mut arrivals = vec![Vec::new(); placement.machines as usize];
        for (task, rank) in tasks.iter().zip(0u32..) {
            arrivals[placement.machine(task.id) as usize].push(rank);
        }
        // Ranks are in order of id, and the sort is stable, so tasks with the same time stay in that order.
        arrivals.par_iter_mut().for_each(|ranks| ranks.sort_by_key(|&rank| tasks[rank as usize].submit_us));
        Prepared { horizon, shard, placement, tasks, arrivals, records: false }
    }

    /// Record in [`Outcome::recordings`] what happens to each task and machine, which takes memory and changes nothing else.
    pub fn recording(self) -> Self {
        Prepared { records: true, ..self }
    }

    /// The tasks that arrive, in order of id. A task's rank is its position here.
    pub fn tasks(&self) -> &[SimTask<'a>] {
        &self.tasks
    }

    /// The simulated time span.
    pub fn horizon(&self) -> Horizon {
        self.horizon
    }

    /// Fail if the whole cluster has no task: figures of nothing would look like those of a run. A shard may have none.
    pub fn check_tasks(&self) -> Result<(), SimError> {
        if !self.tasks.is_empty() || self.shard != Shard::WHOLE {
            return Ok(());
        }
        let Horizon { start_us, end_us } = self.horizon;
        Err(SimError::NoTasksInSpan { start_s: seconds(start_us), end_s: seconds(end_us) })
    }

    /// Work of all tasks, in seconds at full speed.
    pub fn work_s(&self) -> f64 {
        self.tasks.iter().map(|task| task.duration_s).sum()
    }

    /// Number of cells to run.
    pub fn nr_cells(&self) -> usize {
        self.cells().count()
    }

    fn cells(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.placement.nr_cells()).filter(|&cell| self.shard.has_cell(cell))
    }

    /// Run every cell under the policy of `params`, which may differ from the parameters of [`Prepared::new`] in
    /// anything but the cluster's shape, the seed and the time span. `done` is called after each cell.
    pub fn run(&self, params: &Params, done: &(dyn Fn() + Sync)) -> Outcome {
        self.run_each(std::slice::from_ref(params), done).outcomes.pop().expect("BUG: no outcome of a run")
    }

    /// Run every cell under a policy of the caller's. Of `params` the policy's name is not used.
    pub fn run_policy(&self, params: &Params, policy: &dyn Policy) -> Outcome {
        // Under `none` there would be no rebalance.
        let params = params.with_policy(PolicyName::FINE, params.order);
        let together = self.run_all(&[(&params, Some(policy))], &|| {});
        together.outcomes.into_iter().next().expect("BUG: no outcome of a run")
    }

    /// The same as [`Prepared::run`] for several parameters. Each cell runs under all of them before the next cell runs, so that its tasks'
    /// windows come from memory once and from a cache the other times.
    pub fn run_each(&self, runs: &[Params], done: &(dyn Fn() + Sync)) -> Together {
        let policies: Vec<_> = runs.iter().map(Params::policy).collect();
        let runs: Vec<_> = runs.iter().zip(policies.iter().map(Option::as_deref)).collect();
        self.run_all(&runs, done)
    }

    fn run_all(&self, runs: &[(&Params, Option<&dyn Policy>)], done: &(dyn Fn() + Sync)) -> Together {
        let slowed = Slowed::of_runs(runs.iter().map(|&(params, _)| params));
        let empty = || -> Worker<'_> {
            let partials = runs.iter().zip(&slowed);
            let partials = partials.map(|(&(params, policy), slowed)| Partial::new(params, policy, slowed, self));
            Worker { partials: partials.collect(), by_cell: Vec::new() }
        };
        // Everything that is summed across cells is an integer or kept by cell, so results don't depend on the number of
        // threads.
        self.cells()
            .collect::<Vec<_>>()
            .into_par_iter()
            .fold(empty, |mut worker, cell| {
                for partial in &mut worker.partials {
                    partial.add(cell, self.arrivals(cell));
                    done();
                }
                let runs = worker.partials.iter().map(|partial| partial.run.turnarounds_s.as_slice());
                worker.by_cell.push((cell, FinishedByAll::of_cell(&runs.collect::<Vec<_>>())));
                worker
            })
            .map(Worker::outcome)
            .reduce_with(|(some, cells), (others, other_cells)| {
                let outcomes = some.into_iter().zip(others).map(|(one, other)| one.merged(other)).collect();
                (outcomes, [cells, other_cells].concat())
            })
            .map_or_else(|| Together::new(empty().outcome(), runs.len()), |parts| Together::new(parts, runs.len()))
    }

    /// For each of a cell's machines, the ranks of its tasks.
    fn arrivals(&self, cell: u32) -> &[Vec<u32>] {
        let first = self.placement.first_in(cell) as usize;
        &self.arrivals[first..first + self.placement.machines_in(cell) as usize]
    }
}

/// The part of several runs that one worker has done.
struct Worker<'a> {
    partials: Vec<Partial<'a>>,
    by_cell: Vec<(u32, FinishedByAll)>,
}

impl Worker<'_> {
    fn outcome(self) -> Parts {
        (self.partials.into_iter().map(Partial::outcome).collect(), self.by_cell)
    }
}

/// The part of one run that one worker has done.
struct Partial<'a> {
    run: CellRun<'a>,
    outcome: Outcome,
}

impl<'a> Partial<'a> {
    fn new(
        params: &'a Params,
        policy: Option<&'a dyn Policy>,
        slowed: &Option<Arc<Slowed>>,
        prepared: &'a Prepared<'a>,
    ) -> Self {
        let horizon = prepared.horizon;
        let outcome = Outcome {
            cells: Vec::new(),
            rounds: Rounds::new(params, horizon),
            heat: Heat::new(params.machines.min(HEAT_MACHINES), horizon),
            recordings: Vec::new(),
        };
        let mut run =
            CellRun::new(params, policy, horizon, prepared.placement.clone(), slowed.clone(), &prepared.tasks);
        if prepared.records {
            run.record();
        }
        Partial { run, outcome }
    }

    fn add(&mut self, cell: u32, arrivals: &[Vec<u32>]) {
        let Outcome { cells, rounds, heat, recordings } = &mut self.outcome;
        cells.push(self.run.run(cell, arrivals, rounds, heat));
        recordings.extend(self.run.recording.take());
    }

    fn outcome(self) -> Outcome {
        self.outcome
    }
}

impl Outcome {
    fn merged(mut self, other: Outcome) -> Outcome {
        self.cells.extend(other.cells);
        self.rounds.add(&other.rounds);
        self.heat.add(&other.heat);
        self.recordings.extend(other.recordings);
        self
    }
}
