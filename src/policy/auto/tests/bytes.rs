//! Memory as a resource: room at the destination, what moves fetch, and what of that is learned.

use super::*;
use crate::cell::Bytes;
use crate::policy::PolicySettings;

const MB: f64 = 1e6;

impl Scene {
    /// Where the memory of a group is, in MB by node.
    fn resident(mut self, id: u64, megabytes: &[(u32, f64)]) -> Self {
        let bytes = megabytes.iter().map(|&(node, megabytes)| (NodeId(node), megabytes * MB)).collect();
        self.residents.push(Resident { group: GroupId(id), bytes });
        self.residents.sort_by_key(|resident| resident.group);
        self
    }

    /// Free memory of each node, MB.
    fn free(mut self, megabytes: &[f64]) -> Self {
        self.nodes.iter_mut().zip(megabytes).for_each(|(node, megabytes)| node.free_bytes = Some(megabytes * MB));
        self
    }

    fn sized(mut self, megabytes: f64) -> Self {
        self.work.iter_mut().for_each(|work| *work = Work { bytes: megabytes * MB, age_s: 300.0, ..*work });
        self
    }

    fn arrive(&mut self, node: usize, pages: f64) {
        *self.nodes[node].fetched_pages.get_or_insert(0.0) += pages;
    }
}

fn places(scene: &Scene) -> Vec<u32> {
    scene.work.iter().map(|work| work.node).collect()
}

#[test]
fn a_group_goes_only_where_its_memory_has_room_and_once_it_has() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0; 2]).sized(100.0).free(&[500.0, 60.0]);
    let mut run = Run::new();
    let (moves, plan) = run.follow(10.0, &mut scene);
    assert_eq!(moves, []);
    let bytes = plan.bytes.unwrap();
    assert_eq!((bytes.nr_no_room, bytes.nr_over_budget, bytes.fetched), (2, 0, 0.0));
    scene = scene.free(&[500.0, 120.0]);
    let (moves, plan) = run.follow(10.0, &mut scene);
    assert_eq!(moves.len(), 1);
    assert_eq!(plan.bytes.unwrap().nr_no_room, 0, "the other one has a CPU now");
}

#[test]
fn memory_that_is_there_already_needs_no_room() {
    // It was there before, and what it has left fills the node.
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0; 2]).sized(100.0).free(&[500.0, 30.0]);
    scene = scene.resident(100, &[(0, 100.0)]).resident(101, &[(0, 20.0), (1, 80.0)]);
    let (moves, _) = Run::new().follow(5.0, &mut scene);
    assert_eq!(moves.iter().map(|(_, step)| step.group).collect::<Vec<_>>(), [GroupId(101)]);
}

#[test]
fn what_is_still_to_come_of_a_group_is_not_free_for_another() {
    let scene = || Scene::new(2.0, &[0.0; 2]).with(0, &[1.0; 3]).sized(100.0).free(&[500.0, 150.0]);
    // The free memory of the node is the same in all rounds, as none of what it expects comes.
    let known = |scene: Scene| (100..104).fold(scene, |scene, id| scene.resident(id, &[(0, 100.0)]));
    let mut run = Run::new();
    let mut few = known(scene());
    assert_eq!(run.follow(5.0, &mut few).0.len(), 1);
    few = few.with(0, &[1.0]);
    few.work[3] = Work { bytes: 100.0 * MB, age_s: 300.0, ..few.work[3] };
    let (moves, plan) = run.follow(10.0, &mut few);
    assert_eq!((moves, plan.bytes.unwrap().nr_no_room), (vec![], 3));
    // What has not come after a minute doesn't.
    assert_eq!(run.follow(60.0, &mut few).0.len(), 1);
}

#[test]
fn what_moves_take_of_the_budget_is_what_they_fetch() {
    let spent = |scene: &Scene, run: &mut Run| {
        let before = run.memory.bytes_left + run.auto.options.bytes_per_round;
        let plan = run.round(&scene.view());
        assert_eq!(plan.moves.len(), 1);
        let spent = before - run.memory.bytes_left;
        assert!((spent - plan.bytes.map_or(spent, |bytes| bytes.fetched)).abs() < 1.0, "{plan:?}");
        (spent / MB * 1e3).round() / 1e3
    };
    let scene = || Scene::new(1.0, &[0.0; 2]).with(0, &[1.0; 2]).sized(40.0);
    assert_eq!(spent(&scene(), &mut Run::new()), 40.0, "all, where nothing is known");
    let resident = |scene: Scene| (100..102).fold(scene, |scene, id| scene.resident(id, &[(0, 30.0), (1, 10.0)]));
    // In a distributed VM a page of the guest's node 1 is on the host that touched it last.
    assert_eq!(spent(&resident(scene()), &mut Run::new()), 40.0);
    let mut followed = resident(scene());
    followed.memory_follows = true;
    assert_eq!(spent(&followed, &mut Run::new()), 30.0);

    // Back after 30 s to a host that has a part of the pages still.
    let mut back = resident(Scene::new(1.0, &[0.0; 2]).with(0, &[1.0]).with(1, &[1.0])).sized(40.0);
    let mut run = Run::new();
    back.others(0, 0.9);
    run.follow(2.0, &mut back);
    let moved = run.memory.groups[&GroupId(100)].moved;
    assert!(moved.is_some_and(|moved| moved.from == NodeId(0)), "{:?}", places(&back));
    let holding = |run: &Run, view: &CellView, rounds: f64| {
        let mut memory = run.memory.clone();
        memory.now = moved.unwrap().at + rounds;
        let group = view.groups.iter().find(|group| group.id == GroupId(100)).unwrap();
        let options = run.auto.options;
        let known = (view.resident(group.id), memory.groups.get(&group.id));
        let holding = super::super::bytes::Holding::new(&options, &memory, view, group, known);
        (holding.fetched_bytes(NodeId(0)) / MB * 1e3).round() / 1e3
    };
    let view = back.view();
    assert_eq!(holding(&run, &view, 0.0), 20.0, "half of its pages at once");
    assert_eq!(holding(&run, &view, 120.0), 30.0, "and a quarter after a minute");
}

#[test]
fn a_move_waits_for_the_budget_and_the_plan_says_so() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0; 2]).sized(200.0).free(&[1e4; 2]);
    let settings = PolicySettings { round_s: INTERVAL_S, byte_budget: Some(20.0 * MB), ..PolicySettings::default() };
    let mut run = Run { auto: Auto::from(&settings), ..Run::new() };
    let (moves, plan) = run.follow(9.0, &mut scene);
    let bytes = plan.bytes.unwrap();
    assert_eq!((moves, bytes), (vec![], Bytes { fetched: 0.0, left: 180.0 * MB, nr_no_room: 0, nr_over_budget: 2 }));
    let (moves, plan) = run.follow(1.0, &mut scene);
    assert_eq!(moves.len(), 1, "200 MB at 20 MB/s");
    assert_eq!(plan.bytes.unwrap(), Bytes { fetched: 200.0 * MB, left: 0.0, nr_no_room: 0, nr_over_budget: 0 });
}

/// A node of which others take all but little is left by group 100, whose new host counts what comes.
fn fetch(per_round: &[f64], usual: f64, also: bool) -> (Run, Scene, Vec<crate::cell::Fetched>) {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0]).sized(80.0);
    scene.nodes.iter_mut().for_each(|node| node.fetched_pages = Some(0.0));
    let mut run = Run::new();
    for _ in 0..200 {
        scene.arrive(1, usual);
        run.follow(INTERVAL_S, &mut scene);
    }
    scene.others(0, 1.0);
    run.follow(INTERVAL_S, &mut scene);
    assert_eq!(places(&scene), [1]);
    let mut fetched = Vec::new();
    for round in 0..40 {
        scene.arrive(1, usual + per_round.get(round).copied().unwrap_or(0.0));
        if also && round == 3 {
            scene = scene.with(0, &[0.05]);
            scene.work[1].age_s = 60.0;
        }
        fetched.extend(run.follow(INTERVAL_S, &mut scene).1.fetched);
    }
    (run, scene, fetched)
}

#[test]
fn what_a_group_fetched_after_a_move_is_what_its_next_moves_are_expected_to() {
    // 80 MB are 19,531 pages, and 2,000 of them came, beside what always comes.
    let (run, _, fetched) = fetch(&[1500.0, 400.0, 100.0], 50.0, false);
    let [it] = fetched.as_slice() else { panic!("{fetched:?}") };
    assert_eq!((it.group, it.to, it.of_bytes), (GroupId(100), NodeId(1), 80.0 * MB));
    assert!((it.bytes / 4096.0 - 2000.0).abs() < 100.0, "{it:?}");
    let hot_share = run.memory.groups[&GroupId(100)].hot_share.unwrap();
    assert!((hot_share - 0.1).abs() < 0.01, "{hot_share}");
    // Where it is, more comes than before, as long as it is there.
    let mut per_round = [150.0; 40];
    per_round[0] += 1500.0;
    per_round[1] += 500.0;
    let (_, _, fetched) = fetch(&per_round, 50.0, false);
    assert!((fetched[0].bytes / 4096.0 - 2000.0).abs() < 100.0, "{fetched:?}");
    // More than it has came for others.
    let (run, _, _) = fetch(&[30_000.0], 0.0, false);
    assert_eq!(run.memory.groups[&GroupId(100)].hot_share, Some(1.0));
}

#[test]
fn nothing_is_learned_where_hosts_do_not_tell_or_begin_to_count_anew() {
    let (mut run, mut scene, _) = fetch(&[], 50.0, false);
    run.memory.groups.get_mut(&GroupId(100)).unwrap().hot_share = None;
    scene.nodes[0].fetched_pages = Some(1e6);
    (0..2).for_each(|node| scene.others(node, [0.0, 1.0][node]));
    run.follow(60.0, &mut scene);
    assert_eq!(places(&scene), [0], "it has gone back");
    let mut again = run.memory.clone();
    again.nodes.get_mut(&NodeId(0)).unwrap().fetching = None;
    scene.nodes[0].fetched_pages = Some(3.0);
    run.follow(INTERVAL_S, &mut scene);
    assert_eq!(run.memory.nodes[&NodeId(0)].fetching, None);
    scene.nodes[0].fetched_pages = None;
    run.follow(INTERVAL_S, &mut scene);
    assert_eq!(run.memory.nodes[&NodeId(0)].arrivals, None);
}

#[test]
fn what_two_groups_fetch_at_once_tells_of_neither() {
    let mut scene = Scene::new(4.0, &[0.0; 2]).with(0, &[1.0; 2]).sized(80.0);
    scene.nodes.iter_mut().for_each(|node| node.fetched_pages = Some(0.0));
    let mut run = Run::new();
    run.follow(20.0, &mut scene);
    scene.others(0, 1.0);
    run.follow(INTERVAL_S, &mut scene);
    assert_eq!(places(&scene), [1, 1]);
    scene.arrive(1, 5000.0);
    let (_, plan) = run.follow(20.0, &mut scene);
    assert!(plan.fetched.is_empty() && run.memory.groups.values().all(|group| group.hot_share.is_none()));
}

#[test]
fn a_page_costs_what_the_hosts_have_measured() {
    // Two groups of half a CPU each want more than a busy node gives; a page of a millisecond makes 80 MB a stall of 20 s.
    let scene = || Scene::new(1.0, &[0.0; 2]).with(0, &[0.6; 2]).sized(80.0);
    let mut cheap = scene();
    assert_eq!(Run::new().follow(10.0, &mut cheap).0.len(), 1);
    let mut dear = scene();
    dear.page_cost_rounds = Some(10e-3 / INTERVAL_S);
    assert_eq!(Run::new().follow(10.0, &mut dear).0, []);
}

#[test]
fn a_hit_nodes_work_is_sent_where_its_memory_has_room() {
    let scene = Scene::new(1.0, &[0.0; 3]).with(0, &[0.5]).sized(100.0);
    let fallback = |scene: Scene| Run::new().round(&scene.view()).fallback[&NodeId(0)];
    assert_eq!(fallback(scene.clone()), NodeId(1));
    assert_eq!(fallback(scene.clone().free(&[500.0, 50.0, 200.0])), NodeId(2));
    assert_eq!(fallback(scene.free(&[500.0, 50.0, 60.0])), NodeId(1), "rather than none");
}

#[test]
fn new_processes_go_where_memory_is_unless_it_is_short_everywhere() {
    let scene = Scene::new(2.0, &[0.0; 3]).with(0, &[1.5]).with(1, &[1.5]).sized(100.0);
    let spread = |free: &[f64]| {
        let spread = Run::new().round(&scene.clone().free(free).view()).spread;
        spread.iter().map(|(id, weight)| (id.0, (weight * 100.0).round())).collect::<Vec<_>>()
    };
    assert_eq!(spread(&[500.0; 3]), [(0, 50.0), (1, 50.0), (2, 0.0)]);
    assert_eq!(spread(&[500.0, 50.0, 500.0]), [(0, 100.0), (2, 0.0)]);
    assert_eq!(spread(&[500.0, 500.0, 50.0]), [(0, 50.0), (1, 50.0)]);
    assert_eq!(spread(&[50.0; 3]), [(0, 50.0), (1, 50.0)], "some must take them");
}

#[test]
fn off_a_hit_node_work_goes_even_where_its_memory_has_no_room_if_it_has_none_anywhere() {
    let flee = |free: &[f64]| {
        let mut scene = Scene::new(1.0, &[0.0; 3]).with(0, &[1.0]).sized(100.0).free(free);
        let mut run = Run::new();
        run.follow(2.0, &mut scene);
        scene.others(0, 1.0);
        run.follow(1.0, &mut scene);
        places(&scene)
    };
    assert_eq!(flee(&[500.0, 50.0, 200.0]), [2]);
    assert_eq!(flee(&[500.0, 50.0, 60.0]), [1], "rather than stay without CPU");
}
