//! Properties that hold for every sequence of views.

use proptest::prelude::*;

use super::*;
use crate::policy::auto::table::Table;

#[derive(Clone, Debug)]
struct Change {
    others: Vec<(usize, Option<f64>)>,
    wants: Vec<(usize, f64)>,
    new_process: Option<u32>,
    alarm: Option<usize>,
}

fn any_share() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![3 => Just(Some(0.0)), 3 => (0.0f64..1.0).prop_map(Some), 1 => Just(Some(1.0)), 1 => Just(None)]
}

fn any_change() -> impl Strategy<Value = Change> {
    let others = prop::collection::vec((0usize..6, any_share()), 0..3);
    let wants = prop::collection::vec((0usize..12, 0.0f64..3.0), 0..3);
    let alarm = prop::option::weighted(0.1, 0usize..6);
    (others, wants, prop::option::weighted(0.2, 0u32..6), alarm)
        .prop_map(|(others, wants, new_process, alarm)| Change { others, wants, new_process, alarm })
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let node = (prop_oneof![Just(1.0), Just(4.0), Just(64.0)], any_share());
    let work = (0u32..6, 0.0f64..3.0, 1u32..4, 1e5f64..4e9, 0.0f64..400.0);
    (prop::collection::vec(node, 2..6), prop::collection::vec(work, 1..12)).prop_map(|(nodes, work)| {
        let count = nodes.len() as u32;
        let mut scene = Scene::default();
        for ((capacity_cpus, share), id) in nodes.into_iter().zip(0..) {
            scene.nodes.push(node_of(id, capacity_cpus, share));
        }
        for ((node, wants_cpus, threads, bytes, age_s), id) in work.into_iter().zip(100..) {
            scene.work.push(Work { id, node: node % count, wants_cpus, threads, bytes, age_s });
        }
        scene
    })
}

/// The same with links, of which some are strong.
fn any_linked_scene() -> impl Strategy<Value = Scene> {
    let link = (100u64..112, 100u64..112, prop_oneof![0.0f64..0.01, 0.0f64..1.0]);
    (any_scene(), prop::collection::vec(link, 0..12)).prop_map(|(scene, links)| scene.linked(&links))
}

fn node_of(id: u32, capacity_cpus: f64, share: Option<f64>) -> Node {
    let pressure = share.map_or(Pressure::Unknown, |share| Pressure::Fresh { share });
    Node { pressure, ..node(id, capacity_cpus, 0.0) }
}

impl Scene {
    fn change(&mut self, change: &Change) {
        let count = self.nodes.len();
        for node in &mut self.nodes {
            node.alarm = false;
        }
        for &(node, share) in &change.others {
            let node = &mut self.nodes[node % count];
            *node = node_of(node.id.0, node.capacity_cpus, share);
        }
        let nr_work = self.work.len();
        for &(work, wants_cpus) in &change.wants {
            self.work[work % nr_work].wants_cpus = wants_cpus;
        }
        if let Some(node) = change.new_process {
            let id = self.work.last().map_or(0, |work| work.id) + 1;
            let node = node % count as u32;
            self.work.push(Work { id, node, wants_cpus: 1.0, threads: 1, bytes: 1e6, age_s: 0.0 });
        }
        if let Some(node) = change.alarm {
            self.nodes[node % count].alarm = true;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn work_goes_past_a_destinations_supply_only_from_where_it_gets_less(
        mut scene in any_scene(),
        changes in prop::collection::vec(any_change(), 1..60),
    ) {
        let mut run = Run::new();
        for change in &changes {
            scene.change(change);
            let view = scene.view();
            run.auto.observe(&mut run.memory, &view);
            let table = Table::new(&run.auto.options, &run.memory, &view);
            let plan = run.auto.decide(&run.memory, &view);
            let mut wanted: Vec<f64> = table.rows.iter().map(|row| row.wanted_cpus).collect();
            for step in &plan.moves {
                let want = run.memory.groups[&step.group].want_cpus;
                wanted[step.from.0 as usize] -= want;
                wanted[step.to.0 as usize] += want;
            }
            for step in &plan.moves {
                let (from, to) = (&table.rows[step.from.0 as usize], &table.rows[step.to.0 as usize]);
                prop_assert!(to.is_open, "{step:?} to {to:?}");
                let (before, after) = (from.met_share(from.wanted_cpus), to.met_share(wanted[step.to.0 as usize]));
                prop_assert!(after >= before - 1e-9, "{step:?}: {before} before, {after} after");
            }
            run.auto.commit(&mut run.memory, &view, &plan);
            scene.carry_out(&plan);
        }
    }

    #[test]
    fn orders_are_always_within_bounds(
        mut scene in any_linked_scene(),
        changes in prop::collection::vec(any_change(), 1..60),
    ) {
        let mut run = Run::new();
        for change in &changes {
            scene.change(change);
            let plan = run.round(&scene.view());
            for (id, limit) in &plan.limits {
                let node = &scene.nodes[id.0 as usize];
                let tasks: u32 = scene.work.iter().filter(|work| work.node == id.0).map(|work| work.threads).sum();
                let least = (0.0004 * f64::from(tasks)).clamp(0.05, node.capacity_cpus);
                prop_assert!((least..=node.capacity_cpus).contains(limit), "{limit} of {node:?}");
            }
            let is_known = |id: &NodeId| scene.nodes[id.0 as usize].is_candidate();
            prop_assert!(plan.spread.keys().all(is_known));
            prop_assert!(plan.spread.is_empty() || (plan.spread.values().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(plan.fallback.iter().all(|(from, to)| from != to && is_known(to)));
            prop_assert!(plan.short_cpus().is_finite() && plan.short_cpus() >= 0.0);
            scene.carry_out(&plan);
        }
    }

    #[test]
    fn clusters_have_no_group_in_common_and_none_is_larger_than_a_node(
        mut scene in any_linked_scene(),
        changes in prop::collection::vec(any_change(), 1..60),
    ) {
        let mut run = Run::new();
        for change in &changes {
            scene.change(change);
            let plan = run.round(&scene.view());
            scene.carry_out(&plan);
            let clusters = &run.memory.clusters;
            let mut groups: Vec<GroupId> = clusters.concat();
            groups.sort_unstable();
            prop_assert!(groups.windows(2).all(|pair| pair[0] != pair[1]), "{clusters:?}");
            prop_assert!(clusters.iter().all(|cluster| cluster.len() > 1 && cluster.is_sorted()), "{clusters:?}");
            if run.memory.clustered_at == Some(run.memory.now) {
                let want = |id: &GroupId| run.memory.groups.get(id).map_or(0.0, |group| group.want_cpus);
                let largest = scene.nodes.iter().map(|node| node.capacity_cpus).fold(0.0, f64::max);
                for cluster in clusters {
                    let wanted: f64 = cluster.iter().map(want).sum();
                    prop_assert!(wanted <= largest / run.auto.options.saturated_share + 1e-9, "{wanted} of {largest}");
                }
            }
            for moved in &plan.clusters {
                prop_assert!(plan.moves.iter().any(|step| moved.contains(&step.group)));
            }
        }
    }

    #[test]
    fn the_same_memory_and_view_give_the_same_plan_even_by_way_of_a_log(
        mut scene in any_linked_scene(),
        changes in prop::collection::vec(any_change(), 1..30),
    ) {
        let mut run = Run::new();
        for change in &changes {
            scene.change(change);
            let view = scene.view();
            run.auto.observe(&mut run.memory, &view);
            let plan = run.auto.decide(&run.memory, &view);
            prop_assert_eq!(&plan, &run.auto.decide(&run.memory, &view));
            let through_json = |text: String| serde_json::from_str::<AutoMemory>(&text).unwrap();
            let memory = through_json(serde_json::to_string(&run.memory).unwrap());
            prop_assert_eq!(&memory, &run.memory);
            prop_assert_eq!(&plan, &run.auto.decide(&memory, &view));
            run.auto.commit(&mut run.memory, &view, &plan);
            scene.carry_out(&plan);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn over_a_thousand_views_no_group_goes_back_within_the_hold_unless_its_node_is_hit(
        mut scene in any_linked_scene(),
        changes in prop::collection::vec(any_change(), 1000),
    ) {
        let mut run = Run::new();
        let hold_rounds = run.auto.options.hold_rounds;
        let mut last = std::collections::BTreeMap::<GroupId, (f64, Move)>::new();
        for (change, round) in changes.iter().zip(1u32..) {
            scene.change(change);
            // Groups that end make room for groups that begin.
            if scene.work.len() > 40 {
                scene.work.drain(..20);
            }
            let view = scene.view();
            run.auto.observe(&mut run.memory, &view);
            let plan = run.auto.decide(&run.memory, &view);
            let now = f64::from(round);
            for step in &plan.moves {
                let is_hit = run.memory.nodes[&step.from].was_hit_within(run.memory.now, run.auto.options.hit_rounds);
                if let Some((at, before)) = last.insert(step.group, (now, *step)) {
                    prop_assert!(
                        is_hit || step.to != before.from || now - at >= hold_rounds,
                        "{step:?} in round {now} after {before:?} in {at}"
                    );
                }
            }
            run.auto.commit(&mut run.memory, &view, &plan);
            scene.carry_out(&plan);
        }
    }
}
