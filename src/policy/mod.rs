//! Where migratable work should run: pure functions of a [`CellView`].

mod coarse;
mod decider;
mod fine;
mod guards;
mod order;
mod registry;
mod rotate;
mod stay;

pub use coarse::Coarse;
pub use decider::{Confirmation, Decider};
pub use fine::Fine;
pub use guards::GuardOptions;
use guards::Guards;
pub use order::{Order, UnknownOrder};
pub use registry::{PolicyName, PolicySettings, UnknownPolicy, World};
pub use rotate::Rotate;
pub use stay::Stay;

use crate::cell::{CellView, Node, NodeId, Plan};

/// Decides where migratable work runs. Implementations are pure: the same view gives the same plan.
pub trait Policy: Send + Sync {
    /// The policy's name, as in `--policy`.
    fn name(&self) -> &'static str;

    /// The plan of one round for one cell.
    fn decide(&self, cell: &CellView) -> Plan;

    /// Return true if the policy's plans give each group its own destination. Otherwise a plan that moves anything
    /// sends all work to the first destination, including work that is not in the view because it has not run lately.
    fn places_groups(&self) -> bool {
        false
    }
}

/// The least loaded candidate other than `but`. Candidates of which others take less than `avoid_share` of the capacity
/// come before all others. Ties go to the lower id.
///
/// A node under pressure may be less loaded than one that runs our work, but work that went there would soon be moved
/// again.
fn least_loaded(cell: &CellView, avoid_share: f64, but: Option<NodeId>) -> Option<&Node> {
    let is_pressed = |node: &Node| node.pressure.share().is_some_and(|share| share >= avoid_share);
    let candidates = cell.nodes.iter().filter(|node| node.is_candidate() && Some(node.id) != but);
    // min_by returns the first of equal elements.
    candidates.min_by(|a, b| is_pressed(a).cmp(&is_pressed(b)).then(a.load_cpus.total_cmp(&b.load_cpus)))
}

/// Small cells for tests of policies.
#[cfg(test)]
pub(crate) mod test_cell {
    use crate::cell::{CellView, Demand, Group, GroupId, Node, NodeId, Pressure};

    /// A node whose only load is `pressure_cpus`, taken by others.
    pub(crate) fn node(id: u32, capacity_cpus: f64, pressure_cpus: f64) -> Node {
        let share = if capacity_cpus > 0.0 { pressure_cpus / capacity_cpus } else { 0.0 };
        Node { id: NodeId(id), capacity_cpus, pressure: Pressure::Fresh { share }, load_cpus: pressure_cpus }
    }

    /// A group of one task that uses `usage_cpus`.
    pub(crate) fn group(id: u64, node: u32, usage_cpus: f64) -> Group {
        let demand = Demand { usage_cpus, ..Demand::default() };
        Group { id: GroupId(id), node: NodeId(node), nr_tasks: 1, demand }
    }

    /// A cell in which the groups' CPU use is added to their nodes' load.
    pub(crate) fn cell(mut nodes: Vec<Node>, mut groups: Vec<Group>) -> CellView {
        groups.sort_by_key(|group| (group.node, group.id));
        for node in &mut nodes {
            let here = groups.iter().filter(|group| group.node == node.id);
            node.load_cpus += here.map(|group| group.demand.usage_cpus).sum::<f64>();
        }
        CellView { nodes, groups }
    }
}
