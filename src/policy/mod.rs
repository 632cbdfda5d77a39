//! Where migratable work should run: pure functions of a [`CellView`].

mod auto;
mod coarse;
mod fine;
mod guards;
mod rotate;

pub use auto::{Auto, AutoMemory, AutoOptions};
pub use coarse::Coarse;
pub use fine::{Fine, Order, UnknownOrder};
pub use guards::{GuardOptions, Guards};
pub use rotate::Rotate;

use crate::cell::{CellView, Node, NodeId, Plan};

/// Decides where migratable work should run. Implementations are pure: the same view gives the same plan.
pub trait Policy: Send + Sync {
    /// Its name, as in `--policy`.
    fn name(&self) -> &'static str;

    /// One round for one cell.
    fn decide(&self, cell: &CellView) -> Plan;

    /// Its plans say of each group where it goes. Else a plan that moves anything sends all work to the first destination,
    /// also what has not run lately and so is not in the view.
    fn places_groups(&self) -> bool {
        false
    }
}

/// The least loaded node that work may be sent to, but for `but`: one of which others take less than `avoid_share` of the
/// capacity if there is one, else any. Ties go to the lower id.
///
/// A pressed node may be less loaded than one with work of ours; work that went there would only be sent on.
fn least_loaded(cell: &CellView, avoid_share: f64, but: Option<NodeId>) -> Option<&Node> {
    let is_pressed = |node: &Node| node.pressure.share().is_some_and(|share| share >= avoid_share);
    let candidates = cell.nodes.iter().filter(|node| node.is_candidate() && Some(node.id) != but);
    // min_by keeps the first of equals.
    candidates.min_by(|a, b| is_pressed(a).cmp(&is_pressed(b)).then(a.load_cpus.total_cmp(&b.load_cpus)))
}

/// Small cells for tests of policies.
#[cfg(test)]
pub(crate) mod test_cell {
    use crate::cell::{CellView, Demand, Group, GroupId, Node, NodeId, Pressure};

    /// A node of which others take `pressure_cpus`, its only load.
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

    /// A cell in which the groups' use adds to their nodes' load.
    pub(crate) fn cell(mut nodes: Vec<Node>, mut groups: Vec<Group>) -> CellView {
        groups.sort_by_key(|group| (group.node, group.id));
        for node in &mut nodes {
            let here = groups.iter().filter(|group| group.node == node.id);
            node.load_cpus += here.map(|group| group.demand.usage_cpus).sum::<f64>();
        }
        CellView { nodes, groups, ..CellView::default() }
    }
}
