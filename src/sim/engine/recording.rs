//! What happened to each task and each machine, for those who ask for it. A run without a recording does none of this, and a
//! recording changes nothing of what it records.

use crate::policy::PolicyName;
use crate::sim::params::Params;
use crate::sim::tasks::Horizon;

/// The recording of one cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CellRecording {
    /// Index of the cell.
    pub cell: u32,
    /// Its machines, from the cell's first one on, each with all of its intervals.
    pub machines: Vec<Vec<Interval>>,
    /// The tasks that started, in no particular order. Other tasks of the cell were still waiting at t1.
    pub started: Vec<Started>,
    /// The moves, in the order in which they were carried out.
    pub moves: Vec<MoveRecord>,
}

/// A machine from one rebalance to the next. The last interval ends at t1. The numbers of tasks, loads and reservations are those
/// at its end, before the rebalance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    /// ∫ min(u, C) dt, CPU-seconds.
    pub busy_cpu_s: f64,
    /// ∫ max(0, u - C) dt, CPU-seconds.
    pub over_cpu_s: f64,
    /// u: the CPU that the running tasks want.
    pub load_cpus: f64,
    /// Sum of the running tasks' reservations.
    pub reserved_cpus: f64,
    /// Number of running tasks.
    pub running: u32,
    /// Number of running tasks that may move.
    pub migratable: u32,
    /// CPU that those want.
    pub migratable_cpus: f64,
    /// Number of tasks that wait for admission.
    pub waiting: u32,
}

/// A task that started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Started {
    /// The task's rank.
    pub rank: u32,
    /// Seconds since t0.
    pub start_s: f64,
    /// Seconds since t0; `None` if it hasn't finished at t1.
    pub end_s: Option<f64>,
    /// Work done, in seconds at full speed.
    pub work_done_s: f64,
}

/// A task's move from one machine to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveRecord {
    /// The rebalance, from 0.
    pub round: usize,
    /// The task's rank.
    pub rank: u32,
    /// Its machine before the move.
    pub from: u32,
    /// Its machine after the move.
    pub to: u32,
    /// Memory moved, bytes.
    pub bytes: u64,
}

/// The ends of a recording's intervals in one run, and which tasks it calls migratable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    width_s: f64,
    intervals: usize,
    pub(super) max_cpu: f32,
    pub(super) priority_below: u32,
}

impl Grid {
    pub(super) fn new(params: &Params, horizon: Horizon) -> Grid {
        Grid {
            width_s: params.interval_s,
            intervals: intervals(params, horizon),
            max_cpu: params.max_cpu as f32,
            priority_below: params.priority_below,
        }
    }
}

/// Number of intervals: one more than rebalances. Under `none` there are no rebalances, but the same intervals.
pub fn intervals(params: &Params, horizon: Horizon) -> usize {
    1 + params.with_policy(PolicyName::FINE, params.order).rounds(horizon)
}

/// Records one machine.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    pub(super) grid: Grid,
    ended: Vec<Interval>,
    /// The interval that hasn't ended.
    busy_cpu_s: f64,
    over_cpu_s: f64,
}

impl Recorder {
    pub(super) fn new(grid: Grid) -> Recorder {
        Recorder { grid, ended: Vec::with_capacity(grid.intervals), busy_cpu_s: 0.0, over_cpu_s: 0.0 }
    }

    /// When the current interval ends, seconds since t0; infinite for the last one, which t1 ends.
    pub(super) fn end_s(&self) -> f64 {
        let next = self.ended.len() + 1;
        if next < self.grid.intervals {
            next as f64 * self.grid.width_s
        } else {
            f64::INFINITY
        }
    }

    /// Add a stretch of time in which the load was the same.
    pub(super) fn add(&mut self, dt_s: f64, load_cpus: f64, capacity_cpus: f64) {
        let dt_s = dt_s.max(0.0);
        self.busy_cpu_s += load_cpus.min(capacity_cpus) * dt_s;
        self.over_cpu_s += (load_cpus - capacity_cpus).max(0.0) * dt_s;
    }

    /// End the current interval with the machine's state.
    pub(super) fn end_interval(&mut self, state: Interval) {
        let (busy_cpu_s, over_cpu_s) = (self.busy_cpu_s, self.over_cpu_s);
        self.ended.push(Interval { busy_cpu_s, over_cpu_s, ..state });
        (self.busy_cpu_s, self.over_cpu_s) = (0.0, 0.0);
    }

    /// All intervals. `state` is the machine's at t1.
    pub(super) fn close(mut self, state: Interval) -> Vec<Interval> {
        // An interval that ends at the same instant as the trace hasn't been ended by anything that happens after it.
        while self.ended.len() < self.grid.intervals {
            self.end_interval(state);
        }
        self.ended
    }
}
