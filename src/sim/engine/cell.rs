//! One cell. Its machines run independently from one rebalance to the next.

use super::machine::{Finished, Machine, World};
use super::recording::{CellRecording, Grid, MoveRecord, Recorder};
use super::series::{Bins, Heat, Rounds};
use super::slowdowns::Slowdowns;
use crate::cell::{Admission, CellView, Demand, Group, GroupId, Node, NodeId, Plan, Pressure};
use crate::policy::{Memory, Policy};
use crate::sim::params::Params;
use crate::sim::tasks::{Horizon, SimTask};

/// The outcome of one cell, from which figures are computed.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CellOutcome {
    /// Index of the cell.
    pub cell: u32,
    /// Number of tasks that arrived.
    pub tasks: u64,
    /// Number of tasks that finished.
    pub finished: u64,
    /// Sum over the finished tasks of the time from submission to end, seconds.
    pub turnaround_s: f64,
    /// The slowdowns of all tasks that arrived.
    pub slowdowns: Slowdowns,
    /// Number of tasks that run or wait at the end.
    pub unfinished: u64,
    /// Work done, in seconds at full speed.
    pub work_done_s: f64,
    /// Work left of the unfinished tasks, in seconds at full speed.
    pub work_left_s: f64,
    /// CPU that the tasks would use until t1 if each ran at full speed from its submission, CPU-seconds. No policy gets more
    /// out of the machines.
    pub unhindered_cpu_s: f64,
    /// Number of arrivals, changes of usage, ends and moves. Run time grows with it.
    pub events: u64,
    /// Number of moves between machines.
    pub migrations: u64,
    /// Memory moved, bytes.
    pub migrated_bytes: u64,
    /// ∫ min(u, C) dt of each machine, CPU-seconds.
    pub busy_cpu_s: Vec<f64>,
    /// ∫ max(0, u - C) dt of each machine, CPU-seconds.
    pub over_cpu_s: Vec<f64>,
}

/// Runs cells one after another and reuses the memory.
pub(super) struct CellRun<'a> {
    params: &'a Params,
    policy: Option<&'a dyn Policy>,
    memory: Memory,
    horizon: Horizon,
    world: World<'a>,
    nr_rounds: usize,
    max_cpu: f32,
    machines: Vec<Machine>,
    view: CellView,
    /// Number of the cell's events when the policy last found nothing to move.
    settled_at: Option<u64>,
    /// Rank and time from submission to end of each task that finished in the last cell, seconds.
    pub(super) turnarounds_s: Vec<(u32, f64)>,
    /// `None` if cells are not recorded.
    grid: Option<Grid>,
    /// The recording of the last cell.
    pub(super) recording: Option<CellRecording>,
}

impl<'a> CellRun<'a> {
    pub(super) fn new(
        params: &'a Params,
        policy: Option<&'a dyn Policy>,
        horizon: Horizon,
        tasks: &'a [SimTask<'a>],
    ) -> Self {
        CellRun {
            params,
            policy,
            memory: Memory::default(),
            horizon,
            world: World { tasks, capacity_cpus: params.capacity, overcommit: params.overcommit },
            nr_rounds: params.rounds(horizon),
            // Windows have single precision, so the limit must be rounded like the trace's values.
            max_cpu: params.max_cpu as f32,
            machines: Vec::new(),
            view: CellView::default(),
            settled_at: None,
            turnarounds_s: Vec::new(),
            grid: None,
            recording: None,
        }
    }

    /// Record what happens in each cell.
    pub(super) fn record(&mut self) {
        self.grid = Some(Grid::new(self.params, self.horizon));
    }

    /// Run a cell from t0 to t1. `arrivals` holds, for each of its machines, the ranks of the tasks that arrive there.
    pub(super) fn run(
        &mut self,
        cell: u32,
        arrivals: &[Vec<u32>],
        rounds: &mut Rounds,
        heat: &mut Heat,
    ) -> CellOutcome {
        let first_machine = cell * self.params.cell;
        self.reset(first_machine, arrivals.len(), heat);
        self.recording = self.grid.map(|_| CellRecording { cell, ..CellRecording::default() });
        let turnarounds_s = std::mem::take(&mut self.turnarounds_s);
        let mut finished = Finished { turnarounds_s, ..Finished::default() };
        finished.turnarounds_s.clear();
        finished.recorded = self.grid.map(|_| Vec::new());
        let mut outcome = CellOutcome { cell, ..CellOutcome::default() };
        for round in 0..self.nr_rounds {
            let at_s = (round + 1) as f64 * self.params.interval_s;
            for (machine, arrivals) in self.machines.iter_mut().zip(arrivals) {
                machine.run_until(at_s, arrivals, &self.world, &mut finished);
                machine.end_interval(at_s);
            }
            self.rebalance(round, rounds, &mut outcome);
        }
        let end_s = self.horizon.length_s();
        for (machine, arrivals) in self.machines.iter_mut().zip(arrivals) {
            machine.run_before(end_s, arrivals, &self.world, &mut finished);
        }
        self.close(first_machine, arrivals, finished, heat, &mut outcome);
        outcome
    }

    fn reset(&mut self, first_machine: u32, len: usize, heat: &Heat) {
        self.machines.resize_with(len, Machine::default);
        self.view.nodes.clear();
        self.settled_at = None;
        self.memory = Memory::default();
        for (machine, id) in self.machines.iter_mut().zip(first_machine..) {
            let bins = heat.has(id).then(|| Bins::new(self.horizon.length_s()));
            machine.reset(bins);
            machine.recorder = self.grid.map(Recorder::new);
            let pressure = Pressure::Fresh { share: 0.0 };
            let capacity_cpus = self.params.capacity;
            self.view.nodes.push(Node { id: NodeId(id), capacity_cpus, pressure, ..Node::default() });
        }
    }

    fn rebalance(&mut self, round: usize, rounds: &mut Rounds, outcome: &mut CellOutcome) {
        let Some(policy) = self.policy else { return };
        // A policy without memory that moved nothing moves nothing until an event changes the cell.
        let events = self.events();
        let settled = self.settled_at == Some(events) && !policy.remembers();
        if !settled {
            self.look();
        }
        rounds.migratable[round] += self.view.groups.len() as u64;
        if settled || (self.view.groups.is_empty() && !policy.remembers()) {
            return;
        }
        if policy.remembers() {
            self.look_at_queues();
        }
        policy.observe(&self.view, &mut self.memory);
        let plan = policy.decide(&self.view, &self.memory);
        policy.commit(&self.view, &plan, &mut self.memory);
        if plan.moves.is_empty() {
            self.settled_at = Some(events);
        } else {
            self.carry_out(&plan, round, rounds, outcome);
        }
    }

    /// Describe the tasks that wait for admission. The thesis's policies don't need this, and it takes a walk over the
    /// queues.
    fn look_at_queues(&mut self) {
        for (machine, node) in self.machines.iter().zip(&mut self.view.nodes) {
            node.waiting_cpus = machine.waiting_cpus(&self.world);
            machine.admission(&self.world, node.admission.get_or_insert_with(Admission::default));
        }
    }

    fn events(&self) -> u64 {
        self.machines.iter().map(|machine| machine.events).sum()
    }

    /// Describe the cell for the policy.
    fn look(&mut self) {
        let CellView { nodes, groups, .. } = &mut self.view;
        groups.clear();
        for (machine, node) in self.machines.iter().zip(nodes) {
            let mut ours_cpus = 0.0;
            for &(rank, slot) in &machine.running {
                let running = machine.task(slot);
                if running.usage.cpu_max > self.max_cpu || running.priority >= self.params.priority_below {
                    continue;
                }
                ours_cpus += running.cpus;
                groups.push(Group {
                    id: GroupId(u64::from(rank)),
                    node: node.id,
                    nr_tasks: 1,
                    demand: Demand {
                        request_cpus: running.request_cpus,
                        usage_cpus: running.cpus,
                        memory_bytes: f64::from(running.usage.memory) * self.params.machine_memory_bytes as f64,
                        accesses_per_instruction: f64::from(running.usage.accesses_per_instruction),
                    },
                    age_rounds: (machine.now_s - running.started_s) / self.params.interval_s,
                    ..Group::default()
                });
            }
            node.load_cpus = machine.load_cpus;
            let share = ((machine.load_cpus - ours_cpus) / node.capacity_cpus).clamp(0.0, 1.0);
            node.pressure = Pressure::Fresh { share };
        }
    }

    fn carry_out(&mut self, plan: &Plan, round: usize, rounds: &mut Rounds, outcome: &mut CellOutcome) {
        let first_machine = self.view.nodes[0].id.0;
        let machine = |node: NodeId| (node.0 - first_machine) as usize;
        let (mut to_first, mut bytes) = (0, 0);
        for step in &plan.moves {
            let rank = step.group.0 as u32;
            let Some(carried) = self.machines[machine(step.from)].take(rank) else {
                unreachable!("BUG: a plan moves task {rank}, which doesn't run on machine {}", step.from);
            };
            let moved_bytes = carried.bytes(self.params.machine_memory_bytes);
            if let Some(recording) = &mut self.recording {
                let (from, to) = (step.from.0, step.to.0);
                recording.moves.push(MoveRecord { round, rank, from, to, bytes: moved_bytes });
            }
            bytes += moved_bytes;
            to_first += u64::from(Some(step.to) == plan.first);
            self.machines[machine(step.to)].put(carried, &self.world);
        }
        let moves = plan.moves.len() as u64;
        rounds.bytes[round] += bytes;
        rounds.to_first[round] += to_first;
        rounds.to_second[round] += moves - to_first;
        outcome.migrations += moves;
        outcome.migrated_bytes += bytes;
        for machine in &mut self.machines {
            machine.start_waiting(&self.world);
        }
    }

    fn close(
        &mut self,
        first_machine: u32,
        arrivals: &[Vec<u32>],
        finished: Finished,
        heat: &mut Heat,
        outcome: &mut CellOutcome,
    ) {
        outcome.tasks = arrivals.iter().map(|ranks| ranks.len() as u64).sum();
        outcome.finished = finished.count;
        outcome.turnaround_s = finished.turnaround_s;
        outcome.slowdowns = finished.slowdowns;
        self.turnarounds_s = finished.turnarounds_s;
        if let (Some(recording), Some(finished)) = (&mut self.recording, finished.recorded) {
            recording.started = finished;
            let machines = self.machines.iter_mut();
            recording.machines = machines.map(|machine| machine.close_recording(&mut recording.started)).collect();
        }
        for machine in &self.machines {
            machine.count_unfinished(&self.world, &mut outcome.slowdowns);
        }
        let ranks = arrivals.iter().flatten();
        outcome.unhindered_cpu_s = ranks.map(|&rank| self.world.tasks[rank as usize].unhindered_cpu_s).sum();
        outcome.events = self.events();
        outcome.unfinished = self.machines.iter().map(Machine::nr_tasks).sum();
        outcome.work_done_s = self.machines.iter().map(|machine| machine.work_done_s).sum();
        outcome.work_left_s = self.machines.iter().map(|machine| machine.work_left_s(&self.world)).sum();
        outcome.busy_cpu_s = self.machines.iter().map(|machine| machine.busy_s).collect();
        outcome.over_cpu_s = self.machines.iter().map(|machine| machine.over_s).collect();
        for (machine, id) in self.machines.iter().zip(first_machine..) {
            if let Some(bins) = &machine.bins {
                heat.record(id, &bins.busy_s);
            }
        }
    }
}
