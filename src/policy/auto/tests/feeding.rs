//! How running tasks make room for tasks that wait for admission.

use super::*;
use crate::cell::Admission;

/// A machine of capacity 0.5 with its free reservation and the waiting tasks, as in the simulator; intervals of a minute.
fn machine(id: u32, load_cpus: f64, free_cpus: f64, waiting_cpus: &[f64]) -> Node {
    Node {
        id: NodeId(id),
        capacity_cpus: 0.5,
        pressure: Pressure::Fresh { share: 0.0 },
        load_cpus,
        waiting_cpus: waiting_cpus.iter().sum(),
        admission: Some(Admission { free_cpus, waiting_cpus: waiting_cpus.to_vec() }),
        ..Node::default()
    }
}

fn task(id: u64, node: u32, request_cpus: f64, usage_cpus: f64, memory_bytes: f64) -> Group {
    let demand = Demand { request_cpus, usage_cpus, memory_bytes, ..Demand::default() };
    Group { id: GroupId(id), node: NodeId(node), nr_tasks: 1, demand, age_rounds: 10.0, ..Group::default() }
}

fn decide(nodes: Vec<Node>, groups: Vec<Group>) -> Plan {
    let mut run = Run { auto: Auto::with_interval(60.0), memory: AutoMemory::default() };
    run.auto.options.others_grain_cpus = 0.025;
    run.round(&CellView { nodes, groups, ..CellView::default() })
}

fn ids(plan: &Plan) -> Vec<u64> {
    plan.moves.iter().map(|step| step.group.0).collect()
}

const MB: f64 = 1e6;

#[test]
fn running_tasks_make_room_for_the_smallest_that_waits() {
    let nodes = vec![machine(0, 0.1, 0.0, &[0.05]), machine(1, 0.1, 0.0, &[])];
    let plan = decide(nodes, vec![task(1, 0, 0.03, 0.01, MB), task(2, 0, 0.03, 0.01, MB), task(3, 0, 0.03, 0.01, MB)]);
    assert_eq!(ids(&plan), [1, 2], "no more than it takes");
    assert_eq!(plan.moves[0].to, NodeId(1));
}

#[test]
fn when_not_all_of_the_room_can_be_made_none_is() {
    let nodes = vec![machine(0, 0.1, 0.0, &[0.2]), machine(1, 0.1, 0.0, &[])];
    let plan = decide(nodes, vec![task(1, 0, 0.05, 0.01, MB), task(2, 0, 0.05, 0.01, MB)]);
    assert!(ids(&plan).is_empty());
}

#[test]
fn those_that_free_most_for_their_bytes_go_first() {
    let nodes = vec![machine(0, 0.1, 0.0, &[0.05]), machine(1, 0.1, 0.0, &[])];
    let heavy = task(1, 0, 0.05, 0.01, 4000.0 * MB);
    assert_eq!(ids(&decide(nodes, vec![heavy, task(2, 0, 0.05, 0.01, 100.0 * MB)])), [2]);
}

#[test]
fn they_go_to_the_least_loaded_machine_and_to_none_past_nine_tenths() {
    let nodes = vec![machine(0, 0.2, 0.0, &[0.05]), machine(1, 0.3, 0.0, &[]), machine(2, 0.15, 0.0, &[])];
    assert_eq!(decide(nodes, vec![task(1, 0, 0.05, 0.02, MB)]).moves[0].to, NodeId(2));
    let nodes = vec![machine(0, 0.2, 0.0, &[0.05]), machine(1, 0.44, 0.0, &[])];
    assert!(ids(&decide(nodes, vec![task(1, 0, 0.05, 0.02, MB)])).is_empty());
}

#[test]
fn without_anything_that_waits_only_steep_gains_in_balance_move() {
    let nodes = vec![machine(0, 0.3, 0.2, &[]), machine(1, 0.0, 0.5, &[])];
    let plan = decide(nodes.clone(), vec![task(1, 0, 0.1, 0.1, 10.0 * MB), task(2, 0, 0.001, 0.001, 8000.0 * MB)]);
    assert_eq!(ids(&plan), [1]);
    let plan = decide(nodes, vec![task(2, 0, 0.001, 0.001, 8000.0 * MB)]);
    assert!(ids(&plan).is_empty());
}

#[test]
fn where_nothing_is_admitted_nothing_is_fed_or_balanced() {
    let live = |id, load_cpus| Node { admission: None, ..machine(id, load_cpus, 0.0, &[0.05]) };
    let plan = decide(vec![live(0, 0.3), live(1, 0.0)], vec![task(1, 0, 0.1, 0.1, MB)]);
    assert!(ids(&plan).is_empty());
}
