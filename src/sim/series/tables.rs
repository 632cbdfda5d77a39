//! The tables of a recorded run.

use std::collections::BTreeSet;

use super::Table;
use crate::sim::engine::{CellRecording, Interval, MoveRecord, Outcome, Prepared, Started};
use crate::sim::params::Params;
use crate::sim::placement::Placement;
use crate::sim::tasks::{exact, SimTask};

/// One row for each task that arrived, in order of id.
pub(super) fn tasks(prepared: &Prepared<'_>, params: &Params, outcome: &Outcome) -> Table {
    let placement = params.placement();
    let mut lives: Vec<Life<'_>> =
        prepared.tasks().iter().map(|task| Life::new(task, placement.machine(task.id))).collect();
    for recording in &outcome.recordings {
        recording.started.iter().for_each(|started| lives[started.rank as usize].started = Some(*started));
        recording.moves.iter().for_each(|step| lives[step.rank as usize].moves.push(step));
    }
    let lives = || lives.iter();
    Table { name: "tasks", columns: Vec::new() }
        .whole("job", lives().map(|life| life.task.id.job))
        .whole("task_index", lives().map(|life| life.task.id.index.into()))
        .whole("cell", lives().map(|life| placement.cell_of(life.first_machine).into()))
        .whole("priority", lives().map(|life| life.task.priority.into()))
        .number("request_cpus", lives().map(|life| life.task.request_cpus))
        .number("reserved_cpus", lives().map(|life| exact(params.overcommit * life.task.request_cpus)))
        .number("arrival_s", lives().map(|life| life.task.submit_s))
        .optional("start_s", lives().map(|life| life.started.map(|started| started.start_s)))
        .optional("end_s", lives().map(|life| life.started.and_then(|started| started.end_s)))
        .number("work_s", lives().map(|life| life.task.duration_s))
        .number("work_done_s", lives().map(|life| life.started.map_or(0.0, |started| started.work_done_s)))
        .whole("moves", lives().map(|life| life.moves.len() as u64))
        .whole("moved_bytes", lives().map(|life| life.moves.iter().map(|step| step.bytes).sum()))
        .whole("machines", lives().map(Life::machines))
        .whole("first_machine", lives().map(|life| life.first_machine.into()))
        .whole("last_machine", lives().map(|life| life.moves.last().map_or(life.first_machine, |step| step.to).into()))
}

/// What a recording says of one task.
struct Life<'a> {
    task: &'a SimTask<'a>,
    first_machine: u32,
    started: Option<Started>,
    moves: Vec<&'a MoveRecord>,
}

impl<'a> Life<'a> {
    fn new(task: &'a SimTask<'a>, first_machine: u32) -> Self {
        Life { task, first_machine, started: None, moves: Vec::new() }
    }

    /// Number of machines that it was on; none if it never ran.
    fn machines(&self) -> u64 {
        let machines = self.moves.iter().map(|step| step.to).chain([self.first_machine]);
        self.started.map_or(0, |_| machines.collect::<BTreeSet<u32>>().len() as u64)
    }
}

/// The bounds of the intervals, seconds since t0.
struct Bounds {
    width_s: f64,
    end_s: f64,
}

impl Bounds {
    fn new(prepared: &Prepared<'_>, params: &Params) -> Bounds {
        Bounds { width_s: params.interval_s, end_s: prepared.horizon().length_s() }
    }

    fn start_s(&self, interval: usize) -> f64 {
        (interval as f64 * self.width_s).min(self.end_s)
    }
}

/// One row for each machine and interval, in order of machine and then of time.
pub(super) fn machines(prepared: &Prepared<'_>, params: &Params, outcome: &Outcome) -> Table {
    let bounds = Bounds::new(prepared, params);
    let placement = params.placement();
    let rows = || outcome.recordings.iter().flat_map(|recording| intervals_of(recording, &placement));
    Table { name: "machines", columns: Vec::new() }
        .whole("machine", rows().map(|(machine, _, _)| machine.into()))
        .whole("cell", rows().map(|(machine, _, _)| placement.cell_of(machine).into()))
        .number("start_s", rows().map(|(_, at, _)| bounds.start_s(at)))
        .number("end_s", rows().map(|(_, at, _)| bounds.start_s(at + 1)))
        .number("busy_cpu_s", rows().map(|(_, _, interval)| interval.busy_cpu_s))
        .number("over_cpu_s", rows().map(|(_, _, interval)| interval.over_cpu_s))
        .number("load_cpus", rows().map(|(_, _, interval)| interval.load_cpus))
        .number("reserved_cpus", rows().map(|(_, _, interval)| interval.reserved_cpus))
        .number("migratable_cpus", rows().map(|(_, _, interval)| interval.migratable_cpus))
        .whole("running", rows().map(|(_, _, interval)| interval.running.into()))
        .whole("migratable", rows().map(|(_, _, interval)| interval.migratable.into()))
        .whole("waiting", rows().map(|(_, _, interval)| interval.waiting.into()))
}

/// The intervals of a cell's machines: machine, number of the interval, and what happened in it.
fn intervals_of<'a>(
    recording: &'a CellRecording,
    placement: &Placement,
) -> impl Iterator<Item = (u32, usize, &'a Interval)> + 'a {
    let first = placement.first_in(recording.cell);
    let machines = (first..).zip(&recording.machines);
    machines.flat_map(|(machine, intervals)| {
        intervals.iter().enumerate().map(move |(at, interval)| (machine, at, interval))
    })
}

/// Sums over all machines in one interval, and the moves at its end.
#[derive(Clone, Copy, Default)]
struct Round {
    of_machines: Interval,
    moves: u64,
    moved_bytes: u64,
}

/// One row for each interval. The rebalance at its end is in it; the last one, which t1 ends, has none.
pub(super) fn rounds(prepared: &Prepared<'_>, params: &Params, outcome: &Outcome) -> Table {
    let bounds = Bounds::new(prepared, params);
    let placement = params.placement();
    let recordings = &outcome.recordings;
    let machines: usize = recordings.iter().map(|recording| recording.machines.len()).sum();
    let mut rounds = vec![Round::default(); crate::sim::engine::intervals(params, prepared.horizon())];
    for recording in recordings {
        for (_, at, interval) in intervals_of(recording, &placement) {
            add(&mut rounds[at].of_machines, interval);
        }
        for step in &recording.moves {
            rounds[step.round].moves += 1;
            rounds[step.round].moved_bytes += step.bytes;
        }
    }
    let share = |at: usize, cpu_s: f64| {
        let cluster_cpu_s = (bounds.start_s(at + 1) - bounds.start_s(at)) * params.capacity * machines as f64;
        if cluster_cpu_s > 0.0 {
            cpu_s / cluster_cpu_s
        } else {
            0.0
        }
    };
    let rows = || rounds.iter().enumerate();
    let of_machines = || rounds.iter().map(|round| round.of_machines);
    Table { name: "rounds", columns: Vec::new() }
        .number("start_s", rows().map(|(at, _)| bounds.start_s(at)))
        .number("end_s", rows().map(|(at, _)| bounds.start_s(at + 1)))
        .number("busy_cpu_s", of_machines().map(|sum| sum.busy_cpu_s))
        .number("over_cpu_s", of_machines().map(|sum| sum.over_cpu_s))
        .number("cpu_utilisation", rows().map(|(at, round)| share(at, round.of_machines.busy_cpu_s)))
        .number("overcommit", rows().map(|(at, round)| share(at, round.of_machines.over_cpu_s)))
        .number("load_cpus", of_machines().map(|sum| sum.load_cpus))
        .number("reserved_cpus", of_machines().map(|sum| sum.reserved_cpus))
        .number("migratable_cpus", of_machines().map(|sum| sum.migratable_cpus))
        .whole("running", of_machines().map(|sum| sum.running.into()))
        .whole("migratable", of_machines().map(|sum| sum.migratable.into()))
        .whole("waiting", of_machines().map(|sum| sum.waiting.into()))
        .whole("moves", rounds.iter().map(|round| round.moves))
        .whole("moved_bytes", rounds.iter().map(|round| round.moved_bytes))
}

fn add(sum: &mut Interval, other: &Interval) {
    *sum = Interval {
        busy_cpu_s: sum.busy_cpu_s + other.busy_cpu_s,
        over_cpu_s: sum.over_cpu_s + other.over_cpu_s,
        load_cpus: sum.load_cpus + other.load_cpus,
        reserved_cpus: sum.reserved_cpus + other.reserved_cpus,
        running: sum.running + other.running,
        migratable: sum.migratable + other.migratable,
        migratable_cpus: sum.migratable_cpus + other.migratable_cpus,
        waiting: sum.waiting + other.waiting,
    };
}

/// One row for each move, in order of time, then of cell.
pub(super) fn moves(prepared: &Prepared<'_>, params: &Params, outcome: &Outcome) -> Table {
    let mut moves: Vec<&MoveRecord> = outcome.recordings.iter().flat_map(|recording| &recording.moves).collect();
    // Stable, so that a cell's moves stay in their order.
    moves.sort_by_key(|step| step.round);
    let id = |step: &MoveRecord| prepared.tasks()[step.rank as usize].id;
    let moves = || moves.iter().copied();
    Table { name: "moves", columns: Vec::new() }
        .number("at_s", moves().map(|step| (step.round + 1) as f64 * params.interval_s))
        .whole("job", moves().map(|step| id(step).job))
        .whole("task_index", moves().map(|step| id(step).index.into()))
        .whole("from_machine", moves().map(|step| step.from.into()))
        .whole("to_machine", moves().map(|step| step.to.into()))
        .whole("bytes", moves().map(|step| step.bytes))
}
