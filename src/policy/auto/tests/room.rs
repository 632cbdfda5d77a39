//! The room that latency objectives leave.

use super::*;

/// The limits after a minute in which two nodes of four CPUs, of which others take these shares, have this room.
fn limits(others_shares: &[f64; 2], rooms: [f64; 2], scene_of: impl Fn(Scene) -> Scene) -> BTreeMap<NodeId, f64> {
    let mut scene = scene_of(Scene::new(4.0, others_shares));
    scene.nodes.iter_mut().zip(rooms).for_each(|(node, room)| node.room_share = room);
    Run::new().follow(60.0, &mut scene).1.limits
}

#[test]
fn calm_nodes_are_limited_to_their_room_and_shared_ones_to_that_part_of_their_limit() {
    let busy = |scene: Scene| scene.with(0, &[1.0; 4]).with(1, &[1.0; 4]);
    assert_eq!(limits(&[0.0, 0.0], [1.0, 1.0], busy), BTreeMap::new());
    assert_eq!(limits(&[0.0, 0.0], [0.5, 1.0], busy), BTreeMap::from([(NodeId(0), 2.0)]));
    let whole = limits(&[0.4, 0.4], [1.0, 1.0], busy);
    let part = limits(&[0.4, 0.4], [0.25, 0.25], busy);
    for node in [NodeId(0), NodeId(1)] {
        assert!((part[&node] - whole[&node] / 4.0).abs() < 0.02, "{whole:?} {part:?}");
    }
}

#[test]
fn a_node_of_unknown_pressure_is_limited_to_its_room_too() {
    let mut scene = Scene::new(4.0, &[0.0]).with(0, &[1.0; 4]);
    scene.nodes[0].pressure = Pressure::Unknown;
    scene.nodes[0].room_share = 0.25;
    assert_eq!(Run::new().follow(10.0, &mut scene).1.limits, BTreeMap::from([(NodeId(0), 1.0)]));
}

#[test]
fn a_limit_of_room_falls_at_once_and_is_gone_when_there_is_all_room() {
    let mut scene = Scene::new(4.0, &[0.0]).with(0, &[1.0; 4]);
    let mut run = Run::new();
    run.follow(10.0, &mut scene);
    scene.nodes[0].room_share = 0.5;
    assert_eq!(run.round(&scene.view()).limits[&NodeId(0)], 2.0);
    scene.nodes[0].room_share = 1.0;
    assert_eq!(run.round(&scene.view()).limits, BTreeMap::new());
}

#[test]
fn work_leaves_a_node_with_little_room_for_one_with_all() {
    let mut scene = Scene::new(4.0, &[0.0, 0.0]).with(0, &[1.0; 3]);
    let mut run = Run::new();
    run.follow(20.0, &mut scene);
    assert_eq!(scene.on(0), 3);
    scene.nodes[0].room_share = 0.25;
    run.follow(20.0, &mut scene);
    assert!(scene.on(1) >= 2, "{:?}", scene.work);
}
