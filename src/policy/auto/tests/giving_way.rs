//! Nodes where work gives way to others.

use super::*;
use crate::cell::Sample;

/// A node of so many CPUs where work can give way to others, who take this share.
fn scene(capacity_cpus: f64, others_share: f64) -> Scene {
    let mut scene = Scene::new(capacity_cpus, &[others_share]).with(0, &[0.01]);
    scene.nodes[0].can_give_way = true;
    scene
}

/// The plan's limit of node 0, whether it gives way, and whether it has others, after ten seconds.
fn held_back(run: &mut Run, mut scene: Scene) -> (Option<f64>, bool, bool) {
    let (_, plan) = run.follow(10.0, &mut scene);
    let node = NodeId(0);
    (plan.limits.get(&node).copied(), plan.gives_way.contains(&node), plan.has_others.contains(&node))
}

#[test]
fn work_that_gives_way_may_hold_all_of_a_cpu_that_others_use() {
    for share in [0.1, 0.2, 0.4, 0.7] {
        assert_eq!(held_back(&mut Run::new(), scene(1.0, share)), (None, true, true), "{share}");
    }
}

#[test]
fn work_is_ready_to_give_way_before_others_come() {
    assert_eq!(held_back(&mut Run::new(), scene(1.0, 0.0)), (None, true, false));
    assert_eq!(held_back(&mut Run::new(), scene(1.0, 0.04)), (None, true, false), "ticks and agents are nobody");
}

#[test]
fn a_hogs_host_is_left_the_least_all_the_same() {
    assert_eq!(held_back(&mut Run::new(), scene(1.0, 1.0)), (Some(0.05), true, true));
}

#[test]
fn others_of_a_host_of_several_cpus_have_cpus_of_their_own() {
    let (limit, gives_way, _) = held_back(&mut Run::new(), scene(8.0, 0.4));
    assert!(limit.is_some_and(|cpus| cpus < 8.0) && !gives_way, "{limit:?}");
}

#[test]
fn where_the_kernel_side_cannot_give_way_any_more_work_is_limited_again() {
    let mut run = Run::new();
    assert_eq!(held_back(&mut run, scene(1.0, 0.2)), (None, true, true));
    let mut unable = scene(1.0, 0.2);
    unable.nodes[0].can_give_way = false;
    let (limit, gives_way, _) = held_back(&mut run, unable);
    assert!(limit.is_some_and(|cpus| (cpus - 0.16).abs() < 0.01) && !gives_way, "{limit:?}");
}

#[test]
fn what_others_took_while_they_were_given_way_to_is_all_that_they_want() {
    let mut run = Run::new();
    let mut scene = scene(1.0, 0.3);
    scene.work[0].wants_cpus = 1.0;
    for _ in 0..40 {
        let mut view = scene.view();
        view.nodes[0].sample = Some(Sample { share: 0.3, rounds: 1.0 });
        run.round(&view);
    }
    let mean_share = run.memory.nodes[&NodeId(0)].mean_share;
    assert!((mean_share - 0.3).abs() < 0.01, "as between equals they would want .43: {mean_share}");
}

#[test]
fn work_stays_where_it_gives_way_if_no_other_node_would_give_it_more() {
    let mut scene = Scene::new(1.0, &[0.2, 0.0]).with(0, &[1.0]).with(1, &[1.0]);
    scene.nodes.iter_mut().for_each(|node| node.can_give_way = true);
    let (moves, plan) = Run::new().follow(60.0, &mut scene);
    assert!(moves.is_empty(), "{moves:?}");
    assert_eq!(plan.has_others, [NodeId(0)].into());
}

#[test]
fn only_others_who_want_most_of_a_cpu_hit_a_node_that_gives_way() {
    let mut hits = |share| {
        let mut run = Run::new();
        run.follow(10.0, &mut scene(1.0, 0.0));
        run.follow(INTERVAL_S, &mut scene(1.0, share));
        run.memory.nodes[&NodeId(0)].hit_at.is_some()
    };
    assert_eq!([0.2, 0.4, 0.6, 1.0].map(&mut hits), [false, false, true, true]);
}

/// A node that was idle, and of which others have wanted all for two seconds, by what work there found.
fn found_taken() -> (Run, Scene) {
    let mut run = Run::new();
    let mut scene = scene(1.0, 0.0);
    run.follow(10.0, &mut scene);
    scene.others(0, 1.0);
    let mut view = scene.view();
    view.nodes[0].alarm = true;
    run.round(&view);
    let (_, plan) = run.follow(2.0, &mut scene);
    assert_eq!(plan.limits, [(NodeId(0), 0.05)].into());
    (run, scene)
}

#[test]
fn a_node_that_work_found_taken_opens_only_when_others_leave() {
    let is_limited_after = |seconds: f64, others_share: f64| {
        let (mut run, mut scene) = found_taken();
        // Without work they take less than beside it.
        scene.others(0, others_share);
        run.follow(seconds, &mut scene).1.limits.contains_key(&NodeId(0))
    };
    assert!(!is_limited_after(2.0, 0.0), "they have left");
    assert!(is_limited_after(50.0, 0.4), "they are still there");
    assert!(!is_limited_after(70.0, 0.4), "a trial");
}

#[test]
fn trials_of_a_node_that_others_keep_become_rarer() {
    let (mut run, mut scene) = found_taken();
    let mut waits_rounds = Vec::new();
    for share in [0.4, 1.0, 0.4, 1.0] {
        scene.others(0, share);
        run.follow(if share < 1.0 { 130.0 } else { 30.0 }, &mut scene);
        waits_rounds.push(run.memory.nodes[&NodeId(0)].trial_wait_rounds);
    }
    assert_eq!(waits_rounds, [120.0, 240.0, 240.0, 480.0]);
}

#[test]
fn others_who_take_as_much_as_work_gets_close_its_node_whatever_the_hosts_mean() {
    let limit_after = |sample_share| {
        let mut run = Run::new();
        let mut scene = scene(1.0, 0.1);
        scene.work[0].wants_cpus = 1.0;
        run.follow(10.0, &mut scene);
        scene.others(0, 0.3);
        let mut view = scene.view();
        view.nodes[0].sample = Some(Sample { share: sample_share, rounds: 1.0 });
        run.round(&view).limits.get(&NodeId(0)).copied()
    };
    assert_eq!([0.3, 1.0].map(limit_after), [None, Some(0.05)]);
}
