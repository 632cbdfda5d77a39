//! The cost of a decision.

use std::time::{Duration, Instant};

use super::*;

/// 10,000 groups, all on the first node or all over the cell.
fn scene(nodes: u32, groups: u64, nodes_in_use: u64, age_s: f64) -> Scene {
    let mut scene = Scene::new(8.0, &vec![0.0; nodes as usize]);
    scene.work = (0..groups)
        .map(|id| Work {
            id,
            node: (id % nodes_in_use) as u32,
            wants_cpus: 0.01 + 0.2 * (id % 17) as f64 / 17.0,
            threads: 1,
            bytes: 1e6 * (1 + id % 100) as f64,
            age_s,
        })
        .collect();
    scene
}

/// The least time of a round's three steps together, over some rounds.
fn round_time(scene: &Scene) -> (Duration, usize) {
    let view = scene.view();
    let mut least = Duration::MAX;
    let mut moves = 0;
    for _ in 0..9 {
        let mut run = Run::new();
        run.round(&view);
        let began = Instant::now();
        let plan = run.round(&view);
        least = least.min(began.elapsed());
        moves = plan.moves.len();
    }
    (least, moves)
}

#[test]
fn a_round_of_64_nodes_and_10_000_groups_is_short() {
    // Debug builds are ten times as slow, and other tests run meanwhile.
    let bound = if cfg!(debug_assertions) { Duration::from_millis(200) } else { Duration::from_millis(20) };
    for (name, nodes_in_use, age_s) in
        [("all over the cell", 64, 60.0), ("all on one node", 1, 60.0), ("a fork storm", 64, 0.1)]
    {
        let mut scene = scene(64, 10_000, nodes_in_use, age_s);
        let (time, moves) = round_time(&scene);
        println!("10,000 groups, {name}: {:.2} ms a round, {moves} moves", time.as_secs_f64() * 1e3);
        assert!(time < bound, "{name}: {time:?}");
        know_memory(&mut scene);
        let (time, moves) = round_time(&scene);
        println!("10,000 groups of known memory, {name}: {:.2} ms a round, {moves} moves", time.as_secs_f64() * 1e3);
        assert!(time < bound, "{name}, memory known: {time:?}");
    }
}

/// Free memory of each node, and groups with memory on two nodes each.
fn know_memory(scene: &mut Scene) {
    scene.nodes.iter_mut().for_each(|node| node.free_bytes = Some(20e9));
    let resident = |work: &Work| Resident {
        group: GroupId(work.id),
        bytes: [(NodeId(work.node), 0.8 * work.bytes), (NodeId((work.node + 1) % 64), 0.2 * work.bytes)].into(),
    };
    scene.residents = scene.work.iter().map(resident).collect();
}

/// Of which each group has four: to those after it, and to some far away.
fn links(groups: u64) -> Vec<(u64, u64, f64)> {
    let link = |id: u64| [(id, (id + 1) % groups, 0.04), (id, (id * 7919 + 13) % groups, 0.002 * (id % 10) as f64)];
    (0..groups).flat_map(link).collect()
}

#[test]
fn a_round_with_20_000_links_is_as_short() {
    let bound = if cfg!(debug_assertions) { Duration::from_millis(400) } else { Duration::from_millis(20) };
    for (name, nodes_in_use) in [("all over the cell", 64), ("all on one node", 1)] {
        let mut run = Run::new();
        let view = scene(64, 10_000, nodes_in_use, 60.0).linked(&links(10_000)).view();
        assert!(view.links.len() > 19_900, "{} links", view.links.len());
        run.round(&view);
        let nr_clustered: usize = run.memory.clusters.iter().map(Vec::len).sum();
        let (mut least, mut longest, mut moves) = (Duration::MAX, Duration::ZERO, 0);
        // Clusters are looked for in one of twenty rounds.
        for _ in 0..5 {
            let mut longest_of_20 = Duration::ZERO;
            for _ in 0..20 {
                let began = Instant::now();
                moves = run.round(&view).moves.len();
                let took = began.elapsed();
                least = least.min(took);
                longest_of_20 = longest_of_20.max(took);
            }
            longest = if longest.is_zero() { longest_of_20 } else { longest.min(longest_of_20) };
        }
        println!(
            "10,000 groups with 20,000 links, {name}: {:.2} ms a round, {:.2} ms where clusters are looked for, {nr_clustered} \
             groups in clusters, {moves} moves",
            least.as_secs_f64() * 1e3,
            longest.as_secs_f64() * 1e3
        );
        assert!(longest < bound, "{name}: {longest:?}");
        assert!(nr_clustered > 1000, "{name}: {nr_clustered}");
    }
}
