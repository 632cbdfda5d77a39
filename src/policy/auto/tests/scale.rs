//! The cost of a decision.

use std::time::{Duration, Instant};

use super::*;

/// 10,000 groups, all on the first node or all over the cell.
fn view(nodes: u32, groups: u64, nodes_in_use: u64, age_s: f64) -> Scene {
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
        let (time, moves) = round_time(&view(64, 10_000, nodes_in_use, age_s));
        println!("10,000 groups, {name}: {:.2} ms a round, {moves} moves", time.as_secs_f64() * 1e3);
        assert!(time < bound, "{name}: {time:?}");
    }
}
