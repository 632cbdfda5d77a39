//! Coarse-grained: all migratable work of a pressed node goes to the least loaded one.

use super::Policy;
use crate::cell::{CellView, Move, Node, Outcome, Plan, Verdict};

/// The thesis's coarse-grained scheduler, live (algorithm 3-1) and simulated (algorithm 4-1).
///
/// Both are one rule with different parameters. Algorithm 3-1 acts when others take at least `trigger_cpus` of the node
/// that runs the work and another node is pressed less; as the load of a node is others' share plus our work, "pressed
/// less" is algorithm 4-1's first condition. Its other two conditions are `useful_share` and `warning_share`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coarse {
    /// A node's work is considered when others take at least this much CPU of it.
    pub trigger_cpus: f64,
    /// A node's work stays when it is more than this share of the node's load.
    pub useful_share: f64,
    /// A node's work stays when it would load the destination past this share of its capacity.
    pub warning_share: f64,
}

impl Coarse {
    /// Algorithm 3-1: a trigger on steal, no further condition.
    pub fn on_steal(trigger_cpus: f64) -> Self {
        Coarse { trigger_cpus, useful_share: 1.0, warning_share: f64::INFINITY }
    }

    /// Algorithm 4-1: no trigger; moves must be useful and keep the destination under the warning line.
    pub fn on_load(useful_share: f64, warning_share: f64) -> Self {
        Coarse { trigger_cpus: 0.0, useful_share, warning_share }
    }

    fn judge(&self, source: &Node, low: &Node, low_load_cpus: f64, moved_cpus: f64) -> Outcome {
        // A node without CPUs keeps nothing, whatever the numbers say.
        if source.capacity_cpus == 0.0 {
            return Outcome::Moves { moved_cpus };
        }
        let Some(pressure_cpus) = source.pressure_cpus() else {
            return Outcome::PressureUnknown;
        };
        let destination_cpus = low_load_cpus + moved_cpus;
        let warning_cpus = self.warning_share * low.capacity_cpus;
        if pressure_cpus < self.trigger_cpus {
            Outcome::BelowTrigger { pressure_cpus, trigger_cpus: self.trigger_cpus }
        } else if destination_cpus > source.load_cpus {
            Outcome::DestinationWouldExceedSource { destination_cpus, source_cpus: source.load_cpus }
        } else if moved_cpus > self.useful_share * source.load_cpus {
            Outcome::MostlyOwnLoad { moved_cpus, source_cpus: source.load_cpus }
        } else if destination_cpus > warning_cpus {
            Outcome::PastWarning { destination_cpus, warning_cpus }
        } else {
            Outcome::Moves { moved_cpus }
        }
    }
}

impl Policy for Coarse {
    fn name(&self) -> &'static str {
        "coarse"
    }

    fn decide(&self, cell: &CellView) -> Plan {
        // Ties go to the lower id: min_by keeps the first of equals.
        let candidates = cell.nodes.iter().filter(|node| node.is_candidate());
        let Some(low) = candidates.min_by(|a, b| a.load_cpus.total_cmp(&b.load_cpus)) else {
            return Plan::default();
        };
        let mut plan = Plan { first: Some(low.id), ..Plan::default() };
        let mut low_load_cpus = low.load_cpus;
        for source in cell.nodes.iter().filter(|node| node.id != low.id) {
            let groups = cell.groups_on(source.id);
            if groups.is_empty() {
                continue;
            }
            let moved_cpus: f64 = groups.iter().map(|group| group.demand.usage_cpus).sum();
            let outcome = self.judge(source, low, low_load_cpus, moved_cpus);
            plan.verdicts.push(Verdict { node: source.id, outcome });
            if let Outcome::Moves { moved_cpus } = outcome {
                low_load_cpus += moved_cpus;
                plan.moves.extend(groups.iter().map(|group| Move { group: group.id, from: source.id, to: low.id }));
            }
        }
        plan
    }
}
