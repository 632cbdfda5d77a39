//! Groups that share memory: clusters, and how they move.

use super::*;

/// A link that makes a cluster of groups that want a quarter of a CPU or less, and one that doesn't.
const STRONG_CPUS: f64 = 0.05;
const WEAK_CPUS: f64 = 0.001;

fn ids(cluster: &[u64]) -> Vec<GroupId> {
    cluster.iter().copied().map(GroupId).collect()
}

fn clusters(run: &Run) -> Vec<Vec<u64>> {
    run.memory.clusters.iter().map(|cluster| cluster.iter().map(|id| id.0).collect()).collect()
}

/// Four nodes of one CPU with a pair of sharers on two of them.
fn split_pair() -> Scene {
    Scene::new(1.0, &[0.0; 4]).with(0, &[0.3]).with(1, &[0.3]).linked(&[(100, 101, STRONG_CPUS)])
}

#[test]
fn sharers_on_different_nodes_are_brought_together_and_stay() {
    let mut scene = split_pair();
    let mut run = Run::new();
    let (moves, plan) = run.follow(5.0, &mut scene);
    assert_eq!(moves.len(), 1, "{moves:?}");
    assert_eq!(scene.node_of(100), scene.node_of(101));
    assert!(plan.clusters.is_empty(), "nothing moves any more");
    let (moves, _) = run.follow(1200.0, &mut scene);
    assert!(moves.is_empty(), "{moves:?}");
}

#[test]
fn a_plan_names_the_clusters_of_which_groups_move() {
    let mut scene = split_pair();
    let mut run = Run::new();
    let plan = (0..20).map(|_| {
        let plan = run.round(&scene.view());
        scene.carry_out(&plan);
        plan
    });
    let moving = plan.into_iter().find(|plan| !plan.moves.is_empty()).expect("a cluster comes together");
    assert_eq!(moving.clusters, [ids(&[100, 101])]);
}

#[test]
fn a_weak_link_is_no_reason_to_move() {
    let mut scene = Scene::new(1.0, &[0.0; 4]).with(0, &[0.3]).with(1, &[0.3]).linked(&[(100, 101, WEAK_CPUS)]);
    let (moves, _) = Run::new().follow(30.0, &mut scene);
    assert!(moves.is_empty(), "{moves:?}");
}

#[test]
fn sharers_are_not_brought_together_where_they_would_lose_more_than_pages_cost() {
    // Each wants a CPU of its own.
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0]).with(1, &[1.0]).linked(&[(100, 101, 0.2)]);
    let mut run = Run::new();
    let (moves, _) = run.follow(60.0, &mut scene);
    assert!(moves.is_empty() && clusters(&run).is_empty(), "{moves:?}");
}

#[test]
fn a_cluster_without_room_on_its_nodes_gathers_on_an_idle_one() {
    let mut scene = Scene::new(1.0, &[0.0; 3]).with(0, &[0.4, 0.5]).with(1, &[0.4, 0.5]);
    scene.link(&[(100, 102, 0.1)]);
    Run::new().follow(10.0, &mut scene);
    assert_eq!((scene.node_of(100), scene.node_of(102)), (2, 2));
    assert_eq!((scene.node_of(101), scene.node_of(103)), (0, 1));
}

#[test]
fn a_hit_nodes_cluster_flees_together() {
    // Single groups would be spread: no node has room for all that was on the first.
    let wants = [0.4, 0.4, 0.7, 0.7];
    let mut scene = Scene::new(2.0, &[0.0; 3]).with(0, &wants).with(1, &[0.9]).with(2, &[0.9]);
    scene.link(&[(100, 102, 0.05), (101, 103, 0.05)]);
    let mut run = Run::new();
    run.follow(20.0, &mut scene);
    scene.others(0, 1.0);
    run.follow(3.0, &mut scene);
    assert_eq!(scene.on(0), 0);
    assert_eq!(scene.node_of(100), scene.node_of(102));
    assert_eq!(scene.node_of(101), scene.node_of(103));
    assert_ne!(scene.node_of(100), scene.node_of(101));
}

/// More memory than may move.
const STAYS_BYTES: f64 = 1e12;

impl Scene {
    /// Adds a group that is too large to move.
    fn with_rock(mut self, node: u32, wants_cpus: f64) -> Self {
        self = self.with(node, &[wants_cpus]);
        self.work.last_mut().expect("just added").bytes = STAYS_BYTES;
        self
    }
}

#[test]
fn a_cluster_that_finds_no_place_as_a_whole_is_split_if_cpu_is_worth_more() {
    let nodes_after = |cut_cpus| {
        let scene = Scene::new(2.0, &[0.0; 2]).with(0, &[0.9, 0.9]).with_rock(0, 0.9).with_rock(1, 1.0);
        let mut scene = scene.linked(&[(100, 101, cut_cpus)]);
        let mut run = Run::new();
        run.follow(30.0, &mut scene);
        assert_eq!(clusters(&run), [[100, 101]]);
        (scene.node_of(100), scene.node_of(101))
    };
    let (a, b) = nodes_after(0.05);
    assert_ne!(a, b, "a split costs little");
    let (a, b) = nodes_after(0.8);
    assert_eq!(a, b, "a split costs more than it brings");
}

#[test]
fn a_process_of_more_threads_than_a_node_has_cpus_is_in_no_cluster() {
    let mut scene = Scene::new(4.0, &[0.0; 2]);
    scene.work.push(Work { id: 1, node: 0, wants_cpus: 64.0, threads: 64, bytes: 1e6, age_s: 60.0 });
    scene.work.push(Work { id: 2, node: 1, wants_cpus: 0.5, threads: 1, bytes: 1e6, age_s: 60.0 });
    scene.link(&[(1, 2, 0.3)]);
    let mut run = Run::new();
    // What it wants shows while there is somebody else's CPU to wait for.
    run.follow(60.0, &mut scene);
    assert!(clusters(&run).is_empty());
}

#[test]
fn of_a_chain_too_long_for_a_node_the_heaviest_links_are_kept() {
    let mut scene = Scene::new(1.0, &[0.0; 4]).with(0, &[0.3; 3]).with(1, &[0.3; 3]);
    scene.link(&[(100, 101, 0.04), (101, 102, 0.1), (102, 103, 0.08), (103, 104, 0.09), (104, 105, 0.1)]);
    let mut run = Run::new();
    run.round(&scene.view());
    assert_eq!(clusters(&run), [vec![100, 101, 102], vec![103, 104, 105]]);
}

#[test]
fn a_cluster_too_large_for_any_nodes_memory_is_none() {
    let mut scene = split_pair();
    scene.nodes.iter_mut().for_each(|node| node.free_bytes = Some(5e6));
    let mut run = Run::new();
    run.round(&scene.view());
    assert!(clusters(&run).is_empty(), "15 MB at most for 20 MB");
    scene.nodes[3].free_bytes = Some(25e6);
    let mut run = Run::new();
    run.follow(10.0, &mut scene);
    assert_eq!((scene.node_of(100), scene.node_of(101)), (3, 3));
}

#[test]
fn a_link_that_fades_keeps_its_cluster_until_it_is_clearly_weaker() {
    let mut scene = split_pair();
    let mut run = Run::new();
    run.follow(5.0, &mut scene);
    // Of .3 CPU each.
    scene.link(&[(100, 101, 0.04 * 0.3)]);
    run.follow(30.0, &mut scene);
    assert_eq!(clusters(&run), [[100, 101]]);
    scene.link(&[(100, 101, 0.02 * 0.3)]);
    run.follow(30.0, &mut scene);
    assert!(clusters(&run).is_empty());
    scene.link(&[(100, 101, 0.04 * 0.3)]);
    run.follow(30.0, &mut scene);
    assert!(clusters(&run).is_empty(), "to make one takes more than to keep it");
    scene.link(&[]);
    let (moves, _) = run.follow(30.0, &mut scene);
    assert!(moves.is_empty() && run.memory.groups.values().all(|group| group.apart.is_none()));
}

#[test]
fn of_two_clusters_that_compete_for_room_the_one_with_the_heavier_links_gets_it() {
    // The first node has room for one more group, the others for none.
    let scene = Scene::new(1.0, &[0.0; 3]).with(0, &[0.3, 0.3]).with(1, &[0.35]).with(2, &[0.35]);
    let mut scene = scene.with_rock(1, 0.65).with_rock(2, 0.65).linked(&[(100, 102, 0.05), (101, 103, 0.1)]);
    let (moves, _) = Run::new().follow(60.0, &mut scene);
    assert_eq!(moves.iter().map(|(_, step)| (step.group.0, step.to.0)).collect::<Vec<_>>(), [(103, 0)]);
}

#[test]
fn turns_taken_on_one_cpu_are_no_lack_of_cpu() {
    let mut scene = Scene::new(1.0, &[0.0; 4]).with(0, &[0.45]).with(1, &[0.45]).linked(&[(100, 101, STRONG_CPUS)]);
    let mut run = Run::new();
    run.follow(5.0, &mut scene);
    assert_eq!(scene.node_of(100), scene.node_of(101));
    // Together, each waits while the other runs.
    scene.work.iter_mut().for_each(|work| work.wants_cpus = 0.7);
    let (moves, _) = run.follow(60.0, &mut scene);
    assert!(moves.is_empty(), "{moves:?}");
    // It is forgotten in time: they may have become busier.
    let (moves, _) = run.follow(600.0, &mut scene);
    assert!(!moves.is_empty() && moves.len() <= 2 * 2, "{moves:?}");
}

#[test]
fn what_has_come_together_is_not_split_at_once_even_by_the_one_that_did_not_move() {
    let mut scene = split_pair().with_rock(0, 0.1).with_rock(1, 0.1);
    let mut run = Run::new();
    run.follow(3.0, &mut scene);
    let together = scene.node_of(100);
    assert_eq!(together, scene.node_of(101));
    // A split would bring more than it costs.
    scene.work.iter_mut().filter(|work| work.bytes == STAYS_BYTES).for_each(|rock| rock.wants_cpus = 0.9);
    let (moves, _) = run.follow(6.0, &mut scene);
    assert!(moves.is_empty(), "{moves:?}");
    run.follow(10.0, &mut scene);
    assert_eq!(scene.node_of(100), scene.node_of(101), "it left as a whole");
    assert_ne!(scene.node_of(100), together);
}

#[test]
fn a_node_is_given_up_with_its_cluster_whole() {
    let mut scene = Scene::new(4.0, &[0.0; 3]).with(0, &[0.2]).with(1, &[0.1, 0.1]);
    scene.link(&[(101, 102, 0.02)]);
    let mut run = Run::new();
    run.memory.chosen = [0, 1].map(NodeId).into();
    let (moves, _) = run.follow(200.0, &mut scene);
    assert_eq!(moves.len(), 2, "{moves:?}");
    assert_eq!(moves[0].0, moves[1].0);
    assert_eq!((scene.node_of(101), scene.node_of(102)), (0, 0));
}

#[test]
fn groups_are_not_joined_onto_a_node_that_is_hit_or_closed() {
    for others_share in [0.9, 1.0] {
        let mut scene = split_pair();
        scene.others(1, others_share);
        scene.work[1].wants_cpus = 0.05;
        let (moves, _) = Run::new().follow(30.0, &mut scene);
        assert!(moves.iter().all(|(_, step)| step.to != NodeId(1)), "{moves:?}");
    }
}
