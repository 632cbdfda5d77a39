//! Where migratable work should run: pure functions of a [`CellView`].

mod auto;
mod coarse;
mod decider;
mod drained;
mod fine;
mod guards;
mod order;
mod registry;
mod rotate;
mod slo;
mod stay;

pub use auto::{Auto, AutoMemory, AutoOptions, PAGE_COST_S};
pub use coarse::Coarse;
pub use decider::{Confirmation, Decider};
pub use fine::Fine;
pub use guards::GuardOptions;
use guards::Guards;
pub use order::{Order, UnknownOrder};
pub use registry::{PolicyName, PolicySettings, UnknownPolicy, World};
pub use rotate::Rotate;
pub use slo::{SloController, SloReading, SloState, SLO_SHRINK_SLACK};
pub use stay::Stay;

use crate::cell::{CellView, GroupId, Node, Plan};

/// Decides where migratable work runs. Implementations are pure: the same view and memory give the same plan.
pub trait Policy: Send + Sync {
    /// The policy's name, as in `--policy`.
    fn name(&self) -> &'static str;

    /// The plan for a view. May be called again in the same round with fresher readings.
    fn decide(&self, view: &CellView, memory: &Memory) -> Plan;

    /// Return true if the policy's plans give each group its own destination. Otherwise a plan that moves anything
    /// sends all work to the first destination, including work that is not in the view because it has not run lately.
    fn places_groups(&self) -> bool {
        false
    }

    /// Return true if the policy uses its memory. It then weighs the cost of moves itself and needs no guards, and the
    /// same view may give a different plan in the next round.
    fn remembers(&self) -> bool {
        false
    }

    /// Return true if the policy's plans also have limits, weights for new processes and fallbacks.
    fn steers(&self) -> bool {
        false
    }

    /// Return true if the policy goes by which groups share memory: [`CellView::links`].
    fn uses_links(&self) -> bool {
        false
    }

    /// Return true if the policy goes by memory: [`Node::free_bytes`] and [`CellView::residents`].
    fn weighs_memory(&self) -> bool {
        false
    }

    /// The groups that share so much memory that they are kept on one node, each cluster in order of id.
    fn clusters<'a>(&self, _memory: &'a Memory) -> &'a [Vec<GroupId>] {
        &[]
    }

    /// Update the memory with a round's view. The first call of each round.
    fn observe(&self, _view: &CellView, _memory: &mut Memory) {}

    /// Update the memory with the plan that is carried out. The last call of each round.
    fn commit(&self, _view: &CellView, _plan: &Plan, _memory: &mut Memory) {}

    /// Return true if the plan leaves work on a bad node because no better one is known, so that fresher readings of
    /// the other nodes might help. For policies without memory the guards answer this.
    fn is_stuck(&self, _view: &CellView, _plan: &Plan, _memory: &Memory) -> bool {
        false
    }
}

/// The state of policies between rounds. It is a plain value, so that a decision log can be replayed exactly.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    auto: AutoMemory,
}

/// The `count` least loaded candidates. Candidates of which others take less than `avoid_share` of the capacity come before
/// all others. Ties go to the lower id.
///
/// A node under pressure may be less loaded than one that runs our work, but work that went there would soon be moved
/// again.
fn least_loaded(cell: &CellView, avoid_share: f64, count: usize) -> Vec<&Node> {
    let mut ones: Vec<&Node> = Vec::with_capacity(count.min(cell.nodes.len()));
    let is_pressed = |node: &Node| node.pressure.share().is_some_and(|share| share >= avoid_share);
    let order = |a: &Node, b: &Node| is_pressed(a).cmp(&is_pressed(b)).then(a.load_cpus.total_cmp(&b.load_cpus));
    for node in cell.nodes.iter().filter(|node| node.is_candidate()) {
        // Behind its equals, which have lower ids.
        let place = ones.partition_point(|other| order(other, node).is_le());
        if place < count {
            ones.truncate(count - 1);
            ones.insert(place, node);
        }
    }
    ones
}

/// Small cells for tests of policies.
#[cfg(test)]
pub(crate) mod test_cell {
    use crate::cell::{CellView, Demand, Group, GroupId, Node, NodeId, Pressure};

    /// A node whose only load is `pressure_cpus`, taken by others.
    pub(crate) fn node(id: u32, capacity_cpus: f64, pressure_cpus: f64) -> Node {
        let share = if capacity_cpus > 0.0 { pressure_cpus / capacity_cpus } else { 0.0 };
        let pressure = Pressure::Fresh { share };
        Node { id: NodeId(id), capacity_cpus, pressure, load_cpus: pressure_cpus, ..Node::default() }
    }

    /// A group of one task that uses `usage_cpus`.
    pub(crate) fn group(id: u64, node: u32, usage_cpus: f64) -> Group {
        let demand = Demand { usage_cpus, ..Demand::default() };
        Group { id: GroupId(id), node: NodeId(node), nr_tasks: 1, demand, ..Group::default() }
    }

    /// A cell in which the groups' CPU use is added to their nodes' load.
    pub(crate) fn cell(mut nodes: Vec<Node>, mut groups: Vec<Group>) -> CellView {
        groups.sort_by_key(|group| (group.node, group.id));
        for node in &mut nodes {
            let here = groups.iter().filter(|group| group.node == node.id);
            node.load_cpus += here.map(|group| group.demand.usage_cpus).sum::<f64>();
        }
        CellView { nodes, groups, ..CellView::default() }
    }
}
