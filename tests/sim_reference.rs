//! Compares the engine with a straightforward version of the model: one loop over all machines, all sums computed anew.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

mod random_traces;

use proptest::prelude::*;
use random_traces::{any_params, any_trace};
use scx_vnuma::policy::{Order, PolicyName};
use scx_vnuma::sim::engine::Prepared;
use scx_vnuma::sim::figures::{gini, Figures};
use scx_vnuma::sim::params::Params;
use scx_vnuma::sim::placement::{mix, Shard};
use scx_vnuma::sim::tasks::exact;
use scx_vnuma::sim::trace::{TaskId, Trace, UsageWindow};

const INSTANT_S: f64 = 1e-7;

#[derive(Clone)]
struct Task {
    id: TaskId,
    submit_s: f64,
    work_s: f64,
    request: f64,
    priority: u32,
    /// The usage windows, each with the amount of work done at which it begins.
    windows: Vec<(f64, UsageWindow)>,
    done_s: f64,
    /// Number of windows that have begun.
    begun: usize,
}

impl Task {
    fn begin_windows(&mut self, slack_s: f64) {
        while self.windows.get(self.begun).is_some_and(|(at_s, _)| *at_s <= self.done_s + slack_s) {
            self.begun += 1;
        }
    }

    fn window(&self) -> UsageWindow {
        self.begun.checked_sub(1).map(|at| self.windows[at].1).unwrap_or_default()
    }

    fn cpus(&self) -> f64 {
        exact(self.window().cpu_mean.into())
    }

    /// CPU-seconds that the first `work_s` of the task take.
    fn cpu_s(&self, work_s: f64) -> f64 {
        let mut task = Task { work_s, done_s: 0.0, begun: 0, ..self.clone() };
        let mut cpu_s = 0.0;
        while task.done_s < work_s {
            task.begin_windows(0.0);
            let left_s = task.left_s();
            cpu_s += task.cpus() * left_s;
            task.done_s = if left_s > 0.0 { task.done_s + left_s } else { work_s };
        }
        cpu_s
    }

    /// Work left until the next window begins or the task ends.
    fn left_s(&self) -> f64 {
        let window = self.windows.get(self.begun).map_or(f64::INFINITY, |(at_s, _)| *at_s);
        (window.min(self.work_s) - self.done_s).max(0.0)
    }
}

fn tasks(trace: &Trace) -> Vec<Task> {
    let (t0, t1) = (trace.first_us, trace.last_us);
    let seconds = |us: i64| us as f64 / 1e6;
    let mut tasks = Vec::new();
    for traced in &trace.tasks {
        let windows = trace.windows_of(traced);
        let first = windows[0].start_us;
        let schedule = traced.schedule_us.map_or(first, |schedule| schedule.min(first));
        let submit = traced.submit_us.unwrap_or(schedule).max(t0);
        let (base, end) = (schedule.max(t0), traced.end_us.unwrap_or(t1));
        if submit < t1 && end > base {
            tasks.push(Task {
                id: traced.id,
                submit_s: seconds(submit - t0),
                work_s: seconds(end - base),
                request: traced.request_cpus,
                priority: traced.priority,
                windows: windows.iter().map(|window| (seconds(window.start_us - base), *window)).collect(),
                done_s: 0.0,
                begun: 0,
            });
        }
    }
    tasks.sort_by(|a, b| a.submit_s.total_cmp(&b.submit_s).then(a.id.cmp(&b.id)));
    tasks
}

#[derive(Clone, Default)]
struct Machine {
    running: Vec<Task>,
    waiting: Vec<Task>,
    busy: f64,
    over: f64,
}

impl Machine {
    fn load(&self) -> f64 {
        self.running.iter().map(Task::cpus).fold(0.0, |sum, cpus| sum + cpus)
    }

    fn rate(&self, params: &Params) -> f64 {
        (params.capacity / self.load()).min(1.0)
    }

    fn offer(&mut self, mut task: Task, params: &Params) -> Option<Task> {
        let reserve = |task: &Task| exact(params.overcommit * task.request);
        let reserved: f64 = self.running.iter().map(reserve).sum();
        if !self.running.is_empty() && reserved + reserve(&task) > params.capacity + 1e-9 {
            return Some(task);
        }
        task.begin_windows(0.0);
        self.running.push(task);
        None
    }

    fn offer_waiting(&mut self, params: &Params) {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = waiting.into_iter().filter_map(|task| self.offer(task, params)).collect();
    }

    fn migratable(&self, params: &Params) -> Vec<Task> {
        let light =
            |task: &&Task| task.priority < params.priority_below && task.window().cpu_max <= params.max_cpu as f32;
        let mut tasks: Vec<Task> = self.running.iter().filter(light).cloned().collect();
        tasks.sort_by_key(|task| task.id);
        let key: fn(&Task) -> f64 = match params.order {
            None | Some(Order::Unsorted) => |_| 0.0,
            Some(Order::Request) => |task| task.request,
            Some(Order::Cpu) => Task::cpus,
            Some(Order::Memory) => |task| task.window().memory.into(),
            Some(Order::CpuDesc) => |task| -task.cpus(),
            Some(Order::Mai) => |task| task.window().accesses_per_instruction.into(),
        };
        tasks.sort_by(|a, b| key(a).total_cmp(&key(b)));
        tasks
    }
}

/// The moves of a rebalance: task, source and destination.
fn moves(cell: &[Machine], params: &Params) -> Vec<(TaskId, usize, usize)> {
    let loads: Vec<f64> = cell.iter().map(Machine::load).collect();
    let mut by_load: Vec<usize> = (0..cell.len()).collect();
    by_load.sort_by(|&a, &b| loads[a].total_cmp(&loads[b]));
    let count = params.destinations.unwrap_or(if params.policy == PolicyName::COARSE { 1 } else { 2 });
    let destinations = &by_load[..by_load.len().min(count as usize)];
    let mut with_moves = loads.clone();
    let mut moves = Vec::new();
    for from in (0..cell.len()).filter(|from| !destinations.contains(from)) {
        let tasks = cell[from].migratable(params);
        let warning = params.warning * params.capacity;
        if params.policy == PolicyName::COARSE {
            let moved = tasks.iter().map(Task::cpus).sum::<f64>();
            let takes = |low: &&usize| {
                let reached = with_moves[**low] + moved;
                reached <= loads[from] && moved <= params.useful * loads[from] && reached <= warning
            };
            if let Some(&low) = destinations.iter().find(takes) {
                with_moves[low] += moved;
                moves.extend(tasks.iter().map(|task| (task.id, from, low)));
            }
            continue;
        }
        let mut left = tasks.as_slice();
        for &to in destinations {
            let mut picked = 0.0;
            let limit = loads[from].min(warning);
            let fits = left.iter().take_while(|task| {
                let fits = with_moves[to] + (picked + task.cpus()) <= limit;
                picked += if fits { task.cpus() } else { 0.0 };
                fits
            });
            let (goes, rest) = left.split_at(fits.count());
            if picked > params.min_gain {
                with_moves[to] += picked;
                moves.extend(goes.iter().map(|task| (task.id, from, to)));
            }
            left = rest;
        }
    }
    moves
}

fn simulate(trace: &Trace, params: &Params) -> Figures {
    let length_s = (trace.last_us - trace.first_us) as f64 / 1e6;
    let tasks = tasks(trace);
    let nr_tasks = tasks.len() as u64;
    let unhindered_cpu_s: f64 = tasks.iter().map(|task| task.cpu_s(task.work_s.min(length_s - task.submit_s))).sum();
    let mut arrivals = tasks.into_iter().peekable();
    let mut machines = vec![Machine::default(); params.machines as usize];
    let (mut now_s, mut round) = (0.0f64, 1);
    let (mut turnarounds, mut slowdowns) = (Vec::new(), Vec::new());
    let (mut migrations, mut migrated_bytes) = (0, 0u64);
    loop {
        let change_s = |machine: &Machine| {
            machine
                .running
                .iter()
                .map(|task| now_s + task.left_s() / machine.rate(params))
                .fold(f64::INFINITY, f64::min)
        };
        let rebalance_s =
            if params.policy == PolicyName::NONE { f64::INFINITY } else { f64::from(round) * params.interval_s };
        let arrival_s = arrivals.peek().map_or(f64::INFINITY, |task| task.submit_s);
        let due_s = machines.iter().map(change_s).fold(arrival_s.min(rebalance_s), f64::min);
        let ends = due_s >= length_s - INSTANT_S;
        let dt_s = if ends { length_s } else { due_s } - now_s;
        for machine in &mut machines {
            let (load, rate) = (machine.load(), machine.rate(params));
            machine.busy += load.min(params.capacity) * dt_s;
            machine.over += (load - params.capacity).max(0.0) * dt_s;
            machine.running.iter_mut().for_each(|task| task.done_s += rate * dt_s);
        }
        if ends {
            break;
        }
        now_s = due_s;
        for machine in &mut machines {
            let slack_s = INSTANT_S * machine.rate(params);
            let (ended, mut running): (Vec<Task>, Vec<Task>) =
                machine.running.drain(..).partition(|task| task.done_s >= task.work_s - slack_s);
            running.iter_mut().for_each(|task| task.begin_windows(slack_s));
            machine.running = running;
            for task in &ended {
                turnarounds.push(now_s - task.submit_s);
                slowdowns.push((now_s - task.submit_s) / task.work_s);
            }
            if !ended.is_empty() {
                machine.offer_waiting(params);
            }
        }
        while let Some(task) = arrivals.next_if(|task| task.submit_s <= now_s + INSTANT_S) {
            let hash = mix(mix(mix(params.seed) ^ task.id.job) ^ u64::from(task.id.index));
            let machine = &mut machines[(hash % u64::from(params.machines)) as usize];
            let waits = machine.offer(task, params);
            machine.waiting.extend(waits);
        }
        if rebalance_s <= now_s + INSTANT_S {
            round += 1;
            for cell in machines.chunks_mut(params.cell as usize) {
                for (id, from, to) in moves(cell, params) {
                    let at = cell[from].running.iter().position(|task| task.id == id).unwrap();
                    let task = cell[from].running.remove(at);
                    let memory = f64::from(task.window().memory) * params.machine_memory_bytes as f64;
                    migrations += 1;
                    migrated_bytes += memory.round() as u64;
                    cell[to].running.push(task);
                }
                cell.iter_mut().for_each(|machine| machine.offer_waiting(params));
            }
        }
    }
    for task in machines.iter().flat_map(|machine| machine.running.iter().chain(&machine.waiting)) {
        slowdowns.push((length_s - task.submit_s + task.work_s - task.done_s) / task.work_s);
    }
    slowdowns.sort_by(f64::total_cmp);
    // The least slowdown that this share of the tasks do not exceed.
    let percentile = |share: f64| {
        let rank = (slowdowns.len() as f64 * share).ceil() as usize;
        slowdowns.get(rank.max(1) - 1).copied()
    };
    let means = machines
        .chunks(params.cell as usize)
        .flat_map(|cell| vec![cell.iter().map(|machine| machine.busy).sum::<f64>() / cell.len() as f64; cell.len()]);
    let machine_s = length_s * params.capacity;
    let cluster_s = machine_s * f64::from(params.machines);
    let mean = |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    Figures {
        cpu_utilisation: machines.iter().map(|machine| machine.busy).sum::<f64>() / cluster_s,
        cpu_utilisation_bound: (unhindered_cpu_s / cluster_s).min(1.0),
        gini: gini(machines.iter().map(|machine| machine.busy / machine_s).collect()),
        gini_bound: gini(means.collect()),
        overcommit: machines.iter().map(|machine| machine.over).sum::<f64>() / cluster_s,
        duration_s: mean(&turnarounds),
        slowdown_p50: percentile(0.5),
        slowdown_p90: percentile(0.9),
        slowdown_p99: percentile(0.99),
        migrations,
        migrated_bytes,
        network_bytes_per_s: migrated_bytes as f64 / length_s,
        tasks: nr_tasks,
        finished: turnarounds.len() as u64,
    }
}

fn about(value: f64, wanted: f64) -> bool {
    (value - wanted).abs() <= 1e-6 * wanted.abs() + 1e-9
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_gives_the_same_figures_as_the_straightforward_model(trace in any_trace(), params in any_params()) {
        // The reference model has the thesis's policies only.
        prop_assume!(params.policy != PolicyName::AUTO);
        let prepared = Prepared::new(&trace, &params, Shard::WHOLE);
        let cells = prepared.run(&params, &|| {}).cells;
        let figures = Figures::new(&cells, &params, prepared.horizon().length_s());
        let wanted = simulate(&trace, &params);
        prop_assert_eq!(
            (figures.tasks, figures.finished, figures.migrations, figures.migrated_bytes),
            (wanted.tasks, wanted.finished, wanted.migrations, wanted.migrated_bytes)
        );
        prop_assert!(about(figures.cpu_utilisation, wanted.cpu_utilisation), "{figures:?} {wanted:?}");
        prop_assert!(about(figures.gini, wanted.gini), "{figures:?} {wanted:?}");
        prop_assert!(about(figures.overcommit, wanted.overcommit), "{figures:?} {wanted:?}");
        prop_assert!(about(figures.duration_s.unwrap_or(0.0), wanted.duration_s.unwrap_or(0.0)), "{figures:?} {wanted:?}");
        prop_assert!(about(figures.gini_bound, wanted.gini_bound), "{figures:?} {wanted:?}");
        prop_assert!(about(figures.cpu_utilisation_bound, wanted.cpu_utilisation_bound), "{figures:?} {wanted:?}");
        for (value, wanted) in [
            (figures.slowdown_p50, wanted.slowdown_p50),
            (figures.slowdown_p90, wanted.slowdown_p90),
            (figures.slowdown_p99, wanted.slowdown_p99),
        ] {
            let (value, wanted) = (value.unwrap_or(0.0), wanted.unwrap_or(0.0));
            // Percentiles are rounded down by less than 1/128.
            prop_assert!(value <= wanted * (1.0 + 1e-6) && wanted <= value * (1.0 + 1.0 / 128.0) + 1e-6, "{value} {wanted}");
        }
        prop_assert!(figures.cpu_utilisation <= figures.cpu_utilisation_bound + 1e-9, "{figures:?}");
        prop_assert!(figures.gini_bound <= figures.gini + 1e-9, "{figures:?}");
    }
}
