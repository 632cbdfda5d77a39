//! Groups with nodes of their own, for plans that send work to several nodes.

use std::collections::HashMap;

use super::Groups;
use crate::cell::{GroupId, NodeId, Plan};

/// Every migratable group's node, and what the kernel has been told of its processes.
#[derive(Debug, Default)]
pub struct Placements {
    homes: HashMap<GroupId, NodeId>,
    told: HashMap<u32, NodeId>,
}

impl Placements {
    /// The nodes of groups.
    pub fn homes(&self) -> &HashMap<GroupId, NodeId> {
        &self.homes
    }

    /// Takes note of the groups that there are now. A new one is where the kernel has put it: beside its parent (`forked`
    /// says where that is), else on `destination`. There it stays, whatever the first destination is later.
    pub fn note(&mut self, groups: &Groups, destination: NodeId, forked: impl Fn(u32) -> Option<NodeId>) {
        self.told.retain(|&tgid, _| groups.group_of(tgid).is_some());
        self.homes.retain(|&id, _| groups.get(id).is_some());
        for (id, members) in groups.iter() {
            self.homes
                .entry(id)
                .or_insert_with(|| members.tgids.iter().find_map(|&tgid| forked(tgid)).unwrap_or(destination));
        }
    }

    /// Gives groups the nodes that the plan has for them.
    pub fn carry_out(&mut self, plan: &Plan) {
        for step in &plan.moves {
            self.homes.insert(step.group, step.to);
        }
    }

    /// The kernel may not have heard: tell it of every process again.
    pub fn forget_told(&mut self) {
        self.told.clear();
    }

    /// The processes whose node isn't what the kernel was told; it is told now.
    pub fn news(&mut self, groups: &Groups) -> Vec<(u32, NodeId)> {
        let mut news = Vec::new();
        for (id, members) in groups.iter() {
            let Some(&home) = self.homes.get(&id) else { continue };
            for &tgid in &members.tgids {
                if self.told.insert(tgid, home) != Some(home) {
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
    fn a_group_stays_where_it_came_up_until_it_is_moved() {
        let mut placements = Placements::default();
        placements.note(&groups(&[7, 8]), NodeId(0), |_| None);
        assert_eq!(placements.news(&groups(&[7, 8])), [(7, NodeId(0)), (8, NodeId(0))]);

        placements.note(&groups(&[7, 8, 9]), NodeId(2), |_| None);
        let step = Move { group: GroupId(8), from: NodeId(0), to: NodeId(1) };
        placements.carry_out(&Plan { moves: vec![step], ..Plan::default() });
        assert_eq!(placements.news(&groups(&[7, 8, 9])), [(8, NodeId(1)), (9, NodeId(2))]);
        assert_eq!(placements.news(&groups(&[7, 8, 9])), []);
    }

    #[test]
    fn a_forked_process_is_beside_its_parent() {
        let mut placements = Placements::default();
        placements.note(&groups(&[7]), NodeId(0), |tgid| (tgid == 7).then_some(NodeId(3)));
        assert_eq!(placements.homes()[&GroupId(7)], NodeId(3));
    }

    #[test]
    fn what_ended_is_forgotten_so_that_its_id_can_be_used_again() {
        let mut placements = Placements::default();
        placements.note(&groups(&[7]), NodeId(0), |_| None);
        placements.news(&groups(&[7]));
        placements.note(&groups(&[]), NodeId(0), |_| None);
        placements.note(&groups(&[7]), NodeId(0), |_| None);
        assert_eq!(placements.news(&groups(&[7])), [(7, NodeId(0))]);
    }
}
