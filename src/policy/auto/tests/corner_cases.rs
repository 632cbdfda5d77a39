//! The destinations of work in corner cases.

use super::*;
use crate::cell::Outcome;

#[test]
fn work_that_its_node_cannot_hold_fills_the_idle_nodes_evenly_and_stays() {
    let mut scene = Scene::new(1.0, &[0.0; 4]).with(0, &[1.0; 8]);
    let mut run = Run::new();
    let (moves, _) = run.follow(3.0, &mut scene);
    assert_eq!([0, 1, 2, 3].map(|node| scene.on(node)), [2; 4]);
    assert_eq!(moves.len(), 6, "each moves once: {moves:?}");
    let (moves, plan) = run.follow(600.0, &mut scene);
    assert_eq!(moves, []);
    assert!((plan.short_cpus() - 4.0).abs() < 0.1, "eight CPUs are wanted and there are four: {}", plan.short_cpus());
}

#[test]
fn work_that_fits_on_its_node_stays_there_and_new_processes_go_there_too() {
    let mut scene = Scene::new(1.0, &[0.0; 4]).with(0, &[0.25; 2]);
    let (moves, plan) = Run::new().follow(600.0, &mut scene);
    assert_eq!(moves, []);
    assert_eq!(chosen(&plan), [(NodeId(0), 1.0)].into());
    assert_eq!(plan.spread.len(), 4, "the others take more when node 0 has no idle CPU");
    assert!(plan.limits.is_empty() && plan.short_cpus() == 0.0);
    assert!(matches!(plan.verdicts[0].outcome, Outcome::Fits { .. }));
}

#[test]
fn where_there_is_no_work_none_is_wanted() {
    let plan = Run::new().round(&Scene::new(1.0, &[0.0; 2]).view());
    let wanted_cpus = plan.balance.map(|balance| format!("{:.2}", balance.wanted_cpus));
    assert_eq!(wanted_cpus.as_deref(), Some("0.00"), "not -0.00");
}

#[test]
fn where_groups_do_not_say_what_they_want_the_nodes_queue_does() {
    let scene = Scene::new(1.0, &[0.0; 4]).with(0, &[1.0; 8]);
    let mut view = scene.view();
    view.groups.iter_mut().for_each(|group| group.wanted_cpus = None);
    assert_eq!(Run::new().round(&view).moves, [], "eight groups that use an eighth each fill one CPU");
    view.nodes[0].waiting_cpus = 7.0;
    assert_eq!(Run::new().round(&view).moves.len(), 6);
}

#[test]
fn work_beside_a_fixed_task_wants_more_when_the_two_fill_the_node() {
    let scene = Scene::new(1.0, &[0.0; 4]).with(0, &[0.1; 8]);
    let mut view = scene.view();
    view.groups.iter_mut().for_each(|group| group.wanted_cpus = Some(1.0));
    view.nodes[0].load_cpus = 0.8 + 0.2;
    let mut run = Run::new();
    let plan = run.round(&view);
    assert!(plan.moves.len() >= 5, "nothing of node 0 is idle: {:?}", plan.moves);
}

#[test]
fn what_waits_on_a_node_with_idle_cpu_is_only_waiting_for_its_turn() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[0.125; 4]);
    let mut run = Run::new();
    for _ in 0..20 {
        let mut view = scene.view();
        // They wake up together, and each waits for the others.
        view.groups.iter_mut().for_each(|group| group.wanted_cpus = Some(0.3));
        let plan = run.round(&view);
        assert_eq!(plan.moves, []);
        scene.carry_out(&plan);
    }
}

#[test]
fn one_idle_node_takes_the_work_of_busy_ones_and_what_is_too_heavy_to_move_folds() {
    let mut scene = Scene::new(1.0, &[1.0, 0.0, 1.0, 1.0]).with(0, &[0.4, 0.4]).with(2, &[0.4]);
    scene.work[2].bytes = 100e9;
    let (_, plan) = Run::new().follow(20.0, &mut scene);
    assert_eq!([0, 1, 2].map(|node| scene.on(node)), [0, 2, 1]);
    assert_eq!(plan.limits[&NodeId(2)], 0.05);
    assert!(matches!(plan.verdicts.last().unwrap().outcome, Outcome::Folds { .. }));
    assert!(!plan.limits.contains_key(&NodeId(1)));
}

#[test]
fn when_all_hosts_are_busy_nothing_moves_and_all_work_folds() {
    let mut scene = Scene::new(1.0, &[0.95, 0.9, 1.0]).with(0, &[1.0; 3]);
    let (moves, plan) = Run::new().follow(60.0, &mut scene);
    assert_eq!(moves, []);
    assert_eq!(plan.limits.values().copied().collect::<Vec<_>>(), [0.05; 3]);
    assert!((plan.short_cpus() - 2.95).abs() < 0.01, "{}", plan.short_cpus());
    assert!(plan.fallback.is_empty() && plan.spread.is_empty());
}

#[test]
fn between_two_nodes_that_others_use_alike_work_does_not_go_to_and_fro() {
    for (least_share, most_share) in [(0.0, 0.1), (0.2, 0.5), (0.5, 1.0)] {
        let mut scene = Scene::new(1.0, &[least_share; 2]).with(0, &[0.5]);
        let mut run = Run::new();
        let mut moves = Vec::new();
        for round in 0..1200u32 {
            // Any share in between, without a pattern.
            let share = |node: u32| {
                let mixed = (round * 2 + node).wrapping_mul(0x9E37_79B1) >> 8;
                least_share + (most_share - least_share) * f64::from(mixed % 1000) / 1000.0
            };
            scene.others(0, share(0));
            scene.others(1, share(1));
            moves.extend(run.follow(INTERVAL_S, &mut scene).0.into_iter().map(|_| round));
        }
        assert!(moves.len() <= 3, "others take {least_share} to {most_share}: moves in rounds {moves:?}");
    }
}

#[test]
fn a_busy_host_is_left_at_once_even_by_what_has_just_come() {
    let mut scene = Scene::new(1.0, &[0.0; 3]).with(0, &[1.0; 2]);
    let mut run = Run::new();
    let (moves, _) = run.follow(2.0, &mut scene);
    let to = moves.last().unwrap().1.to;
    scene.others(to.0 as usize, 1.0);
    let (moves, plan) = run.follow(INTERVAL_S, &mut scene);
    assert_eq!(moves.len(), 1);
    assert_eq!((moves[0].1.from, plan.limits[&to]), (to, 0.05));
}

#[test]
fn an_alarm_counts_though_the_window_says_little() {
    // In a window of 400 ms that a hog's first 15 ms end, others took 4 %.
    for share in [0.0, 0.04, 0.06] {
        let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[0.5]);
        let mut run = Run::new();
        run.follow(10.0, &mut scene);
        scene.others(0, share);
        scene.nodes[0].alarm = true;
        let view = CellView { window_rounds: 0.8, ..scene.view() };
        assert_eq!(run.round(&view).moves.len(), 1, "others took {share} of the window");
    }
}

#[test]
fn an_alarm_counts_though_the_nodes_sources_have_failed() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[0.5]);
    let mut run = Run::new();
    run.follow(10.0, &mut scene);
    scene.nodes[0].pressure = Pressure::Unknown;
    scene.nodes[0].alarm = true;
    let moves = run.round(&scene.view()).moves;
    assert_eq!(moves.len(), 1, "{moves:?}");
}

#[test]
fn work_goes_back_to_its_previous_node_only_after_the_hold() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[0.6]).with(1, &[0.6]);
    scene.work[1].bytes = 100e9;
    let mut run = Run::new();
    run.follow(10.0, &mut scene);
    scene.others(0, 1.0);
    let (moves, _) = run.follow(1.0, &mut scene);
    assert_eq!((moves.len(), scene.on(1)), (1, 2));
    scene.others(0, 0.0);
    let (moves, _) = run.follow(20.0, &mut scene);
    assert_eq!((moves.len(), scene.on(0)), (1, 1), "{moves:?}");
    assert!(moves[0].0 >= 8.0, "{moves:?}");
}

#[test]
fn after_bursts_every_few_seconds_work_comes_back_later_and_later() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[0.5; 3]);
    let mut run = Run::new();
    // A burst of one second in each three, on node 1.
    let mut hits_with_work = Vec::new();
    for burst in 0..100 {
        scene.others(1, 0.0);
        run.follow(2.0, &mut scene);
        scene.others(1, 1.0);
        if scene.on(1) > 0 {
            hits_with_work.push(burst);
        }
        run.follow(1.0, &mut scene);
    }
    assert!(hits_with_work.len() <= 4, "{hits_with_work:?}");
}

#[test]
fn twice_as_many_nodes_as_are_chosen_are_watched_of_64() {
    let mut scene = Scene::new(1.0, &[0.0; 64]).with(0, &[1.0; 6]);
    let (_, plan) = Run::new().follow(5.0, &mut scene);
    assert_eq!(chosen(&plan).len(), 7, "a tenth more than is wanted");
    assert_eq!(plan.watch.len(), 14);
    assert!(chosen(&plan).keys().all(|node| plan.watch.contains(node)));
}

#[test]
fn a_node_that_was_busy_long_ago_is_watched_again_and_one_that_is_busy_now_is_not() {
    let mut scene = Scene::new(1.0, &[0.0; 20]).with(0, &[0.5]);
    scene.others(1, 1.0);
    let mut run = Run::new();
    let (_, plan) = run.follow(5.0, &mut scene);
    assert!(!plan.watch.contains(&NodeId(1)));
    for node in 1..20 {
        scene.nodes[node].pressure = Pressure::Stale { share: 0.0, age_rounds: 9 };
    }
    let (_, plan) = run.follow(5.0, &mut scene);
    assert!(!plan.watch.contains(&NodeId(1)));
    scene.nodes[5..].iter_mut().for_each(|node| node.pressure = Pressure::Fresh { share: 0.3 });
    let (_, plan) = run.follow(300.0, &mut scene);
    assert!(plan.watch.contains(&NodeId(1)), "what was seen five minutes ago is forgotten");
}

#[test]
fn a_node_of_unknown_pressure_is_never_a_destination() {
    let mut scene = Scene::new(1.0, &[0.0; 3]).with(0, &[1.0; 4]);
    scene.nodes[1].pressure = Pressure::Unknown;
    let (moves, plan) = Run::new().follow(30.0, &mut scene);
    assert!(!moves.is_empty() && moves.iter().all(|(_, step)| step.to == NodeId(2)), "{moves:?}");
    assert!(!plan.spread.contains_key(&NodeId(1)) && !plan.fallback.values().any(|&to| to == NodeId(1)));
    assert!(plan.watch.contains(&NodeId(1)), "but it is worth a look");
}

#[test]
fn when_nothing_is_known_nothing_moves_and_nothing_folds() {
    let mut scene = Scene::new(1.0, &[0.0; 3]).with(0, &[1.0; 4]);
    scene.nodes.iter_mut().for_each(|node| node.pressure = Pressure::Unknown);
    let (moves, plan) = Run::new().follow(30.0, &mut scene);
    assert_eq!((moves, plan.first, plan.limits.len()), (vec![], None, 0));
}

#[test]
fn when_pressure_becomes_unknown_limits_stay_as_they_were() {
    let mut scene = Scene::new(1.0, &[0.9, 0.9]).with(0, &[1.0]);
    let mut run = Run::new();
    run.follow(5.0, &mut scene);
    scene.nodes.iter_mut().for_each(|node| node.pressure = Pressure::Unknown);
    let (_, plan) = run.follow(30.0, &mut scene);
    assert_eq!(plan.limits, [(NodeId(0), 0.05), (NodeId(1), 0.05)].into());
}

#[test]
fn a_node_whose_cpus_went_offline_is_left_by_all_even_the_young_and_heavy() {
    let mut scene = Scene::new(1.0, &[0.0; 3]).with(0, &[0.5; 2]);
    let mut run = Run::new();
    run.follow(5.0, &mut scene);
    scene.work[0] = Work { bytes: 1e12, age_s: 0.1, ..scene.work[0] };
    scene.nodes[0].capacity_cpus = 0.0;
    scene.nodes[0].pressure = Pressure::Unknown;
    run.follow(INTERVAL_S, &mut scene);
    assert_eq!(scene.on(0), 0);
}

#[test]
fn starving_work_goes_to_the_faster_of_two_nodes_with_room() {
    let mut scene = Scene::new(1.0, &[0.0; 3]).with(0, &[1.0; 2]);
    scene.nodes[2].speed = 2.0;
    let (moves, plan) = Run::new().follow(3.0, &mut scene);
    assert_eq!(moves.iter().map(|(_, step)| step.to).collect::<Vec<_>>(), [NodeId(2)]);
    assert!(chosen(&plan).contains_key(&NodeId(2)));
}

#[test]
fn processes_younger_than_a_second_do_not_move_and_new_ones_are_spread() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0; 4]);
    let mut run = Run::new();
    for round in 0..20u64 {
        // Each round others, as `make -j4` has them.
        for (work, id) in scene.work.iter_mut().zip(0..) {
            *work = Work { id: 1000 + 10 * round + id, age_s: 0.4, ..*work };
        }
        let plan = run.round(&scene.view());
        assert_eq!(plan.moves, []);
        if round > 2 {
            assert_eq!(chosen(&plan), [(NodeId(0), 0.5), (NodeId(1), 0.5)].into(), "both are needed, and equal");
        }
    }
}

#[test]
fn new_processes_go_where_lasting_work_leaves_room() {
    let mut scene = Scene::new(2.0, &[0.0; 2]).with(0, &[1.0]).with(1, &[0.2, 0.2, 0.6]);
    scene.work[3].age_s = 0.1;
    let mut run = Run::new();
    // The young group does not count as lasting work.
    run.round(&scene.view());
    let plan = run.round(&scene.view());
    assert!(plan.spread[&NodeId(1)] > 1.2 * plan.spread[&NodeId(0)], "{:?}", plan.spread);
}

#[test]
fn a_process_of_64_threads_stays_whole_on_the_largest_node_and_the_rest_is_reported_as_short() {
    let mut scene = Scene::new(8.0, &[0.0; 3]).with(0, &[64.0]);
    scene.work[0].threads = 64;
    scene.nodes[1].capacity_cpus = 32.0;
    let mut run = Run::new();
    run.follow(5.0, &mut scene);
    assert_eq!(scene.on(1), 1);
    let (moves, plan) = run.follow(60.0, &mut scene);
    assert_eq!(moves, []);
    assert!((plan.short_cpus() - 32.0).abs() < 0.5, "{}", plan.short_cpus());
}

#[test]
fn small_processes_make_room_for_one_of_many_threads() {
    let mut scene = Scene::new(8.0, &[0.0; 2]).with(0, &[8.0, 1.0, 1.0]);
    scene.work[0] = Work { threads: 8, bytes: 1e9, ..scene.work[0] };
    Run::new().follow(5.0, &mut scene);
    assert_eq!(scene.work.iter().map(|work| work.node).collect::<Vec<_>>(), [0, 1, 1]);
}

#[test]
fn a_node_without_memory_for_it_is_no_destination() {
    let mut scene = Scene::new(1.0, &[0.0; 3]).with(0, &[1.0; 2]);
    scene.nodes[1].free_bytes = Some(1e6);
    let (moves, _) = Run::new().follow(5.0, &mut scene);
    assert_eq!(moves.iter().map(|(_, step)| step.to).collect::<Vec<_>>(), [NodeId(2)]);
}

#[test]
fn the_lighter_of_two_moves() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0; 2]);
    scene.work[0].bytes = 1e9;
    let (moves, _) = Run::new().follow(5.0, &mut scene);
    assert_eq!(moves.iter().map(|(_, step)| step.group).collect::<Vec<_>>(), [GroupId(101)]);
}

#[test]
fn moves_take_no_more_bytes_than_their_share_of_the_link_unless_others_need_the_node() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0; 2]);
    scene.work.iter_mut().for_each(|work| *work = Work { bytes: 2e9, age_s: 300.0, ..*work });
    let mut run = Run::new();
    // A tenth of 10 Gbit/s is 125 MB/s: 2 GB take 16 s.
    let (moves, _) = run.follow(30.0, &mut scene);
    assert!(matches!(moves.as_slice(), [(at_s, _)] if (15.0..18.0).contains(at_s)), "{moves:?}");
    scene.others(1, 1.0);
    let (moves, _) = run.follow(1.0, &mut scene);
    assert_eq!(moves.len(), 1, "out of a hit node at once");
}

#[test]
fn a_bad_move_makes_the_next_ones_more_expensive_and_a_good_one_cheaper_again() {
    let options = Auto::with_interval(INTERVAL_S).options;
    let mut group = super::super::memory::GroupMemory {
        node: NodeId(1),
        first_seen_at: 0.0,
        seen_at: 10.0,
        used_cpus: 0.3,
        want_cpus: 1.0,
        moved: None,
        dearness: 1.0,
        hot_share: None,
        apart: None,
    };
    let moved = super::super::memory::PastMove {
        at: 10.0,
        from: NodeId(0),
        was_urgent: false,
        instead_cpus: 0.5,
        is_judged: false,
    };
    group.moved = Some(moved);
    group.judge(&options, 11.0, 1.0);
    assert_eq!(group.dearness, 1.0, "too soon to tell");
    group.judge(&options, 14.0, 1.0);
    assert_eq!(group.dearness, 2.0);
    group.judge(&options, 15.0, 1.0);
    assert_eq!(group.dearness, 2.0, "a move is judged once");
    group.moved = Some(moved);
    group.judge(&options, 14.0, 0.3);
    assert_eq!(group.dearness, 1.0, "it gets all that it wants now");
}

#[test]
fn work_gathers_on_fewer_nodes_after_a_minute_with_room_for_it() {
    let mut scene = Scene::new(1.0, &[0.0; 4]).with(0, &[1.0]).with(1, &[1.0]).with(2, &[1.0]);
    let mut run = Run::new();
    run.follow(10.0, &mut scene);
    scene.work.iter_mut().for_each(|work| work.wants_cpus = 0.15);
    let (moves, _) = run.follow(50.0, &mut scene);
    assert_eq!(moves, [], "not yet");
    let (moves, plan) = run.follow(300.0, &mut scene);
    assert_eq!(moves.len(), 2, "{moves:?}");
    assert_eq!(chosen(&plan).len(), 1);
}

#[test]
fn the_fallback_of_each_node_is_the_best_other_one() {
    let mut scene = Scene::new(1.0, &[0.0, 0.0, 0.3, 0.0]).with(0, &[0.5]).with(1, &[0.3]);
    let (_, plan) = Run::new().follow(5.0, &mut scene);
    let fallback = |node| plan.fallback[&NodeId(node)];
    assert_eq!([fallback(0), fallback(1), fallback(2), fallback(3)], [NodeId(3), NodeId(3), NodeId(3), NodeId(1)]);
}

#[test]
fn a_second_look_that_finds_others_on_the_destination_sends_work_elsewhere() {
    let mut scene = Scene::new(1.0, &[0.0; 3]).with(0, &[1.0; 2]);
    let mut run = Run::new();
    let view = scene.view();
    run.auto.observe(&mut run.memory, &view);
    assert_eq!(run.auto.decide(&run.memory, &view).moves[0].to, NodeId(1));
    scene.others(1, 0.4);
    assert_eq!(run.auto.decide(&run.memory, &scene.view()).moves[0].to, NodeId(2));
}

#[test]
fn work_on_a_hit_node_with_nowhere_to_go_asks_for_a_second_look() {
    let mut scene = Scene::new(1.0, &[0.0, 0.9]).with(0, &[1.0]);
    let mut run = Run::new();
    let (_, plan) = run.follow(10.0, &mut scene);
    assert!(!run.auto.is_stuck(&run.memory, &scene.view(), &plan));
    scene.others(0, 1.0);
    let plan = run.round(&scene.view());
    assert!(run.auto.is_stuck(&run.memory, &scene.view(), &plan));
}
