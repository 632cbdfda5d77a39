//! The busiest groups for `scx_vnuma top`, made from what the rounds know.

use crate::cell::{CellView, Group};
use crate::report::GroupReport;
use crate::work::Groups;

/// So many groups are reported at most, so that a round isn't delayed however many there are.
const GROUPS_MAX: usize = 200;

/// The groups that used most CPU in a round, the busiest first.
pub(super) fn busiest_groups(view: &CellView, groups: &Groups) -> Vec<GroupReport> {
    let mut busiest: Vec<&Group> = view.groups.iter().collect();
    let by_use = |a: &&Group, b: &&Group| b.demand.usage_cpus.total_cmp(&a.demand.usage_cpus).then(a.id.cmp(&b.id));
    if busiest.len() > GROUPS_MAX {
        busiest.select_nth_unstable_by(GROUPS_MAX, by_use);
        busiest.truncate(GROUPS_MAX);
    }
    busiest.sort_unstable_by(by_use);
    let report = |group: &Group| {
        let tgids = groups.get(group.id).map_or(&[][..], |members| &members.tgids);
        GroupReport {
            group: group.id.0,
            tgid: tgids.first().copied().unwrap_or_default(),
            nr_processes: tgids.len() as u32,
            nr_tasks: group.nr_tasks,
            node: group.node.0,
            work_cpus: group.demand.usage_cpus,
            wanted_cpus: group.wanted_cpus.unwrap_or(-1.0),
            memory_bytes: group.demand.memory_bytes,
        }
    };
    busiest.into_iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_cell::{cell, group, node};

    #[test]
    fn the_busiest_groups_come_first_and_the_rest_is_left_out() {
        let groups = (0..1000).map(|id| group(id, 0, ((id * 7) % 1000) as f64));
        let view = cell(vec![node(0, 1.0, 0.0)], groups.collect());
        let busiest = busiest_groups(&view, &Groups::default());
        let used: Vec<f64> = busiest.iter().map(|group| group.work_cpus).collect();
        assert_eq!(used, (800..1000).rev().map(f64::from).collect::<Vec<_>>());
    }
}
