//! The nodes of groups, for plans that send work to several nodes.

use std::collections::{BTreeSet, HashMap};

use super::Groups;
use crate::cell::{GroupId, NodeId, Plan};

/// The node of every migratable group, and the placements already sent to the kernel.
#[derive(Debug, Default)]
pub struct Placements {
    homes: HashMap<GroupId, NodeId>,
    sent: HashMap<u32, NodeId>,
}

impl Placements {
    /// The node of each group.
    pub fn homes(&self) -> &HashMap<GroupId, NodeId> {
        &self.homes
    }

    /// Update the set of groups. A new group is where the kernel side has placed it: on its parent's node, or where a
    /// plan spreads new programs; otherwise on `destination`. It stays there when the first destination changes later.
    ///
    /// The kernel side also places a process when it executes a program. A placement that differs from the one that was
    /// sent therefore becomes the group's node.
    pub fn note(&mut self, groups: &Groups, destination: NodeId) {
        self.sent.retain(|&tgid, _| groups.group_of(tgid).is_some());
        self.homes.retain(|&id, _| groups.get(id).is_some());
        for (id, members) in groups.iter() {
            let home = self.homes.entry(id).or_insert(members.placed_node.unwrap_or(destination));
            if let (Some(placed), [tgid]) = (members.placed_node, members.tgids.as_slice()) {
                if self.sent.get(tgid).is_some_and(|&sent| sent != placed) {
                    *home = placed;
                    self.sent.insert(*tgid, placed);
                }
            }
        }
    }

    /// Assign groups to the nodes that the plan has for them.
    pub fn carry_out(&mut self, plan: &Plan) {
        for step in &plan.moves {
            self.homes.insert(step.group, step.to);
        }
    }

    /// Assign the groups on `from` to another node: also those that no plan names because they sleep.
    pub fn vacate(&mut self, from: &BTreeSet<NodeId>, to: NodeId) {
        self.homes.values_mut().filter(|home| from.contains(home)).for_each(|home| *home = to);
    }

    /// Assign all groups to one node: also those that the plan doesn't name because they sleep.
    pub fn gather(&mut self, node: NodeId) {
        self.homes.values_mut().for_each(|home| *home = node);
    }

    /// Send the placement of every process again: the kernel may have missed some.
    pub fn resend_all(&mut self) {
        self.sent.clear();
    }

    /// The processes whose node differs from what was sent, with their node. They count as sent from now on.
    pub fn news(&mut self, groups: &Groups) -> Vec<(u32, NodeId)> {
        let mut news = Vec::new();
        for (id, members) in groups.iter() {
            let Some(&home) = self.homes.get(&id) else { continue };
            for &tgid in &members.tgids {
                if self.sent.insert(tgid, home) != Some(home) {
                    news.push((tgid, home));
                }
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Move;
    use crate::work::{policy, test_task, Grouping, TaskRecord};

    fn groups(tgids: &[i32]) -> Groups {
        let task = |&tgid: &i32| TaskRecord { policy: policy::EXT, ..test_task(tgid, "t") };
        Groups::of(&tgids.iter().map(task).collect::<Vec<_>>(), Grouping::Process)
    }

    #[test]
    fn a_group_stays_where_it_started_until_it_is_moved() {
        let mut placements = Placements::default();
        placements.note(&groups(&[7, 8]), NodeId(0));
        assert_eq!(placements.news(&groups(&[7, 8])), [(7, NodeId(0)), (8, NodeId(0))]);

        placements.note(&groups(&[7, 8, 9]), NodeId(2));
        let step = Move { group: GroupId(8), from: NodeId(0), to: NodeId(1) };
        placements.carry_out(&Plan { moves: vec![step], ..Plan::default() });
        assert_eq!(placements.news(&groups(&[7, 8, 9])), [(8, NodeId(1)), (9, NodeId(2))]);
        assert_eq!(placements.news(&groups(&[7, 8, 9])), []);
    }

    #[test]
    fn groups_that_sleep_on_a_drained_node_leave_it_too() {
        let mut placements = Placements::default();
        placements.note(&groups(&[7]), NodeId(1));
        placements.note(&groups(&[7, 8]), NodeId(0));
        placements.news(&groups(&[7, 8]));
        placements.vacate(&BTreeSet::from([NodeId(1)]), NodeId(2));
        assert_eq!(placements.news(&groups(&[7, 8])), [(7, NodeId(2))]);
    }

    /// A process that the kernel side has placed.
    fn placed(tgid: i32, node: u32) -> Groups {
        let task = TaskRecord { policy: policy::EXT, placed_node: Some(NodeId(node)), ..test_task(tgid, "t") };
        Groups::of(&[task], Grouping::Process)
    }

    #[test]
    fn a_process_that_the_kernel_places_at_exec_is_there_until_a_plan_moves_it() {
        let mut placements = Placements::default();
        placements.note(&placed(7, 0), NodeId(0));
        placements.news(&placed(7, 0));
        placements.note(&placed(7, 2), NodeId(0));
        assert_eq!(placements.homes()[&GroupId(7)], NodeId(2));
        assert_eq!(placements.news(&placed(7, 2)), [], "the kernel knows");
        let step = Move { group: GroupId(7), from: NodeId(2), to: NodeId(1) };
        placements.carry_out(&Plan { moves: vec![step], ..Plan::default() });
        assert_eq!(placements.news(&placed(7, 2)), [(7, NodeId(1))]);
        placements.note(&placed(7, 1), NodeId(0));
        assert_eq!(placements.homes()[&GroupId(7)], NodeId(1));
    }

    #[test]
    fn a_forked_process_is_on_its_parents_node() {
        let mut placements = Placements::default();
        placements.note(&placed(7, 3), NodeId(0));
        assert_eq!(placements.homes()[&GroupId(7)], NodeId(3));
    }

    #[test]
    fn an_ended_process_is_forgotten_so_that_its_id_can_be_reused() {
        let mut placements = Placements::default();
        placements.note(&groups(&[7]), NodeId(0));
        placements.news(&groups(&[7]));
        placements.note(&groups(&[]), NodeId(0));
        placements.note(&groups(&[7]), NodeId(0));
        assert_eq!(placements.news(&groups(&[7])), [(7, NodeId(0))]);
    }
}
