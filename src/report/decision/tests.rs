//! Decisions as text.

use std::time::Duration;

use super::*;
use crate::cell::{CellView, Demand, Group, Move};
use crate::sense::Reading;

pub(super) fn line_of(round: &Round) -> String {
    Decision::of(round).line()
}

fn node(id: u32, pressure: Pressure) -> Node {
    Node { id: NodeId(id), capacity_cpus: 1.0, pressure, load_cpus: pressure.share().unwrap_or(0.0), ..Node::default() }
}

/// Round 4: node 0 with a group of 0.48 CPU and 3 MiB, and node 1, which is idle.
pub(in crate::report) fn round(outcome: Outcome, retargeted: Option<Retargeted>) -> Round {
    let demand = Demand { usage_cpus: 0.48, memory_bytes: 3.0 * 1048576.0, ..Demand::default() };
    let groups = vec![Group { id: GroupId(7), node: NodeId(0), nr_tasks: 1, demand, ..Group::default() }];
    let moves = match outcome {
        Outcome::Moves { .. } => vec![Move { group: GroupId(7), from: NodeId(0), to: NodeId(1) }],
        _ => vec![],
    };
    let nodes = vec![node(0, Pressure::Fresh { share: 0.52 }), node(1, Pressure::Fresh { share: 0.0 })];
    let probe =
        Reading::Taken { share: 0.0, age: Duration::from_millis(400), period: Duration::from_secs(1), spin: None };
    Round {
        number: 4,
        destination: NodeId(0),
        readings: BTreeMap::from([
            (NodeId(0), NodeReadings { steal_share: 0.52, has_run: true, ..NodeReadings::default() }),
            (NodeId(1), NodeReadings { probe: Some(probe), ..NodeReadings::default() }),
        ]),
        view: CellView { nodes, groups, ..CellView::default() },
        plan: Plan {
            first: Some(NodeId(1)),
            second: None,
            moves,
            verdicts: vec![Verdict { node: NodeId(0), outcome }],
            ..Plan::default()
        },
        retargeted,
        retarget_cpu_us: 85,
        nr_queued: vec![6, 0],
        ..Round::default()
    }
}

pub(in crate::report) const MOVES: Outcome = Outcome::Moves { moved_cpus: 0.48 };
pub(in crate::report) const STAYS: Outcome = Outcome::BelowTrigger { pressure_cpus: 0.1, trigger_cpus: 0.25 };
pub(in crate::report) const DONE: Retargeted = Retargeted { epoch: 3, nr_moved: 6, nr_kicked: 1 };

#[test]
fn a_cluster_that_moves_is_named() {
    let line = |clusters: &[&[u64]]| {
        let mut round = round(MOVES, Some(DONE));
        round.plan.clusters = clusters.iter().map(|ids| ids.iter().copied().map(GroupId).collect()).collect();
        line_of(&round)
    };
    let named = "3.0 MiB moves; 7 and 9 share memory and are kept together; pressure";
    assert!(line(&[&[7, 9]]).contains(named), "{}", line(&[&[7, 9]]));
    let text = line(&[&[1, 2, 3, 4, 5, 7]]);
    assert!(text.contains("; 1, 2, 3, 4 and 2 more share memory and are kept together; "), "{text}");
    assert!(!line(&[&[8, 9]]).contains("share memory"), "no group of it moves");
}

#[test]
fn a_move_is_reported_with_its_reason_and_effect() {
    assert_eq!(
        line_of(&round(MOVES, Some(DONE))),
        "round 4: epoch 3: move from node 0 to 1: others take 0.52 CPU of node 0; 1 group using 0.48 CPU and \
         3.0 MiB moves; pressure 0:52% 1:0%; 6 queued tasks moved, 1 CPU kicked, 85 us"
    );
}

#[test]
fn staying_names_the_condition_that_failed() {
    let line = line_of(&round(STAYS, None));
    assert!(line.contains("stay on node 0: others take 0.10 CPU of it, below the trigger of 0.25"), "{line}");
    let any = Outcome::BelowTrigger { pressure_cpus: 0.0, trigger_cpus: f64::MIN_POSITIVE };
    let line = line_of(&round(any, None));
    assert!(line.contains("stay on node 0: others take none of its CPU;"), "{line}");
}

#[test]
fn a_dry_run_prints_what_it_would_do() {
    let round = round(MOVES, None);
    assert!(line_of(&round).contains("would move from node 0 to 1"), "{}", line_of(&round));
    assert!(Decision::of(&round).explained().contains("  done     nothing (dry run)\n"));
}

#[test]
fn an_explanation_lists_every_source_and_every_verdict() {
    let mut round = round(MOVES, Some(DONE));
    round.view.nodes.push(node(2, Pressure::Unknown));
    round.readings.insert(NodeId(2), NodeReadings { host: Some(Reading::Failed), ..NodeReadings::default() });
    round.view.nodes.push(node(3, Pressure::Stale { share: 0.1, age_rounds: 4 }));
    let old = Reading::Taken { share: 0.1, age: Duration::from_secs(4), period: Duration::from_secs(1), spin: None };
    round
        .readings
        .insert(NodeId(3), NodeReadings { host: Some(old), host_psi_share: Some(0.25), ..NodeReadings::default() });
    round.picked_by = Some("page faults per second of CPU time");
    round.plan.second = Some(NodeId(3));
    let cooling = Outcome::CoolingDown { rounds_left: 2 };
    round.plan.verdicts.push(Verdict { node: NodeId(2), outcome: cooling });
    assert_eq!(
        Decision::of(&round).explained(),
        "  measured node 0: others take 52 % (steal 52 %); load 0.52 of 1 CPUs\n           \
         node 1: others take 0 % (too idle for steal to show; probe 0 %, 0.4 s old); load 0.00 of 1 CPUs\n           \
         node 2: unknown (too idle for steal to show; host does not answer); load 0.00 of 1 CPUs\n           \
         node 3: unknown, since the last reading is 4 rounds old \
         (too idle for steal to show; host 10 %, 4.0 s old; PSI of the host 25 %); load 0.00 of 1 CPUs\n  \
         chosen   node 1 as destination, then node 3; fewest page faults per second of CPU time first\n  \
         moves    node 0: others take 0.52 CPU of node 0; 1 group using 0.48 CPU and 3.0 MiB moves\n  \
         stays    node 2: it is bad, but the cool-down lasts 2 more rounds\n  \
         done     6 queued tasks moved, 1 CPU kicked, 85 us\n"
    );
    let line = line_of(&round);
    assert!(line.contains("to 1: node 0: others") && line.contains(", node 2: it is bad"), "{line}");
}

#[test]
fn a_decision_without_a_verdict_has_a_reason_too() {
    let mut round = round(STAYS, None);
    round.plan = Plan { first: Some(NodeId(0)), ..Plan::default() };
    assert!(line_of(&round).contains("stay on node 0: it is the least loaded node"), "{}", line_of(&round));
    round.plan.first = None;
    let explained = Decision::of(&round).explained();
    assert!(explained.contains("  because  no node's pressure is known\n"), "{explained}");
    round.view.groups.clear();
    round.plan.first = Some(NodeId(1));
    assert!(line_of(&round).contains("stay on node 0: no migratable task ran"), "{}", line_of(&round));
}

#[test]
fn demand_and_supply_are_said_once_and_nodes_only_where_something_is_different() {
    let mut round = round(Outcome::Folds { wanted_cpus: 2.0, limit_cpus: 0.15 }, None);
    round.view.groups.push(Group { id: GroupId(8), node: NodeId(1), ..round.view.groups[0] });
    let fits = Outcome::Fits { wanted_cpus: 0.95, supply_cpus: 1.0 };
    round.plan.verdicts.push(Verdict { node: NodeId(1), outcome: fits });
    round.plan.balance = Some(Balance { wanted_cpus: 2.95, supply_cpus: 1.15, short_cpus: 1.85 });
    assert_eq!(
        line_of(&round),
        "round 4: stay on node 0 and 1: node 0: others need its CPU; its work wants 2.00 CPU and is limited to 0.15; \
         work wants 2.95 CPU, and 1.15 can be supplied: short of 1.85; pressure 0:52% 1:0%"
    );
    let explained = Decision::of(&round).explained();
    assert!(
        explained.contains("  demand   work wants 2.95 CPU, and 1.15 can be supplied: short of 1.85\n"),
        "{explained}"
    );
    assert!(explained.contains("node 1: its work wants 0.95 CPU, and the node can supply 1.00\n"), "{explained}");
}

#[test]
fn a_repeated_verdict_is_no_news_but_a_move_always_is() {
    let stay = round(STAYS, None).plan;
    let still = round(Outcome::BelowTrigger { pressure_cpus: 0.2, trigger_cpus: 0.25 }, None).plan;
    let moves = round(MOVES, None).plan;
    assert!(is_news(None, &stay));
    assert!(!is_news(Some(&stay), &still));
    assert!(is_news(Some(&moves), &moves));
}

#[test]
fn a_drained_node_is_named_in_the_line_and_in_the_explanation() {
    let mut round = round(MOVES, Some(DONE));
    round.view.nodes[0].drained = true;
    let line = line_of(&round);
    assert!(line.contains("move from node 0 to 1: node 0 is drained; 1 group using 0.48 CPU"), "{line}");
    assert!(line.contains("pressure 0:52% 1:0%; drained: 0; "), "{line}");
    let text = Decision::of(&round).explained();
    assert!(text.contains("node 0: drained; others take 52 %"), "{text}");
}
