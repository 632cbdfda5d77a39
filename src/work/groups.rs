//! Groups: the migratable tasks that move together, and the CPU a group requests.

use std::collections::{BTreeMap, HashMap};

use super::quota::Quotas;
use super::TaskRecord;
use crate::cell::{GroupId, NodeId};

/// The unit that moves as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// The threads of a process.
    #[default]
    Process,
    /// The processes of a cgroup.
    Cgroup,
}

/// The tasks of a group in one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// Their processes, in order of id.
    pub tgids: Vec<u32>,
    /// Number of tasks.
    pub nr_tasks: u32,
    /// Requested CPU: the quota of the group's cgroup, or one CPU per task without a quota.
    pub request_cpus: f64,
    /// Resident memory of the processes, in bytes.
    pub rss_bytes: f64,
    /// Page faults of the tasks since they started.
    pub nr_faults: u64,
    /// Start time of the oldest task, ns of CLOCK_BOOTTIME.
    pub started_at_ns: u64,
    /// The node on which the kernel side has placed the first process, if it has placed it.
    pub placed_node: Option<NodeId>,
    cgroup_id: u64,
}

/// The migratable groups of a round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    group_of: HashMap<u32, GroupId>,
    members: BTreeMap<GroupId, Members>,
}

impl Groups {
    /// Group the migratable ones of `tasks`. Each group requests one CPU per task until [`Groups::request_quotas`].
    pub fn of(tasks: &[TaskRecord], grouping: Grouping) -> Self {
        let mut groups = Groups::default();
        for task in tasks.iter().filter(|task| task.is_migratable()) {
            let tgid = task.tgid as u32;
            // All threads of a process are in the group of its first.
            let is_new = !groups.group_of.contains_key(&tgid);
            let id = *groups.group_of.entry(tgid).or_insert(match grouping {
                Grouping::Process => GroupId(tgid.into()),
                Grouping::Cgroup => GroupId(task.cgroup_id),
            });
            let members = groups.members.entry(id).or_default();
            if is_new {
                if members.tgids.is_empty() {
                    (members.placed_node, members.started_at_ns) = (task.placed_node, task.started_at_ns);
                }
                members.tgids.push(tgid);
                members.cgroup_id = task.cgroup_id;
            }
            members.started_at_ns = members.started_at_ns.min(task.started_at_ns);
            members.nr_tasks += 1;
            members.request_cpus += 1.0;
            members.rss_bytes += task.rss_bytes as f64;
            members.nr_faults += task.nr_faults;
        }
        groups
    }

    /// The group of a process.
    pub fn group_of(&self, tgid: u32) -> Option<GroupId> {
        self.group_of.get(&tgid).copied()
    }

    /// A group by its id.
    pub fn get(&self, id: GroupId) -> Option<&Members> {
        self.members.get(&id)
    }

    /// Set the request of each group whose cgroup has a quota to that quota.
    pub fn request_quotas(&mut self, quotas: &mut Quotas) {
        for members in self.members.values_mut() {
            if let Some(quota_cpus) = quotas.of(members.cgroup_id) {
                members.request_cpus = quota_cpus;
            }
        }
    }

    /// All groups in order of id.
    pub fn iter(&self) -> impl Iterator<Item = (GroupId, &Members)> {
        self.members.iter().map(|(&id, members)| (id, members))
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy;
    use super::super::test_task;
    use super::*;

    fn migratable(tid: i32, tgid: i32, cgroup_id: u64) -> TaskRecord {
        TaskRecord { tgid, cgroup_id, policy: policy::EXT, rss_bytes: 100, nr_faults: 3, ..test_task(tid, "t") }
    }

    #[test]
    fn a_process_forms_a_group_with_all_its_threads() {
        let fixed = test_task(1, "fixed");
        let groups =
            Groups::of(&[migratable(7, 7, 5), migratable(8, 7, 5), migratable(9, 9, 5), fixed], Grouping::Process);
        let seven = groups.get(GroupId(7)).unwrap();
        assert_eq!((seven.tgids.as_slice(), seven.nr_tasks, seven.nr_faults), ([7].as_slice(), 2, 6));
        assert_eq!(groups.iter().count(), 2);
        assert_eq!(groups.group_of(1), None);
    }

    #[test]
    fn a_cgroup_forms_a_group_with_all_its_processes() {
        let groups = Groups::of(&[migratable(7, 7, 5), migratable(9, 9, 5), migratable(11, 11, 6)], Grouping::Cgroup);
        assert_eq!(groups.get(GroupId(5)).unwrap().tgids, [7, 9]);
        assert_eq!(groups.group_of(11), Some(GroupId(6)));
    }

    #[test]
    fn a_group_requests_its_cgroups_quota_if_there_is_one() {
        use std::os::unix::fs::MetadataExt;
        let root = std::env::temp_dir().join(format!("vnuma-groups-{}", std::process::id()));
        std::fs::create_dir_all(root.join("batch")).unwrap();
        std::fs::write(root.join("batch/cpu.max"), "25000 100000\n").unwrap();
        let id = root.join("batch").metadata().unwrap().ino();
        let mut groups =
            Groups::of(&[migratable(7, 7, id), migratable(8, 7, id), migratable(9, 9, 1)], Grouping::Process);
        groups.request_quotas(&mut Quotas::new(Some(&root)));
        assert_eq!(groups.get(GroupId(7)).unwrap().request_cpus, 0.25);
        assert_eq!(groups.get(GroupId(9)).unwrap().request_cpus, 1.0);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
