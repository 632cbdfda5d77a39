//! Supply, and the limits that work is held to.

use super::*;
use crate::cell::Sample;

/// The limit of node 0 after so many seconds in which others took this share of it.
fn limit(run: &mut Run, capacity_cpus: f64, others_share: f64, seconds: f64) -> Option<f64> {
    let mut scene = Scene::new(capacity_cpus, &[others_share]).with(0, &[0.01]);
    let (_, plan) = run.follow(seconds, &mut scene);
    plan.limits.get(&NodeId(0)).copied()
}

#[test]
fn a_host_that_nobody_else_uses_has_no_limit() {
    assert_eq!(limit(&mut Run::new(), 1.0, 0.0, 10.0), None);
    assert_eq!(limit(&mut Run::new(), 1.0, 0.03, 10.0), None, "ticks and agents are nobody");
}

#[test]
fn on_a_host_of_one_cpu_bursts_need_it_all_and_work_holds_the_more_of_what_is_left_the_less_others_are_there() {
    let limits = [0.1, 0.2, 0.4].map(|share| limit(&mut Run::new(), 1.0, share, 30.0).unwrap());
    for (limit_cpus, wanted_cpus) in limits.into_iter().zip([0.4 * 0.9, 0.2 * 0.8, 0.2 * 0.6]) {
        assert!((limit_cpus - wanted_cpus).abs() < 0.01, "{limits:?}");
    }
}

/// A node of one CPU where others burst: every other probe sees them all the time, and ended early for it.
fn bursty_host(round: u32) -> Node {
    let sees = round.is_multiple_of(2);
    let sample = if sees { Sample { share: 1.0, rounds: 0.5 } } else { Sample { share: 0.0, rounds: 1.0 } };
    // The pressure is the worse of the last two.
    Node { sample: Some(sample), ..node(0, 1.0, 1.0) }
}

#[test]
fn where_others_burst_their_mean_is_that_of_all_samples_and_not_the_worst() {
    let mut run = Run::new();
    let mut means = Vec::new();
    for round in 0..240 {
        run.round(&CellView { nodes: vec![bursty_host(round)], ..CellView::default() });
        means.push(run.memory.nodes[&NodeId(0)].mean_share);
    }
    let settled = &means[40..];
    let mean = settled.iter().sum::<f64>() / settled.len() as f64;
    assert!((mean - 0.5 / 1.5).abs() < 0.1, "{mean}");
    assert!(settled.iter().all(|share| *share < 0.6), "no burst counts as all there is: {settled:?}");
}

#[test]
fn a_reading_that_is_not_new_teaches_nothing() {
    let mut run = Run::new();
    let view = |share, sample| CellView { nodes: vec![Node { sample, ..node(0, 1.0, share) }], ..CellView::default() };
    run.round(&view(0.5, None));
    run.round(&view(0.1, Some(Sample { share: 0.1, rounds: 1.0 })));
    let mean_share = run.memory.nodes[&NodeId(0)].mean_share;
    (0..20).for_each(|_| drop(run.round(&view(0.9, Some(Sample { share: 0.0, rounds: 0.0 })))));
    assert_eq!(run.memory.nodes[&NodeId(0)].mean_share, mean_share);
}

#[test]
fn others_that_come_to_stay_where_they_burst_before_are_believed_within_two_seconds() {
    let mut run = Run::new();
    (0..240).for_each(|round| drop(run.round(&CellView { nodes: vec![bursty_host(round)], ..CellView::default() })));
    let hogged = Node { sample: Some(Sample { share: 1.0, rounds: 0.5 }), ..node(0, 1.0, 1.0) };
    (0..4).for_each(|_| drop(run.round(&CellView { nodes: vec![hogged.clone()], ..CellView::default() })));
    assert!(run.memory.nodes[&NodeId(0)].mean_share > 0.5, "{}", run.memory.nodes[&NodeId(0)].mean_share);
}

#[test]
fn work_leaves_where_it_gets_nothing_of_what_it_may_hold() {
    let mut scene = Scene::new(1.0, &[0.2, 0.2]).with(0, &[1.0]);
    let mut run = Run::new();
    run.follow(20.0, &mut scene);
    for _ in 0..20 {
        let mut view = scene.view();
        view.groups.iter_mut().filter(|group| group.node == NodeId(0)).for_each(|group| group.demand.usage_cpus = 0.0);
        let plan = run.round(&view);
        scene.carry_out(&plan);
    }
    assert_eq!(scene.on(1), 1, "both nodes promise the same, but node 0 doesn't keep it");
}

/// 16 of 64 CPUs are others'; deviation √(16 · ¾) = 3.5.
fn shared_large_host(stolen_share: Option<f64>) -> Scene {
    let mut scene = Scene::new(64.0, &[0.25]).with(0, &[0.01]);
    scene.nodes[0].stolen_share = stolen_share;
    scene
}

#[test]
fn on_a_host_of_many_cpus_work_tries_all_whole_cpus_that_others_leave() {
    let (_, plan) = Run::new().follow(120.0, &mut shared_large_host(Some(0.0)));
    assert_eq!(plan.limits[&NodeId(0)], 48.0);
}

#[test]
fn once_cpu_is_stolen_there_others_keep_the_square_root_of_what_they_use_for_their_bursts() {
    let mut run = Run::new();
    run.follow(120.0, &mut shared_large_host(Some(0.0)));
    run.follow(INTERVAL_S, &mut shared_large_host(Some(0.1)));
    let (_, plan) = run.follow(50.0, &mut shared_large_host(Some(0.0)));
    let ruled_cpus = 48.0 - 2.0 * 12.0_f64.sqrt();
    assert!((plan.limits[&NodeId(0)] - ruled_cpus).abs() < 0.5, "{:?}", plan.limits);
    let (_, plan) = run.follow(30.0, &mut shared_large_host(Some(0.0)));
    assert_eq!(plan.limits[&NodeId(0)], 48.0, "a minute later it tries again");
}

#[test]
fn each_trial_that_fails_makes_the_next_one_later() {
    let mut run = Run::new();
    let mut trials = Vec::new();
    for round in 0..2400 {
        let has_more =
            run.memory.nodes.get(&NodeId(0)).and_then(|node| node.limit_cpus).is_some_and(|cpus| cpus > 44.0);
        if has_more {
            trials.push(f64::from(round) * INTERVAL_S);
        }
        run.round(&shared_large_host(Some(if has_more { 0.1 } else { 0.0 })).view());
    }
    let gaps: Vec<f64> = trials.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 1.0).collect();
    assert!(gaps.len() >= 3 && gaps.windows(2).all(|pair| pair[1] > 1.8 * pair[0]), "{gaps:?}");
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
    assert!(before_cpus >= 25.0 && after_cpus <= 8.0, "{before_cpus} {after_cpus}");
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
fn what_a_hog_leaves_behind_counts_alone_as_soon_as_it_has_gone() {
    /// Probes of an empty node read these shares, twice a second. Returns the limit after them.
    fn probed(run: &mut Run, shares: &[f64]) -> f64 {
        let mut plan = Plan::default();
        for &share in shares {
            let mut view = Scene::new(1.0, &[share]).view();
            view.nodes[0].sample = Some(Sample { share, rounds: 1.0 / (1.0 + share) });
            plan = run.round(&view);
        }
        plan.limits[&NodeId(0)]
    }
    let mut run = Run::new();
    assert!(probed(&mut run, &[1.0; 10]) < 0.1);
    // The headroom of a burst is not wanted in full for so little.
    let ruled_cpus = 0.92 - 0.6 * 2.0 * (0.08_f64 * 0.92).sqrt();
    let left_cpus = probed(&mut run, &[0.08, 0.08]);
    assert!((left_cpus - ruled_cpus).abs() < 1e-6, "{left_cpus} of {ruled_cpus}");
    // Half of a hog is not calm.
    assert!(probed(&mut run, &[1.0; 10]) < 0.1);
    assert!(probed(&mut run, &[0.5, 0.5]) < 0.1);
}

#[test]
fn others_that_came_without_a_jump_are_forgotten_as_soon_as_those_that_came_with_one() {
    let mut run = Run::new();
    assert_eq!(limit(&mut run, 1.0, 0.0, 5.0), None);
    for share in [0.06, 0.09, 0.12, 0.15] {
        limit(&mut run, 1.0, share, 2.0);
    }
    assert!(limit(&mut run, 1.0, 0.15, 10.0).is_some());
    assert!(!run.memory.nodes[&NodeId(0)].is_pressed, "it was to come without a jump");
    assert_eq!(limit(&mut run, 1.0, 0.0, 2.0 * INTERVAL_S), None);
}

#[test]
fn what_others_want_is_more_than_they_get_of_a_full_cpu() {
    // A hog that has half of the CPU while we have the other half wants all of it.
    let mut scene = Scene::new(1.0, &[0.5]).with(0, &[1.0]);
    let (_, plan) = Run::new().follow(INTERVAL_S, &mut scene);
    assert_eq!(plan.limits[&NodeId(0)], 0.05);
    // On a host with room it wants what it has.
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
