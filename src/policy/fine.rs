//! Fine-grained: groups go one by one, in a chosen order, to the least loaded node and then to the second least loaded.

use super::{least_loaded, Memory, Order, Policy, PolicySettings};
use crate::cell::{CellView, Group, Move, Node, NodeId, Outcome, Plan, Verdict};

/// The thesis's fine-grained scheduler (algorithms 4-2 and 4-3).
///
/// Work leaves each node except the two least loaded. The groups, in `order`, go to the least loaded node while they
/// fit; from the first one that doesn't, they go to the second least loaded while they fit, and so on if there are more
/// destinations. A group fits while the destination ends up neither more loaded than the source was nor beyond its warning line. For a source of unknown
/// pressure only the warning line counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fine {
    /// Order in which groups are picked.
    pub order: Order,
    /// Number of destinations: 2 in the thesis.
    pub destinations: usize,
    /// A destination is loaded to at most this share of its capacity.
    pub warning_share: f64,
    /// What was picked for a destination moves only if it uses more CPU than this.
    pub min_gain_cpus: f64,
    /// A node of which others take at least this share is a destination only if all other candidates are like that.
    pub avoid_share: f64,
}

/// A node that receives work. Its load includes the work picked so far.
struct Destination {
    node: NodeId,
    load_cpus: f64,
    warning_cpus: f64,
}

impl Destination {
    fn new(node: &Node, warning_share: f64) -> Self {
        Destination { node: node.id, load_cpus: node.load_cpus, warning_cpus: warning_share * node.capacity_cpus }
    }

    /// How many of the leading groups fit, and the CPU they use.
    fn pick(&self, groups: &[Group], source_cpus: f64) -> (usize, f64) {
        let limit_cpus = source_cpus.min(self.warning_cpus);
        let mut picked_cpus = 0.0;
        let fits = groups.iter().take_while(|group| {
            let with_cpus = picked_cpus + group.demand.usage_cpus;
            let fits = self.load_cpus + with_cpus <= limit_cpus;
            if fits {
                picked_cpus = with_cpus;
            }
            fits
        });
        (fits.count(), picked_cpus)
    }
}

impl From<&PolicySettings> for Fine {
    fn from(settings: &PolicySettings) -> Self {
        Fine {
            order: settings.order,
            destinations: settings.destinations.unwrap_or(2),
            warning_share: settings.warning_share,
            min_gain_cpus: settings.min_gain_cpus,
            avoid_share: settings.avoid_share,
        }
    }
}

impl Fine {
    /// Move what `destination` can take from the front of `groups`. Returns the groups that are left and the CPU that
    /// moves.
    fn fill<'a>(
        &self,
        destination: &mut Destination,
        groups: &'a [Group],
        source: &Node,
        plan: &mut Plan,
    ) -> (&'a [Group], f64) {
        let (count, picked_cpus) = destination.pick(groups, limit_cpus(source));
        let (picked, left) = groups.split_at(count);
        if picked_cpus <= self.min_gain_cpus {
            return (left, 0.0);
        }
        destination.load_cpus += picked_cpus;
        plan.moves.extend(picked.iter().map(|group| Move { group: group.id, from: source.id, to: destination.node }));
        (left, picked_cpus)
    }

    /// Why none of a node's work moved.
    fn refusal(&self, first: &Destination, head: &Group, source: &Node) -> Outcome {
        let moved_cpus = head.demand.usage_cpus;
        let destination_cpus = first.load_cpus + moved_cpus;
        if destination_cpus > limit_cpus(source) {
            Outcome::DestinationWouldExceedSource { destination_cpus, source_cpus: source.load_cpus }
        } else if destination_cpus > first.warning_cpus {
            Outcome::PastWarning { destination_cpus, warning_cpus: first.warning_cpus }
        } else {
            Outcome::BelowMinGain { moved_cpus, min_gain_cpus: self.min_gain_cpus }
        }
    }
}

/// How far a node's work may load a destination: up to the node's own load, without a limit if its pressure is unknown.
fn limit_cpus(source: &Node) -> f64 {
    if source.is_candidate() {
        source.load_cpus
    } else {
        f64::INFINITY
    }
}

impl Policy for Fine {
    fn name(&self) -> &'static str {
        "fine"
    }

    fn places_groups(&self) -> bool {
        true
    }

    fn decide(&self, cell: &CellView, _memory: &Memory) -> Plan {
        let receivers = least_loaded(cell, self.avoid_share, self.destinations);
        let id_of = |rank: usize| receivers.get(rank).map(|node| node.id);
        let mut plan = Plan { first: id_of(0), second: id_of(1), ..Plan::default() };
        let mut destinations: Vec<Destination> =
            receivers.iter().map(|node| Destination::new(node, self.warning_share)).collect();
        let is_destination = |node: &Node| receivers.iter().any(|receiver| receiver.id == node.id);
        if receivers.is_empty() {
            return plan;
        }
        let mut sorted = Vec::new();
        for source in cell.nodes.iter().filter(|node| !is_destination(node)) {
            sorted.clear();
            sorted.extend_from_slice(cell.groups_on(source.id));
            self.order.sort(&mut sorted);
            let Some(head) = sorted.first() else {
                continue;
            };
            let (mut left, mut moved_cpus) = (sorted.as_slice(), 0.0);
            for destination in &mut destinations {
                let filled = self.fill(destination, left, source, &mut plan);
                left = filled.0;
                moved_cpus += filled.1;
            }
            let outcome = match moved_cpus > 0.0 {
                true => Outcome::Moves { moved_cpus },
                false => self.refusal(&destinations[0], head, source),
            };
            plan.verdicts.push(Verdict { node: source.id, outcome });
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::cell::{Demand, GroupId, Pressure};
    use crate::policy::test_cell::{cell, group, node};

    fn fine(order: Order) -> Fine {
        Fine { order, destinations: 2, warning_share: 1.0, min_gain_cpus: 0.0, avoid_share: f64::INFINITY }
    }

    fn moved(plan: &Plan) -> Vec<(u64, u32)> {
        plan.moves.iter().map(|step| (step.group.0, step.to.0)).collect()
    }

    /// Node 0 is under pressure; 1 and 2 are the least loaded. Multiples of 1/4 CPU, so that sums are exact.
    fn pressed(groups: Vec<Group>) -> CellView {
        cell(vec![node(0, 1.0, 0.25), node(1, 1.0, 0.0), node(2, 1.0, 0.25), node(3, 1.0, 1.0)], groups)
    }

    #[test]
    fn each_order_picks_by_the_quantity_it_is_named_after() {
        let demand = |usage_cpus, request_cpus, memory_bytes, accesses_per_instruction| Demand {
            usage_cpus,
            request_cpus,
            memory_bytes,
            accesses_per_instruction,
        };
        let groups = [demand(0.5, 3.0, 20.0, 0.3), demand(0.75, 1.0, 30.0, 0.2), demand(0.625, 2.0, 10.0, 0.1)];
        let groups = (7..).zip(groups).map(|(id, demand)| Group { demand, ..group(id, 0, 0.0) });
        let view = pressed(groups.collect());
        let first = Order::ALL.map(|order| moved(&fine(order).decide(&view, &Memory::default()))[0].0);
        assert_eq!(first, [7, 8, 7, 9, 8, 9]);
    }

    #[test]
    fn groups_that_do_not_fit_on_the_first_destination_go_to_the_second() {
        let groups = [(7, 0.5), (8, 0.5), (9, 0.25), (10, 0.25)].map(|(id, cpus)| group(id, 0, cpus));
        assert_eq!(
            moved(&fine(Order::Unsorted).decide(&pressed(groups.to_vec()), &Memory::default())),
            [(7, 1), (8, 1), (9, 2), (10, 2)]
        );
    }

    #[test]
    fn with_one_destination_work_leaves_all_other_nodes_and_with_three_the_third_takes_the_rest() {
        let groups = [group(7, 0, 0.25), group(9, 2, 0.25)];
        let moves = |destinations| {
            let fine = Fine { destinations, ..fine(Order::Unsorted) };
            moved(&fine.decide(&pressed(groups.to_vec()), &Memory::default()))
        };
        assert_eq!(moves(1), [(7, 1), (9, 1)]);
        assert_eq!(moves(2), [(9, 1)]);
        assert!(moves(0).is_empty());
        let mut view = pressed(vec![group(7, 0, 0.75), group(8, 0, 0.75), group(9, 0, 0.5)]);
        view.nodes[3].load_cpus = 0.5;
        let fine = Fine { destinations: 3, ..fine(Order::Unsorted) };
        assert_eq!(moved(&fine.decide(&view, &Memory::default())), [(7, 1), (8, 2), (9, 3)]);
    }

    #[test]
    fn work_leaves_a_node_of_unknown_pressure_up_to_the_warning_line() {
        let mut view = pressed(vec![group(7, 0, 0.75), group(8, 0, 0.75), group(9, 0, 0.75)]);
        view.nodes[0].pressure = Pressure::Unknown;
        view.nodes[0].load_cpus = 0.0;
        assert_eq!(moved(&fine(Order::Unsorted).decide(&view, &Memory::default())), [(7, 1), (8, 2)]);
    }

    proptest! {
        /// The conditions of algorithm 4-2.
        #[test]
        fn no_destination_ends_up_more_loaded_than_the_source_or_past_its_warning_line(
            pressures in prop::collection::vec(prop::option::weighted(0.9, 0u32..=256), 2..6),
            groups in prop::collection::vec((0u32..6, 0u32..256), 0..20),
            (warning, order) in (1u32..=256, 0usize..6),
        ) {
            // Multiples of 1/256 CPU, so that sums are exact.
            let cpus = |nr: u32| f64::from(nr) / 256.0;
            let nr_nodes = pressures.len() as u32;
            let mut nodes: Vec<Node> =
                (0..).zip(&pressures).map(|(id, pressure)| node(id, 1.0, cpus(pressure.unwrap_or(0)))).collect();
            for (node, pressure) in nodes.iter_mut().zip(&pressures) {
                if pressure.is_none() {
                    node.pressure = Pressure::Unknown;
                }
            }
            let groups = (0..).zip(&groups).map(|(id, &(on, usage))| group(id, on % nr_nodes, cpus(usage)));
            let view = cell(nodes, groups.collect());
            let fine = Fine { warning_share: cpus(warning), ..fine(Order::ALL[order]) };
            let plan = fine.decide(&view, &Memory::default());

            let usage: BTreeMap<GroupId, f64> = view.groups.iter().map(|g| (g.id, g.demand.usage_cpus)).collect();
            let mut loads: BTreeMap<NodeId, f64> = view.nodes.iter().map(|node| (node.id, node.load_cpus)).collect();
            for step in &plan.moves {
                let (from, to) = (view.node(step.from).unwrap(), view.node(step.to).unwrap());
                prop_assert!(to.is_candidate() && from.id != to.id);
                let load = loads.get_mut(&to.id).unwrap();
                *load += usage[&step.group];
                prop_assert!(*load <= fine.warning_share * to.capacity_cpus, "beyond the warning line: {plan:?}");
                prop_assert!(*load <= from.load_cpus || !from.is_candidate(), "more loaded than the source: {plan:?}");
            }
        }
    }
}
