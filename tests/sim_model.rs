//! The model, on small traces whose outcome can be worked out by hand.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

use scx_vnuma::policy::{Order, PolicyName};
use scx_vnuma::sim::engine::{Outcome, Prepared};
use scx_vnuma::sim::figures::Figures;
use scx_vnuma::sim::models::{CellShape, LcModel, MemoryModel, ModelFigures, Models, Pages, Shape, Shapes};
use scx_vnuma::sim::params::Params;
use scx_vnuma::sim::placement::{Cells, Placement, Shard};
use scx_vnuma::sim::trace::{TaskId, Trace, TracedTask, UsageWindow};

const S: i64 = 1_000_000;

/// A trace written task by task.
struct Story {
    trace: Trace,
    machines: u32,
}

/// A task of a story: when it arrives, how long it runs and what it uses throughout.
#[derive(Clone, Copy)]
struct Part {
    machine: u32,
    at_s: i64,
    work_s: i64,
    cpus: f32,
    request: f64,
    request_memory: f64,
    priority: u32,
    max_cpus: f32,
    memory: f32,
}

const PART: Part = Part {
    machine: 0,
    at_s: 0,
    work_s: 100,
    cpus: 0.1,
    request: 0.1,
    request_memory: 0.0,
    priority: 9,
    max_cpus: 0.5,
    memory: 0.0,
};
/// A migratable task.
const LIGHT: Part = Part { priority: 0, max_cpus: 0.02, cpus: 0.02, request: 0.02, memory: 0.5, ..PART };

impl Story {
    fn new(machines: u32, length_s: i64) -> Story {
        Story { trace: Trace { first_us: 0, last_us: length_s * S, ..Trace::default() }, machines }
    }

    /// Add a task. Its id is the next one whose hash places it on the given machine.
    fn with(mut self, part: Part) -> Story {
        let placement = Placement { seed: 1, machines: self.machines, cells: Cells::Of(4) };
        let after = self.trace.tasks.last().map_or(0, |task| task.id.job);
        let id = (after + 1..).map(|job| TaskId { job, index: 0 }).find(|&id| placement.machine(id) == part.machine);
        let start_us = part.at_s * S;
        let windows = self.trace.windows.len()..self.trace.windows.len() + 1;
        self.trace.windows.push(UsageWindow {
            start_us,
            cpu_mean: part.cpus,
            cpu_max: part.max_cpus,
            memory: part.memory,
            accesses_per_instruction: 0.0,
        });
        self.trace.tasks.push(TracedTask {
            id: id.unwrap(),
            submit_us: Some(start_us),
            schedule_us: Some(start_us),
            end_us: Some(start_us + part.work_s * S),
            request_cpus: part.request,
            request_memory: part.request_memory,
            priority: part.priority,
            windows,
        });
        self
    }

    fn run(&self, policy: PolicyName) -> Outcome {
        let params = Params { machines: self.machines, ..Params::default() }.with_policy(policy, Some(Order::Memory));
        Prepared::new(&self.trace, &params, Shard::WHOLE).run(&params, &|| {})
    }
}

fn about(value: f64, wanted: f64) -> bool {
    (value - wanted).abs() < 1e-6
}

#[test]
fn a_task_alone_takes_as_long_as_its_work() {
    let cell = &Story::new(1, 1000).with(PART).run(PolicyName::NONE).cells[0];
    assert_eq!(cell.finished, 1);
    assert!(about(cell.turnaround_s, 100.0));
    assert!(about(cell.busy_cpu_s[0], 10.0));
}

#[test]
fn tasks_that_want_twice_the_machine_take_twice_as_long() {
    let half = Part { cpus: 0.5, request: 0.2, ..PART };
    let cell = &Story::new(1, 1000).with(half).with(half).run(PolicyName::NONE).cells[0];
    assert!(about(cell.turnaround_s, 400.0), "{}", cell.turnaround_s);
    assert!(about(cell.busy_cpu_s[0], 100.0));
    assert!(about(cell.over_cpu_s[0], 100.0));
}

#[test]
fn a_task_waits_until_its_request_fits_and_a_smaller_one_overtakes_it() {
    let big = Part { request: 0.4, ..PART };
    let small = Part { request: 0.1, at_s: 2, ..PART };
    let story = Story::new(1, 1000).with(big).with(Part { at_s: 1, ..big }).with(small);
    // The first ends at 100 s, the second waits for it until 100 s and ends at 200 s, the third starts at once.
    assert!(about(story.run(PolicyName::NONE).cells[0].turnaround_s, 100.0 + 199.0 + 100.0));
}

#[test]
fn a_request_larger_than_the_machine_starts_when_nothing_runs() {
    let huge = Part { request: 0.9, ..PART };
    let cell = &Story::new(1, 1000).with(huge).with(Part { at_s: 1, ..huge }).run(PolicyName::NONE).cells[0];
    assert!(about(cell.turnaround_s, 100.0 + 199.0));
}

#[test]
fn a_task_that_would_end_with_the_trace_has_not_finished() {
    let cell = &Story::new(1, 100).with(PART).run(PolicyName::NONE).cells[0];
    assert_eq!((cell.finished, cell.unfinished), (0, 1));
}

#[test]
fn coarse_moves_all_light_tasks_of_a_busy_machine_to_the_idle_one_and_pays_for_their_memory() {
    let busy = Part { cpus: 0.3, request: 0.3, work_s: 900, ..PART };
    let light = Part { work_s: 900, ..LIGHT };
    let story = Story::new(2, 100).with(busy).with(light).with(light);
    let outcome = story.run(PolicyName::COARSE);
    assert_eq!(outcome.cells[0].migrations, 2);
    assert_eq!(outcome.cells[0].migrated_bytes, 128 << 30);
    assert_eq!((outcome.rounds.to_first[0], outcome.rounds.to_second[0]), (2, 0));
}

#[test]
fn coarse_moves_nothing_from_a_machine_whose_load_is_nearly_all_light_tasks() {
    let story = Story::new(2, 100).with(Part { work_s: 900, ..LIGHT });
    assert_eq!(story.run(PolicyName::COARSE).cells[0].migrations, 0);
}

#[test]
fn fine_fills_the_first_destination_up_to_the_source_and_sends_the_rest_to_the_second() {
    let machine = |machine, cpus| Part { machine, cpus, request: cpus.into(), work_s: 900, ..PART };
    let light = Part { machine: 2, work_s: 900, ..LIGHT };
    // Machine 2 has a load of 0.30, 0.1 of it light; 0.25 + 0.02 + 0.02 stays below it, a third light task does not.
    let mut story = Story::new(3, 100).with(machine(0, 0.25)).with(machine(1, 0.26)).with(machine(2, 0.2));
    for _ in 0..5 {
        story = story.with(light);
    }
    let rounds = story.run(PolicyName::FINE).rounds;
    assert_eq!((rounds.migratable[0], rounds.to_first[0], rounds.to_second[0]), (5, 2, 2));
}

#[test]
fn a_move_keeps_the_work_done() {
    let busy = Part { cpus: 0.3, request: 0.3, work_s: 900, ..PART };
    let story = Story::new(2, 500).with(busy).with(Part { work_s: 200, ..LIGHT });
    let outcome = story.run(PolicyName::COARSE);
    assert!(outcome.cells[0].migrations > 0);
    assert!(about(outcome.cells[0].turnaround_s, 200.0));
}

#[test]
fn a_move_lets_waiting_tasks_start_at_the_source() {
    let busy = Part { cpus: 0.3, request: 0.3, work_s: 900, ..PART };
    let light = Part { request: 0.2, work_s: 900, ..LIGHT };
    let waits = Part { request: 0.2, at_s: 1, work_s: 10, ..PART };
    let story = Story::new(2, 500).with(busy).with(light).with(waits);
    // The waiting task starts with the first rebalance, at 60 s, and ends at 70 s.
    assert!(about(story.run(PolicyName::COARSE).cells[0].turnaround_s, 69.0));
    assert_eq!(story.run(PolicyName::NONE).cells[0].finished, 0);
}

#[test]
fn a_policy_of_the_callers_runs_as_a_built_in_one_does() {
    let story = Story::new(4, 600).with(LIGHT).with(PART).with(Part { machine: 1, ..LIGHT });
    let params = Params { machines: 4, ..Params::default() };
    let coarse = params.with_policy(PolicyName::COARSE, None);
    let prepared = Prepared::new(&story.trace, &params, Shard::WHOLE);
    let built_in = prepared.run(&coarse, &|| {});
    assert!(built_in.cells[0].migrations > 0);
    let none = params.with_policy(PolicyName::NONE, None);
    for params in [&params, &none] {
        let own = prepared.run_policy(params, &*PolicyName::COARSE.make(&params.policy_settings()));
        assert_eq!((own.cells, own.rounds), (built_in.cells.clone(), built_in.rounds.clone()));
    }
}

#[test]
fn latency_critical_work_is_slowed_down_by_the_share_of_time_that_others_run() {
    let lc = Some(LcModel { from_priority: Some(9), cpus: 16, weight: 1.0, variation: 0.0 });
    let models = Models { lc, ..Models::default() };
    // A fifth of the machine is latency-critical. Others use a quarter of the rest in the first half of the time, and then
    // nothing.
    let story = Story::new(1, 200).with(Part { work_s: 200, ..PART }).with(Part { priority: 0, ..PART });
    let mean = |models: Models| {
        let params = Params { machines: 1, models, ..Params::default() }.with_policy(PolicyName::NONE, None);
        let outcome = Prepared::new(&story.trace, &params, Shard::WHOLE).run(&params, &|| {});
        (ModelFigures::new(&outcome.cells), outcome.cells[0].busy_cpu_s.clone())
    };
    let (figures, busy_cpu_s) = mean(models);
    assert!((figures.lc_slowdown_mean.unwrap() - 1.125).abs() < 0.01, "{figures:?}");
    // Slowdowns are multiples of 1/16, rounded down to a 64th.
    assert!((1.4..1.7).contains(&figures.lc_slowdown_p99.unwrap()), "{figures:?}");
    // It is a reading: nothing else changes, and without the model nothing is read.
    assert_eq!(mean(Models::default()), (ModelFigures::default(), busy_cpu_s));
}

#[test]
fn machines_that_differ_have_capacities_of_their_own() {
    // Both machines have a task that wants 0.5: on the one of 0.25 it takes twice as long.
    let half = Part { cpus: 0.5, request: 0.2, ..PART };
    let story = Story::new(2, 1000).with(half).with(Part { machine: 1, ..half });
    let models = Models { shapes: Some(Shapes::of([(0.25, None), (1.0, None)])), ..Models::default() };
    let params = Params { machines: 2, models, ..Params::default() }.with_policy(PolicyName::NONE, None);
    let outcome = Prepared::new(&story.trace, &params, Shard::WHOLE).run(&params, &|| {});
    let figures = Figures::new(&outcome.cells, &params, 1000.0);
    assert!(about(figures.duration_s.unwrap(), 150.0), "{figures:?}");
    assert!(about(figures.cpu_utilisation, 100.0 / 1250.0), "{figures:?}");
    // Busy for 0.2 and 0.05 of the time.
    assert!(about(figures.gini, 0.3) && about(figures.gini_bound, 0.0), "{figures:?}");
    assert!(about(figures.overcommit, 0.25 * 200.0 / 1250.0), "{figures:?}");
}

#[test]
fn work_stays_in_cells_of_their_own_size() {
    let shape = |count| Shape { count, cpu: 0.5, memory: None };
    let cells = [(1, 1), (1, 3)].map(|(count, machines)| CellShape { count, machines: vec![shape(machines)] });
    let shapes = Shapes { machines: Vec::new(), cells: cells.to_vec() };
    let models = Models { shapes: Some(shapes), ..Models::default() };
    let run = |story: Story, models: Models| {
        let params = Params { machines: 4, models, ..Params::default() }.with_policy(PolicyName::COARSE, None);
        Prepared::new(&story.trace, &params, Shard::WHOLE).run(&params, &|| {})
    };
    // A busy machine with a task that may move, first alone in its cell, then with two others.
    let story = |machine| {
        Story::new(4, 200).with(Part { machine, work_s: 150, ..PART }).with(Part { machine, work_s: 150, ..LIGHT })
    };
    let alone = run(story(0), models.clone());
    assert_eq!(alone.cells.iter().map(|cell| cell.busy_cpu_s.len()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(alone.cells.iter().map(|cell| cell.migrations).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(run(story(3), models).cells[1].migrations, 1);
    assert_eq!(run(story(0), Models::default()).cells[0].migrations, 1);
}

fn with_memory(story: &Story, policy: PolicyName, models: Models) -> (Figures, ModelFigures, Outcome) {
    // `auto` has a budget of bytes.
    let of_machines = Params { machines: story.machines, machine_memory_bytes: 1 << 30, ..Params::default() };
    let params = Params { models, ..of_machines }.with_policy(policy, None);
    let outcome = Prepared::new(&story.trace, &params, Shard::WHOLE).run(&params, &|| {});
    (Figures::new(&outcome.cells, &params, 1000.0), ModelFigures::new(&outcome.cells), outcome)
}

fn memory(capacity: f64) -> Models {
    Models { memory: Some(MemoryModel { capacity }), ..Models::default() }
}

#[test]
fn a_task_waits_for_memory_where_memory_is_limited() {
    let half = Part { request_memory: 0.3, memory: 0.25, ..PART };
    let story = Story::new(1, 1000).with(half).with(half);
    let duration_s = |models| with_memory(&story, PolicyName::NONE, models).0.duration_s.unwrap();
    assert_eq!(duration_s(Models::default()), 100.0);
    assert_eq!(duration_s(memory(0.6)), 100.0);
    // The second one starts when the first one ends.
    assert!(about(duration_s(memory(0.5)), 150.0));
    // A task that nothing could make fit runs alone.
    assert!(about(duration_s(memory(0.1)), 150.0));
    let figures = with_memory(&story, PolicyName::NONE, memory(0.5)).1;
    assert!(about(figures.memory_utilisation.unwrap(), 0.25 * 200.0 / 500.0), "{figures:?}");
    assert_eq!(figures.memory_overcommit, Some(0.0));
    let figures = with_memory(&story, PolicyName::NONE, memory(0.1)).1;
    assert!(about(figures.memory_utilisation.unwrap(), 0.1 * 200.0 / 100.0), "{figures:?}");
    assert!(about(figures.memory_overcommit.unwrap(), 0.15 * 200.0 / 100.0), "{figures:?}");
}

#[test]
fn machines_have_the_memory_of_their_shape() {
    let part = Part { request_memory: 0.3, memory: 0.3, ..PART };
    let other = Part { machine: 1, ..part };
    let story = Story::new(2, 1000).with(part).with(part).with(other).with(other);
    // Two tasks fit on the second machine, and one on the first.
    let shapes = Some(Shapes::of([(0.5, None), (0.5, Some(1.0))]));
    let (figures, models, _) = with_memory(&story, PolicyName::NONE, Models { shapes, ..memory(0.5) });
    assert!(about(figures.duration_s.unwrap(), 125.0), "{figures:?}");
    assert!(about(models.memory_utilisation.unwrap(), 0.3 * 400.0 / 1500.0), "{models:?}");
}

#[test]
fn auto_moves_nothing_to_where_memory_does_not_have_room_for_it() {
    // A task waits on machine 0, and could start if the light one went to machine 1.
    let light = Part { request: 0.2, request_memory: 0.3, memory: 0.3, work_s: 900, ..LIGHT };
    let heavy = Part { request: 0.3, work_s: 900, ..PART };
    let waits = Part { at_s: 1, request: 0.2, ..PART };
    let on_the_other = Part { machine: 1, request_memory: 0.4, memory: 0.3, work_s: 900, ..PART };
    let story = Story::new(2, 1000).with(light).with(heavy).with(waits).with(on_the_other);
    let moves = |policy, models| with_memory(&story, policy, models).0.migrations;
    assert_eq!(moves(PolicyName::AUTO, Models::default()), 1);
    assert_eq!(moves(PolicyName::AUTO, memory(0.6)), 0);
    assert_eq!(moves(PolicyName::AUTO, memory(0.75)), 1);
    // Room doesn't depend on how much of it a move takes along.
    assert_eq!(moves(PolicyName::AUTO, Models { working_set: Some(0.1), ..memory(0.6) }), 0);
    // The thesis's policies don't look at memory, and reservations come along.
    let (figures, models, _) = with_memory(&story, PolicyName::COARSE, memory(0.4));
    assert!(figures.migrations > 0 && models.memory_overcommit.unwrap() > 0.0, "{models:?}");
}

#[test]
fn a_task_that_waits_for_memory_is_none_that_cpu_would_let_start() {
    // As above, but what waits asks for memory that machine 0 has not.
    let light = Part { request: 0.2, work_s: 900, ..LIGHT };
    let heavy = Part { request: 0.3, work_s: 900, request_memory: 0.5, ..PART };
    let waits = |request_memory| Part { at_s: 1, request: 0.2, request_memory, ..PART };
    let moves = |request_memory| {
        let story =
            Story::new(2, 1000).with(light).with(heavy).with(waits(request_memory)).with(Part { machine: 1, ..PART });
        with_memory(&story, PolicyName::AUTO, memory(0.6)).0.migrations
    };
    assert_eq!((moves(0.1), moves(0.2)), (1, 0));
}

#[test]
fn a_move_takes_the_working_set_along() {
    let story = Story::new(2, 1000).with(Part { work_s: 900, ..PART }).with(Part { work_s: 900, ..LIGHT });
    let bytes = |working_set| {
        with_memory(&story, PolicyName::COARSE, Models { working_set, ..Models::default() }).0.migrated_bytes
    };
    assert_eq!((bytes(None), bytes(Some(0.25))), (512 << 20, 128 << 20));
}

/// Mean duration and share of waiting.
fn waiting(story: &Story, policy: PolicyName, pages: Pages) -> (f64, f64) {
    let models = Models { pages: Some(pages), ..Models::default() };
    let params =
        Params { machines: story.machines, models, ..Params::default() }.with_policy(policy, Some(Order::Memory));
    let outcome = Prepared::new(&story.trace, &params, Shard::WHOLE).run(&params, &|| {});
    let cell = &outcome.cells[0];
    (cell.turnaround_s / cell.finished as f64, ModelFigures::new(&outcome.cells).page_wait_share.unwrap())
}

#[test]
fn a_moved_task_waits_until_its_memory_has_come() {
    // After a minute the light task leaves for the idle machine, with 64 GiB.
    let story = Story::new(2, 1000).with(Part { work_s: 900, ..PART }).with(LIGHT);
    let link = Some((64u64 << 30) as f64 / 8.0);
    let (duration_s, share) = waiting(&story, PolicyName::COARSE, Pages { link_bytes_per_s: link, ..Pages::default() });
    assert!(about(duration_s, (900.0 + 108.0) / 2.0), "{duration_s}");
    assert!(about(share, 8.0 / 1008.0), "{share}");
    let stays = waiting(&story, PolicyName::NONE, Pages { link_bytes_per_s: link, ..Pages::default() });
    assert_eq!(stays, (500.0, 0.0));
}

#[test]
fn tasks_of_a_job_on_two_machines_wait_for_each_other() {
    let mut story = Story::new(2, 1000).with(PART).with(Part { machine: 1, ..PART });
    let placement = Placement { seed: 1, machines: 2, cells: Cells::Of(4) };
    let id_on =
        |machine| (0..).map(|index| TaskId { job: 7, index }).find(|&id| placement.machine(id) == machine).unwrap();
    story.trace.tasks[0].id = id_on(0);
    story.trace.tasks[1].id = id_on(1);
    // A second of pages for each second of work: at 60 s, 30 s of it are done, at 120 s 60. The last 40 s are not charged.
    let pages = Pages { shared_per_s: 1e5, ..Pages::default() };
    let (duration_s, share) = waiting(&story, PolicyName::NONE, pages);
    assert!(about(duration_s, 160.0) && about(share, 60.0 / 160.0), "{duration_s} {share}");
    story.trace.tasks[1].id.job = 8;
    assert_eq!(waiting(&story, PolicyName::NONE, pages), (100.0, 0.0));
}
