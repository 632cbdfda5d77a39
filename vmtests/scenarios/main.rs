//! The scenarios that run in a guest: each is named after the behaviour that it shows, and can fail.
//!
//! `vnuma-scenarios list`, `vnuma-scenarios run [NAME…]`, `vnuma-scenarios demo PHASE` (see ../demo),
//! `vnuma-scenarios bench [--short] PART` (see ../bench), `vnuma-scenarios colocation …` (see ../experiments/colocation).

mod all;
#[path = "../bench/measure.rs"]
mod bench;
mod bound;
#[path = "../experiments/colocation/arms.rs"]
mod colocation;
mod demo;
mod fake_exporter;
mod fine;
mod fixed;
mod following;
mod guest;
mod hosts;
mod hotplug;
mod killing;
mod leaving;
mod moving;
mod scale;
mod shapes;
mod storms;
mod watching;
mod workers;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;

/// Name, and what runs. Returns what was measured.
type Scenario = (&'static str, fn() -> Result<String>);

const SCENARIOS: &[Scenario] = &[
    ("any_shape_loads_and_unloads", shapes::any_shape_loads_and_unloads),
    ("a_second_scheduler_is_refused_by_name", shapes::a_second_scheduler_is_refused_by_name),
    ("a_hog_is_fled_within_two_rounds_three_times", moving::a_hog_is_fled_within_two_rounds_three_times),
    ("short_rounds_react_within_a_third_of_a_second", moving::short_rounds_react_within_a_third_of_a_second),
    ("without_contention_nothing_moves", moving::without_contention_nothing_moves),
    ("by_steal_alone_work_bounces_between_two_busy_hosts", moving::by_steal_alone_work_bounces_between_two_busy_hosts),
    ("probing_finds_an_idle_host_and_work_stays", moving::probing_finds_an_idle_host_and_work_stays),
    ("equally_busy_hosts_make_no_stampede", moving::equally_busy_hosts_make_no_stampede),
    ("one_retarget_moves_all_that_run", moving::one_retarget_moves_all_that_run),
    ("each_order_is_carried_out_as_the_policy_says", fine::each_order_is_carried_out_as_the_policy_says),
    ("a_forked_process_runs_beside_its_parent", fine::a_forked_process_runs_beside_its_parent),
    ("a_cgroup_moves_whole", fine::a_cgroup_moves_whole),
    ("ten_thousand_tasks_cost_little", scale::ten_thousand_tasks_cost_little),
    ("all_takes_every_ordinary_task", all::all_takes_every_ordinary_task),
    ("fixed_tasks_are_untouched", fixed::fixed_tasks_are_untouched),
    ("a_fixed_task_keeps_its_cpu", fixed::a_fixed_task_keeps_its_cpu),
    ("bound_tasks_run_where_they_may", bound::bound_tasks_run_where_they_may),
    ("int_and_term_leave_no_trace", leaving::int_and_term_leave_no_trace),
    ("after_kill_restore_leaves_no_trace", leaving::after_kill_restore_leaves_no_trace),
    ("after_kill_the_next_start_leaves_no_trace", leaving::after_kill_the_next_start_leaves_no_trace),
    ("killed_at_any_moment_all_is_undone", killing::killed_at_any_moment_all_is_undone),
    ("irqs_and_workqueues_follow_the_work", following::irqs_and_workqueues_follow_the_work),
    ("memory_follows_a_process_when_asked", following::memory_follows_a_process_when_asked),
    ("what_stops_matching_goes_back", leaving::what_stops_matching_goes_back),
    ("storms_of_forks_and_affinities_end_nothing", storms::storms_of_forks_and_affinities_end_nothing),
    ("tasks_that_wake_each_other_get_something_done", storms::tasks_that_wake_each_other_get_something_done),
    ("the_pinned_target_agrees_with_the_log", watching::the_pinned_target_agrees_with_the_log),
    ("rounds_cause_no_page_faults", watching::rounds_cause_no_page_faults),
    ("monitor_shows_what_the_maps_say", watching::monitor_shows_what_the_maps_say),
    ("metrics_are_openmetrics", watching::metrics_are_openmetrics),
    ("explain_tells_the_last_moves", watching::explain_tells_the_last_moves),
    ("an_offline_destination_is_left", hotplug::an_offline_destination_is_left),
    ("hosts_tell_a_hog_from_the_guests_own_work", hosts::hosts_tell_a_hog_from_the_guests_own_work),
    (
        "with_host_metrics_work_goes_past_hogged_hosts_and_stays",
        hosts::with_host_metrics_work_goes_past_hogged_hosts_and_stays,
    ),
    (
        "faulty_exporters_are_never_chosen_and_delay_no_round",
        hosts::faulty_exporters_are_never_chosen_and_delay_no_round,
    ),
    ("a_destination_whose_host_dies_is_left", hosts::a_destination_whose_host_dies_is_left),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["list"] => {
            SCENARIOS.iter().for_each(|(name, _)| println!("{name}"));
            ExitCode::SUCCESS
        }
        ["bench", part] => report_error(bench::run(part, &bench::Extent::FULL)),
        ["bench", "--short", part] => report_error(bench::run(part, &bench::Extent::SHORT)),
        ["demo", phase] => report_error(demo::record(phase)),
        ["colocation", options @ ..] => {
            let options = [&["vnuma-scenarios colocation"], options].concat();
            report_error(colocation::run(&colocation::Options::parse_from(options)))
        }
        ["run", names @ ..] => run(names),
        _ => {
            eprintln!("usage: vnuma-scenarios list | run [NAME…] | demo PHASE | bench [--short] PART | colocation …");
            ExitCode::from(2)
        }
    }
}

fn report_error(outcome: Result<()>) -> ExitCode {
    let Err(err) = outcome else { return ExitCode::SUCCESS };
    eprintln!("vnuma-scenarios: {err:#}");
    ExitCode::FAILURE
}

fn run(names: &[&str]) -> ExitCode {
    if let Some(unknown) = names.iter().find(|name| !SCENARIOS.iter().any(|(known, _)| known == *name)) {
        eprintln!("vnuma-scenarios: there is no scenario '{unknown}'; `vnuma-scenarios list` has them");
        return ExitCode::from(2);
    }
    let mut nr_failed = 0;
    for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        let start = Instant::now();
        let outcome = scenario().and_then(|figures| shapes::nothing_is_left().map(|()| figures));
        let took_s = start.elapsed().as_secs_f64();
        match outcome {
            Ok(figures) => println!("ok      {name} ({took_s:.1} s) {figures}"),
            Err(err) => {
                nr_failed += 1;
                println!("FAILED  {name} ({took_s:.1} s): {err:#}");
                guest::print_last_log();
            }
        }
        // Whatever happened, the next one starts without hogs; outside the lab there are none.
        let _ = guest::hog(&[]);
    }
    ExitCode::from(u8::from(nr_failed > 0))
}
