//! One cell. Its machines run independently from one rebalance to the next.

use std::sync::Arc;

use super::jobs::Jobs;
use super::lc::{LcOutcome, LcReader, Meter, Slowed};
use super::machine::{Finished, Machine, MachineMemory, World};
use super::memory::MemoryOutcome;
use super::recording::{CellRecording, Grid, MoveRecord, Recorder};
use super::series::{Bins, Heat, Rounds};
use super::slowdowns::Slowdowns;
use crate::cell::{Admission, CellView, Demand, Group, GroupId, Node, NodeId, Plan, Pressure};
use crate::policy::{Memory, Policy};
use crate::sim::models::Sensors;
use crate::sim::params::Params;
use crate::sim::placement::Placement;
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
    /// Slowdowns of latency-critical work, if they are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lc: Option<LcOutcome>,
    /// Memory of its machines, if it is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryOutcome>,
    /// Time for which tasks waited for pages, seconds, if they do at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_wait_s: Option<f64>,
}

/// Runs cells one after another and reuses the memory.
pub(super) struct CellRun<'a> {
    params: &'a Params,
    placement: Placement,
    policy: Option<&'a dyn Policy>,
    memory: Memory,
    horizon: Horizon,
    world: World<'a>,
    nr_rounds: usize,
    max_cpu: f32,
    /// Bytes that a move takes along of a task with all of the largest machine's memory.
    moved_bytes: f64,
    machines: Vec<Machine>,
    view: CellView,
    /// Number of the cell's events when the policy last found nothing to move.
    settled_at: Option<u64>,
    lc: Option<LcReader>,
    sensors: Sensors,
    jobs: Jobs,
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
        placement: Placement,
        slowed: Option<Arc<Slowed>>,
        tasks: &'a [SimTask<'a>],
    ) -> Self {
        CellRun {
            params,
            placement,
            policy,
            memory: Memory::default(),
            horizon,
            world: World { tasks, overcommit: params.overcommit },
            nr_rounds: if params.models.pages.is_some() { params.intervals(horizon) } else { params.rounds(horizon) },
            // Windows have single precision, so the limit must be rounded like the trace's values.
            max_cpu: params.max_cpu as f32,
            moved_bytes: params.moved_bytes(),
            machines: Vec::new(),
            view: CellView::default(),
            settled_at: None,
            lc: LcReader::new(params, slowed),
            sensors: Sensors::default(),
            jobs: Jobs::default(),
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
        let first_machine = self.placement.first_in(cell);
        self.reset(first_machine, arrivals.len(), heat);
        self.recording = self.grid.map(|_| CellRecording { cell, ..CellRecording::default() });
        let turnarounds_s = std::mem::take(&mut self.turnarounds_s);
        let mut finished = Finished { turnarounds_s, ..Finished::default() };
        finished.turnarounds_s.clear();
        finished.recorded = self.grid.map(|_| Vec::new());
        let page_wait_s = self.params.models.pages.map(|_| 0.0);
        let mut outcome = CellOutcome { cell, page_wait_s, ..CellOutcome::default() };
        for round in 0..self.nr_rounds {
            let at_s = (round + 1) as f64 * self.params.interval_s;
            for (machine, arrivals) in self.machines.iter_mut().zip(arrivals) {
                machine.run_until(at_s, arrivals, &self.world, &mut finished);
                machine.end_interval(at_s);
            }
            self.wait_for_shared_pages(&mut outcome);
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
        self.sensors.reset();
        self.jobs.reset(len);
        let capacities = self.params.capacities_from(first_machine);
        let memories = self.params.memories_from(first_machine);
        let machines = self.machines.iter_mut().zip(first_machine..).zip(capacities).zip(memories);
        for (((machine, id), capacity_cpus), memory) in machines {
            let bins = heat.has(id).then(|| Bins::new(self.horizon.length_s()));
            machine.reset(capacity_cpus, bins, self.lc.as_ref().map(|lc| Box::new(Meter::new(lc.rule))));
            machine.memory = memory.map(|capacity| Box::new(MachineMemory::new(capacity)));
            machine.recorder = self.grid.map(Recorder::new);
            let pressure = Pressure::Fresh { share: 0.0 };
            self.view.nodes.push(Node { id: NodeId(id), capacity_cpus, pressure, ..Node::default() });
        }
    }

    fn rebalance(&mut self, round: usize, rounds: &mut Rounds, outcome: &mut CellOutcome) {
        let Some(policy) = self.policy else { return };
        // A policy without memory that moved nothing moves nothing until an event changes the cell.
        let events = self.events();
        let is_exact = self.params.models.sensing.is_exact();
        let settled = self.settled_at == Some(events) && !policy.remembers() && is_exact;
        if !settled {
            self.look();
        }
        if !is_exact {
            self.sensors.read(&self.params.models.sensing, self.params.seed, round, &mut self.view);
        }
        rounds.migratable[round] += self.view.groups.len() as u64;
        if settled || (self.view.groups.is_empty() && !policy.remembers()) {
            return;
        }
        if policy.remembers() {
            self.look_at_queues();
        }
        if let Some(pages) = self.params.models.pages.filter(|pages| pages.shared_per_s > 0.0 && policy.uses_links()) {
            let (jobs, tasks) = (&self.jobs, self.world.tasks);
            let job = |group: &Group| jobs.of(tasks[group.id.0 as usize].id.job);
            pages.link(&mut self.view, self.params.interval_s, job);
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

    /// Charge the tasks of jobs that were on several machines for the pages that they exchanged since the last round.
    fn wait_for_shared_pages(&mut self, outcome: &mut CellOutcome) {
        let Some(pages) = self.params.models.pages.filter(|pages| pages.shared_per_s > 0.0) else { return };
        self.jobs.look(&self.machines, &self.world);
        let progress_s = self.jobs.progress_s(&self.machines);
        for (machine, rank, remote) in self.jobs.split() {
            // A task that started within the round, and one on an overcommitted machine, has made less progress.
            let started_s = self.machines[machine].started_s(rank).unwrap_or(0.0);
            let ran_s = (self.machines[machine].now_s - started_s).min(progress_s[machine]);
            let waited_s = pages.waiting_share(remote) * ran_s;
            self.machines[machine].set_back(rank, waited_s, &self.world);
            outcome.page_wait_s.iter_mut().for_each(|sum| *sum += waited_s);
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
                        memory_bytes: f64::from(running.usage.memory) * self.moved_bytes,
                        accesses_per_instruction: f64::from(running.usage.accesses_per_instruction),
                    },
                    age_rounds: (machine.now_s - running.started_s) / self.params.interval_s,
                    ..Group::default()
                });
            }
            node.load_cpus = machine.load_cpus;
            // In the bytes that moves take along, as demands are.
            node.free_bytes = machine.memory.as_ref().map(|memory| memory.free() * self.moved_bytes);
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
            let moved_bytes = carried.bytes(self.moved_bytes);
            if let Some(recording) = &mut self.recording {
                let (from, to) = (step.from.0, step.to.0);
                recording.moves.push(MoveRecord { round, rank, from, to, bytes: moved_bytes });
            }
            bytes += moved_bytes;
            let warm_up_s = self.params.models.pages.map_or(0.0, |pages| pages.warm_up_s(moved_bytes));
            outcome.page_wait_s.iter_mut().for_each(|waited_s| *waited_s += warm_up_s);
            to_first += u64::from(Some(step.to) == plan.first);
            self.machines[machine(step.to)].put(carried, warm_up_s, &self.world);
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
        let meters = self.machines.iter().filter_map(|machine| machine.lc.as_deref());
        let memories = self.machines.iter().map(|machine| machine.memory.as_deref());
        outcome.memory = MemoryOutcome::of(memories, self.horizon.length_s());
        outcome.lc = self.lc.as_ref().map(|lc| lc.read(meters));
        for (machine, id) in self.machines.iter().zip(first_machine..) {
            if let Some(bins) = &machine.bins {
                heat.record(id, &bins.busy_s);
            }
        }
    }
}
