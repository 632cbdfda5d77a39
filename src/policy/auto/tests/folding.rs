//! Tests of supply, and of the limits that work is held to.

use super::*;

/// The limit of node 0 after others took the given share of it for the given number of seconds.
fn limit(run: &mut Run, capacity_cpus: f64, others_share: f64, seconds: f64) -> Option<f64> {
    let mut scene = Scene::new(capacity_cpus, &[others_share]).with(0, &[0.01]);
    let (_, plan) = run.follow(seconds, &mut scene);
    plan.limits.get(&NodeId(0)).copied()
}

#[test]
fn a_host_without_other_work_has_no_limit() {
    assert_eq!(limit(&mut Run::new(), 1.0, 0.0, 10.0), None);
    assert_eq!(limit(&mut Run::new(), 1.0, 0.03, 10.0), None, "ticks and agents are noise");
}

#[test]
fn on_a_host_of_one_cpu_bursts_need_it_all_and_work_holds_a_fifth_of_what_is_left_on_average() {
    let limit_cpus = limit(&mut Run::new(), 1.0, 0.2, 30.0).unwrap();
    assert!((limit_cpus - 0.2 * 0.8).abs() < 0.01, "{limit_cpus}");
}

#[test]
fn on_a_host_of_many_cpus_bursts_need_the_square_root_of_what_others_use() {
    // Others use 16 of 64 CPUs, with deviation √(16 · ¾) = 3.5: 41 CPUs are available.
    let limit_cpus = limit(&mut Run::new(), 64.0, 0.25, 120.0).unwrap();
    assert!((limit_cpus - (48.0 - 2.0 * 12.0_f64.sqrt())).abs() < 0.5, "{limit_cpus}");
}

#[test]
fn a_hogs_host_is_left_the_least_that_keeps_work_alive() {
    assert_eq!(limit(&mut Run::new(), 1.0, 1.0, 0.5), Some(0.05));
}

#[test]
fn the_least_limit_gives_each_of_many_tasks_its_turn() {
    let mut scene = Scene::new(1.0, &[1.0]).with(0, &[1.0]);
    scene.work[0].threads = 1000;
    let (_, plan) = Run::new().follow(1.0, &mut scene);
    assert_eq!(plan.limits[&NodeId(0)], 0.4);
}

#[test]
fn limits_shrink_at_once_and_grow_by_a_cpu_in_three_rounds() {
    let mut run = Run::new();
    let before_cpus = limit(&mut run, 32.0, 0.8, 30.0).unwrap();
    let mut scene = Scene::new(32.0, &[0.2]).with(0, &[0.01]);
    let grown_cpus = run.round(&scene.view()).limits[&NodeId(0)] - before_cpus;
    assert!((grown_cpus - 1.0 / 3.0).abs() < 1e-9, "{grown_cpus}");
    run.follow(60.0, &mut scene);
    let before_cpus = run.round(&scene.view()).limits[&NodeId(0)];
    scene.others(0, 0.75);
    let after_cpus = run.round(&scene.view()).limits[&NodeId(0)];
    assert!(before_cpus > 15.0 && after_cpus < 6.0, "{before_cpus} {after_cpus}");
}

#[test]
fn a_node_closes_at_85_per_cent_and_opens_at_80() {
    let mut run = Run::new();
    let mut closed = |share| {
        let mut scene = Scene::new(64.0, &[share]).with(0, &[0.01]);
        run.follow(60.0, &mut scene);
        run.memory.nodes[&NodeId(0)].is_closed
    };
    assert_eq!([0.83, 0.87, 0.83, 0.79, 0.83].map(&mut closed), [false, true, true, false, false]);
}

#[test]
fn after_a_jump_a_node_is_shared_until_it_was_calm_for_long_enough() {
    let mut run = Run::new();
    run.auto.options.wait_min_rounds = 4.0;
    assert_eq!(limit(&mut run, 1.0, 0.0, 5.0), None);
    assert!(limit(&mut run, 1.0, 0.5, INTERVAL_S).is_some());
    assert!(limit(&mut run, 1.0, 0.0, 3.0 * INTERVAL_S).is_some());
    assert_eq!(limit(&mut run, 1.0, 0.0, INTERVAL_S), None);
}

#[test]
fn what_others_want_is_more_than_they_get_of_a_full_cpu() {
    // A hog that has half of the CPU while we have the other half wants all of it.
    let mut scene = Scene::new(1.0, &[0.5]).with(0, &[1.0]);
    let (_, plan) = Run::new().follow(INTERVAL_S, &mut scene);
    assert_eq!(plan.limits[&NodeId(0)], 0.05);
    // On a host with room a hog wants exactly what it gets.
    let mut scene = Scene::new(1.0, &[0.5]).with(0, &[0.1]);
    let (_, plan) = Run::new().follow(INTERVAL_S, &mut scene);
    assert!(plan.limits[&NodeId(0)] > 0.05, "{:?}", plan.limits);
}

#[test]
fn fixed_tasks_of_the_guest_take_their_part_of_the_supply() {
    let mut scene = Scene::new(1.0, &[0.0, 0.0]).with(0, &[0.7]).with(1, &[0.1]);
    let mut view = scene.view();
    view.nodes[0].load_cpus += 0.5;
    let mut run = Run::new();
    let moves = run.round(&view).moves;
    assert_eq!(moves.len(), 1, "half of node 0 is the guest's own");
    scene.carry_out(&Plan { moves, ..Plan::default() });
}

#[test]
fn a_short_window_counts_for_as_little_as_it_is() {
    let options = Auto::with_interval(INTERVAL_S).options;
    let mean = |windows: &[f64]| {
        let mut memory = crate::policy::auto::memory::NodeMemory::default();
        let mut now = 0.0;
        for (window, share) in windows.iter().zip([0.02, 0.1, 0.1, 0.1, 0.1]) {
            now += window;
            memory.observe(&options, &node(0, 1.0, share), Default::default(), now, *window);
        }
        memory.mean_share
    };
    assert!((mean(&[1.0, 1.0]) - mean(&[1.0, 0.25, 0.25, 0.25, 0.25])).abs() < 1e-12);
}
