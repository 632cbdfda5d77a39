//! A drill: all migratable work goes to the next node, every round.

use super::{Memory, Policy};
use crate::cell::{CellView, Move, Outcome, Plan, Verdict};

/// Moves work whether or not it helps, to exercise the machinery that carries plans out. Not meant for real work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotate;

impl Policy for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn decide(&self, cell: &CellView, _memory: &Memory) -> Plan {
        let Some(here) = cell.groups.first().map(|group| group.node) else { return Plan::default() };
        let with_cpus = || cell.nodes.iter().filter(|node| node.capacity_cpus > 0.0);
        let next = with_cpus().find(|node| node.id > here).or_else(|| with_cpus().next());
        let Some(to) = next.map(|node| node.id).filter(|&to| to != here) else { return Plan::default() };
        let groups = cell.groups_on(here);
        let moved_cpus = groups.iter().map(|group| group.demand.usage_cpus).sum();
        Plan {
            first: Some(to),
            second: None,
            moves: groups.iter().map(|group| Move { group: group.id, from: here, to }).collect(),
            verdicts: vec![Verdict { node: here, outcome: Outcome::Moves { moved_cpus } }],
            ..Plan::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_cell::{cell, group, node};

    #[test]
    fn work_visits_every_node_with_cpus_in_turn() {
        let nodes = || vec![node(0, 1.0, 0.0), node(1, 0.0, 0.0), node(2, 1.0, 0.0)];
        assert_eq!(
            Rotate.decide(&cell(nodes(), vec![group(7, 0, 0.5)]), &Memory::default()).first.map(|node| node.0),
            Some(2)
        );
        assert_eq!(
            Rotate.decide(&cell(nodes(), vec![group(7, 2, 0.5)]), &Memory::default()).first.map(|node| node.0),
            Some(0)
        );
    }

    #[test]
    fn with_one_node_work_stays() {
        let plan = Rotate.decide(&cell(vec![node(0, 1.0, 0.0)], vec![group(7, 0, 0.5)]), &Memory::default());
        assert_eq!(plan, Plan::default());
    }
}
