//! The register of scenarios: the table of all scenarios and of the machines on which they run.
//!
//! A new scenario is a function and a line in [`SCENARIOS`]. `vmtests/run` boots what [`boots::plan`](super::boots::plan)
//! makes of the table.

use anyhow::Result;

use super::faults::{cpus, daemon, starting};
use super::{
    all, bound, distributed, experiment, fine, fixed, following, harvesting, hosts, hotplug, killing, leaving, moving,
    objectives, operating, quotas, real_time, room, scale, shapes, sharing, short_tasks, steering, storms, watching,
};

/// A test that runs on a certain kind of machine.
pub struct Scenario {
    /// The behaviour that it tests, which is the name of its function.
    pub name: &'static str,
    /// The group that it runs with.
    pub group: &'static Group,
    /// The machines that it runs on.
    pub place: Place,
    /// Returns what was measured.
    pub run: fn() -> Result<String>,
}

/// Scenarios that share a kind of machine, so that they can share its boot.
pub struct Group {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for `vnuma-scenarios list`.
    pub about: &'static str,
    /// Options of `vmtests/lab` for scenarios with [`Place::Lab`]; paths are relative to vmtests/.
    pub lab: &'static str,
    /// How often each scenario runs, each time on a machine of its own.
    pub nr_boots: u32,
    /// It runs only if it, or one of its scenarios, is named: it takes too long for every day.
    pub by_name_only: bool,
}

/// Which machine, or machines, a scenario runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The guest of a cluster in the lab, with the options of its group.
    Lab,
    /// A virtual machine of each shape on the newest kernel, and of some on each older one.
    EveryShape,
    /// A virtual machine of this shape on each kernel.
    EveryKernel(&'static str),
    /// A virtual machine of this shape on the newest kernel.
    Shape(&'static str),
    /// The same with distributed memory, where a page of another node costs 20 us.
    Distributed(&'static str),
    /// This machine. The scenario boots what it needs.
    Here,
}
use Place::{Distributed, EveryKernel, EveryShape, Here, Lab, Shape};

const SHAPES: Group = Group {
    name: "shapes",
    about: "every NUMA shape, and every kernel: loads, schedules, retargets, unloads; storms",
    lab: "",
    nr_boots: 1,
    by_name_only: false,
};
const MOVING: Group = Group {
    name: "moving",
    about: "a cluster of four hosts with genuine steal time: work leaves busy hosts",
    lab: "--nodes 4 --timeout 900 --host-script machines/hogs.sh",
    nr_boots: 1,
    by_name_only: false,
};
const HARVESTING: Group = Group {
    name: "harvesting",
    about: "the same four hosts under --policy auto: all idle CPU is used, and hogs are left alone",
    lab: "--nodes 4 --timeout 600 --host-script machines/hogs.sh",
    nr_boots: 1,
    by_name_only: false,
};
const HOSTS: Group = Group {
    name: "hosts",
    about: "the same four hosts with node_exporter on each, and some whose answers are wrong",
    lab: "--nodes 4 --timeout 600 --host-script machines/hosts.sh --put machines/hogs.sh",
    nr_boots: 1,
    by_name_only: false,
};
const STAYING: Group = Group {
    name: "staying",
    about: "a cluster of two hosts with two CPUs each: affinities, all ways to exit, hotplug",
    lab: "--nodes 2 --vcpus-per-node 2 --memory-per-node 512M --timeout 900 --host-script machines/hogs.sh",
    nr_boots: 1,
    by_name_only: false,
};
const SHARING: Group = Group {
    name: "sharing",
    about: "processes that share memory: they are found, brought together, and kept together",
    lab: "",
    nr_boots: 1,
    by_name_only: false,
};
const DISTRIBUTED: Group = Group {
    name: "distributed",
    about: "memory as in a distributed machine, whose hosts export their faults: what pages cost and moves fetch is learned",
    lab: "",
    nr_boots: 1,
    by_name_only: false,
};
const KILLING: Group = Group {
    name: "killing",
    about: "ten kills of the daemon at random moments under load, five in each of two guests",
    lab: "",
    nr_boots: 2,
    by_name_only: false,
};
const LONG: Group = Group {
    name: "long",
    about: "long forms of others' scenarios, with hosts as of the group harvesting",
    lab: "--nodes 4 --timeout 900 --host-script machines/hogs.sh",
    nr_boots: 1,
    by_name_only: true,
};
const SHORT_TASKS: Group = Group {
    name: "short-tasks",
    about: "many short processes, timed in pairs with the fair class; for a machine that does nothing else",
    lab: "",
    nr_boots: 1,
    by_name_only: true,
};
const FAULTS: Group = Group {
    name: "faults",
    about: "faults on purpose: a daemon stopped, blocked or short of memory, starts that meet, hotplug, fair load",
    lab: "",
    nr_boots: 1,
    by_name_only: false,
};
const SYSTEMD: Group = Group {
    name: "systemd",
    about: "docs/getting-started.md in Debian 12 under systemd, with the package: from the installation to the purge",
    lab: "",
    nr_boots: 1,
    by_name_only: true,
};
const COLOCATION: Group = Group {
    name: "colocation",
    about: "the co-location experiment in its shortest form: each arm works, whatever its figures",
    lab: "",
    nr_boots: 1,
    by_name_only: false,
};

macro_rules! scenario {
    ($group:ident, $place:expr, $module:ident::$name:ident) => {
        Scenario { name: stringify!($name), group: &$group, place: $place, run: $module::$name }
    };
}

/// All scenarios, in the order in which they run. Those of a group are consecutive.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(SHAPES, EveryShape, shapes::any_shape_loads_and_unloads),
    scenario!(SHAPES, EveryKernel("2x2"), shapes::a_second_scheduler_is_refused_by_name),
    // Not in the lab: the two-level emulation sometimes mishandles what such a storm does to page tables.
    scenario!(SHAPES, EveryKernel("2x2"), storms::storms_of_forks_and_affinities_end_nothing),
    scenario!(SHAPES, EveryKernel("2x2"), storms::tasks_that_wake_each_other_get_something_done),
    scenario!(SHAPES, Shape("2x2"), real_time::real_time_tasks_stay_real_time),
    scenario!(SHAPES, Shape("2x2"), scale::ten_thousand_tasks_cost_little),
    scenario!(SHAPES, Shape("2x2"), following::irqs_and_workqueues_follow_the_work),
    scenario!(SHAPES, Shape("2x2"), following::memory_follows_a_process_when_asked),
    scenario!(SHAPES, Shape("2x2"), room::work_goes_to_a_node_only_when_there_is_memory_for_it),
    scenario!(SHAPES, EveryKernel("4x1"), steering::exec_places_processes_by_weight),
    scenario!(SHAPES, EveryKernel("4x1"), steering::without_an_idle_cpu_exec_places_processes_on_nodes_of_no_weight),
    scenario!(SHAPES, Shape("4x1"), all::all_takes_every_ordinary_task),
    scenario!(SHAPES, Shape("4x1"), operating::a_reload_changes_selectors_and_policy_without_unloading_the_class),
    scenario!(SHAPES, Shape("2x2"), objectives::work_makes_room_while_an_objective_is_missed_and_while_it_is_unknown),
    scenario!(SHAPES, Shape("4x1"), operating::a_drained_node_is_left_and_gets_nothing_also_after_a_restart),
    scenario!(SHAPES, Shape("4x1"), quotas::migratable_tasks_keep_their_quotas),
    scenario!(SHAPES, Shape("4x1"), quotas::many_tasks_of_a_tiny_quota_do_not_end_the_class),
    scenario!(MOVING, Lab, moving::a_hog_is_fled_within_two_rounds_three_times),
    scenario!(MOVING, Lab, moving::short_rounds_react_within_a_third_of_a_second),
    scenario!(MOVING, Lab, moving::without_contention_nothing_moves),
    scenario!(MOVING, Lab, moving::by_steal_alone_work_bounces_between_two_busy_hosts),
    scenario!(MOVING, Lab, moving::probing_finds_an_idle_host_and_work_stays),
    scenario!(MOVING, Lab, moving::equally_busy_hosts_make_no_stampede),
    scenario!(MOVING, Lab, moving::one_retarget_moves_all_that_run),
    scenario!(MOVING, Lab, fine::each_order_is_carried_out_as_the_policy_says),
    scenario!(MOVING, Lab, fine::a_forked_process_runs_on_its_parents_node),
    scenario!(MOVING, Lab, fine::a_cgroup_moves_whole),
    scenario!(MOVING, Lab, fixed::fixed_tasks_are_untouched),
    scenario!(MOVING, Lab, fixed::a_fixed_task_keeps_its_cpu),
    scenario!(MOVING, Lab, watching::the_pinned_target_agrees_with_the_log),
    scenario!(MOVING, Lab, watching::every_round_is_replayed),
    scenario!(MOVING, Lab, watching::rounds_cause_no_page_faults),
    scenario!(MOVING, Lab, watching::monitor_shows_what_the_maps_say),
    scenario!(MOVING, Lab, watching::metrics_are_openmetrics),
    scenario!(MOVING, Lab, watching::explain_shows_the_last_moves),
    scenario!(HARVESTING, Lab, harvesting::idle_hosts_are_used_as_the_fair_class_uses_them),
    scenario!(HARVESTING, Lab, harvesting::hogs_on_half_of_the_hosts_are_left_and_the_other_half_is_used),
    scenario!(HARVESTING, Lab, harvesting::bursts_on_the_hosts_are_given_way_to),
    scenario!(HARVESTING, Lab, harvesting::half_a_nodes_demand_stays_on_one_node),
    scenario!(HARVESTING, Lab, harvesting::a_hog_is_left_at_once_at_the_default_interval),
    scenario!(HARVESTING, Lab, steering::a_node_that_is_hit_is_left_at_once),
    scenario!(HOSTS, Lab, hosts::hosts_tell_a_hog_from_the_guests_own_work),
    scenario!(HOSTS, Lab, hosts::with_host_metrics_work_goes_past_hogged_hosts_and_stays),
    scenario!(HOSTS, Lab, hosts::faulty_exporters_are_never_chosen_and_delay_no_round),
    scenario!(HOSTS, Lab, hosts::a_destination_whose_host_dies_is_left),
    scenario!(STAYING, Lab, bound::bound_tasks_run_where_they_may),
    scenario!(STAYING, Lab, leaving::int_and_term_leave_no_trace),
    scenario!(STAYING, Lab, leaving::after_kill_restore_leaves_no_trace),
    scenario!(STAYING, Lab, leaving::after_kill_the_next_start_leaves_no_trace),
    scenario!(STAYING, Lab, leaving::what_stops_matching_goes_back),
    scenario!(STAYING, Lab, hotplug::an_offline_destination_is_left),
    // Not in a plain virtual machine: where the TSC isn't reliable, idle time counts as run time.
    scenario!(STAYING, Lab, steering::work_uses_as_much_of_a_node_as_its_limit_allows),
    scenario!(STAYING, Lab, steering::running_tasks_that_others_make_migratable_are_counted_where_they_run),
    scenario!(STAYING, Lab, steering::a_lone_task_is_limited_too),
    scenario!(STAYING, Lab, steering::the_least_limit_starves_none_of_a_hundred),
    scenario!(SHARING, EveryKernel("4x1"), sharing::sharers_are_found_and_brought_together),
    scenario!(SHARING, Shape("4x1"), sharing::without_links_sharers_stay_where_they_are),
    scenario!(SHARING, Shape("4x1"), sharing::reading_the_signals_costs_less_than_a_hundredth_of_the_work),
    scenario!(DISTRIBUTED, Distributed("2x2"), distributed::what_pages_cost_and_moves_fetch_is_learned_from_the_hosts),
    scenario!(DISTRIBUTED, Distributed("2x2"), distributed::a_round_makes_no_pages_of_sleeping_tasks_travel),
    scenario!(DISTRIBUTED, Distributed("2x2"), experiment::programs_that_share_are_compared),
    scenario!(KILLING, Shape("2x2"), killing::killed_at_any_moment_all_is_undone),
    scenario!(FAULTS, Shape("2x2"), starting::in_another_pid_namespace_nothing_is_touched),
    scenario!(FAULTS, Shape("2x2"), starting::of_two_starts_one_is_refused_and_the_others_kill_is_undone),
    scenario!(FAULTS, Shape("2x2"), starting::restore_during_a_start_undoes_nothing),
    scenario!(FAULTS, Shape("2x2"), daemon::a_log_that_nobody_reads_stops_neither_rounds_nor_signals),
    scenario!(FAULTS, Shape("2x2"), daemon::the_class_of_a_stopped_daemon_ends_and_comes_back_with_it),
    scenario!(FAULTS, Shape("2x2"), daemon::rounds_without_descriptors_fail_and_later_ones_succeed),
    scenario!(FAULTS, Shape("2x2"), daemon::without_memory_the_daemon_goes_on_or_is_undone),
    scenario!(FAULTS, Shape("2x2"), daemon::a_full_placement_map_stops_nothing),
    scenario!(FAULTS, Shape("2x2"), cpus::cpus_that_were_offline_at_the_start_are_used_when_they_come),
    scenario!(FAULTS, Shape("2x2"), cpus::a_storm_of_hotplug_of_the_destinations_last_cpus_loses_nothing),
    scenario!(FAULTS, Shape("2x2"), cpus::fair_load_on_the_destination_starves_no_migratable_task),
    scenario!(SYSTEMD, Here, operating::the_guide_works_in_debian_under_systemd),
    scenario!(LONG, Lab, harvesting::half_a_nodes_demand_stays_on_one_node_for_ten_minutes),
    scenario!(SHORT_TASKS, Shape("2x2"), short_tasks::short_tasks_take_no_longer_than_under_the_fair_class),
    scenario!(COLOCATION, Here, experiment::each_arm_of_the_experiment_works),
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// The groups, in the order in which they run.
pub fn groups() -> Vec<&'static Group> {
    let mut groups: Vec<&Group> = SCENARIOS.iter().map(|scenario| scenario.group).collect();
    groups.dedup_by_key(|group| group.name);
    groups
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_stands_for_two_things() {
        let names = groups().into_iter().map(|group| group.name).chain(SCENARIOS.iter().map(|scenario| scenario.name));
        let names: Vec<&str> = names.collect();
        let unique: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), unique.len(), "twice in {names:?}");
    }

    #[test]
    fn a_scenario_in_the_lab_is_of_a_group_that_has_a_lab() {
        for Scenario { name, group, place, .. } in SCENARIOS {
            assert_eq!(*place == Lab, !group.lab.is_empty(), "{name}");
        }
    }
}
