//! Which running tasks of a cell belong to one job, and which of these are apart.

use std::collections::BTreeMap;

use super::machine::{Machine, World};

/// The running tasks of a cell by job.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// For each job its tasks: machine and rank, in order.
    tasks: BTreeMap<u64, Vec<(usize, u32)>>,
    /// Progress of each machine when it was last asked for, seconds.
    progress_s: Vec<f64>,
}

impl Jobs {
    /// Forget another cell.
    pub(super) fn reset(&mut self, machines: usize) {
        self.progress_s.clear();
        self.progress_s.resize(machines, 0.0);
    }

    /// Progress of each machine since this was last called, seconds.
    pub(super) fn progress_s(&mut self, machines: &[Machine]) -> Vec<f64> {
        let now_s = machines.iter().map(Machine::progress_s).collect();
        let before_s = std::mem::replace(&mut self.progress_s, now_s);
        self.progress_s.iter().zip(before_s).map(|(now_s, before_s)| now_s - before_s).collect()
    }

    /// Note who runs where.
    pub(super) fn look(&mut self, machines: &[Machine], world: &World<'_>) {
        self.tasks.clear();
        for (at, machine) in machines.iter().enumerate() {
            for &(rank, _) in &machine.running {
                self.tasks.entry(world.tasks[rank as usize].id.job).or_default().push((at, rank));
            }
        }
    }

    /// A job, and the number of its tasks.
    pub(super) fn of(&self, job: u64) -> (u64, usize) {
        (job, self.tasks.get(&job).map_or(0, Vec::len))
    }

    /// The tasks of jobs that are on several machines: machine, rank, and the share of the job's other tasks that are elsewhere.
    pub(super) fn split(&self) -> Vec<(usize, u32, f64)> {
        let mut split = Vec::new();
        for tasks in self.tasks.values().filter(|tasks| tasks.len() > 1) {
            for here in tasks.chunk_by(|a, b| a.0 == b.0).filter(|here| here.len() < tasks.len()) {
                let remote = (tasks.len() - here.len()) as f64 / (tasks.len() - 1) as f64;
                split.extend(here.iter().map(|&(machine, rank)| (machine, rank, remote)));
            }
        }
        split
    }
}
