//! Makes tasks migratable by the policy SCHED_EXT, and restores the policy that they had.

use std::io;

use anyhow::Result;

use super::{policy, CgroupPaths, Selector, TaskRecord};
use crate::bpf::Class;

/// The flag that is stored with the policy (include/uapi/linux/sched.h). A change of policy clears it unless it is
/// passed.
const SCHED_RESET_ON_FORK: libc::c_int = 0x4000_0000;

/// Set a task's policy to SCHED_EXT; `tid` 0 is the caller. The task keeps its nice value and affinity.
pub fn make_migratable(tid: i32) -> io::Result<()> {
    set_policy(tid, policy::EXT)
}

/// Restore a task's own policy.
pub(super) fn give_back(tid: i32, own_policy: u32) -> io::Result<()> {
    set_policy(tid, own_policy)
}

fn set_policy(tid: i32, policy: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    let found = unsafe { libc::sched_getscheduler(tid) };
    if found < 0 {
        return Err(io::Error::last_os_error());
    }
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: param outlives the call.
    match unsafe { libc::sched_setscheduler(tid, policy as libc::c_int | (found & SCHED_RESET_ON_FORK), &param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The change that a round makes to one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Select,
    GiveBack,
}

/// Decides which tasks are migratable and updates their policies each round.
pub struct Selection {
    selectors: Vec<Selector>,
    cgroups: CgroupPaths,
    own_tgid: i32,
}

/// Numbers of tasks that a round changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectionChanges {
    /// Tasks that became migratable.
    pub nr_selected: u64,
    /// Tasks whose own policy was restored.
    pub nr_given_back: u64,
    /// Tasks whose policy the kernel refused to change.
    pub nr_refused: u64,
}

impl Selection {
    /// Select by these selectors. The daemon itself is never selected.
    pub fn new(selectors: Vec<Selector>) -> Self {
        Selection { selectors, cgroups: CgroupPaths::new("/sys/fs/cgroup"), own_tgid: std::process::id() as i32 }
    }

    fn change(&mut self, task: &TaskRecord) -> Option<Change> {
        if task.tgid == self.own_tgid || task.is_migratable_by_choice() {
            return None;
        }
        let matches = self.selectors.iter().any(|selector| selector.matches(task, &mut self.cgroups));
        match (matches, task.is_migratable()) {
            (true, false) => Some(Change::Select),
            (false, true) => Some(Change::GiveBack),
            _ => None,
        }
    }

    /// Make matching tasks migratable and restore those that no longer match. Tasks may end meanwhile; that is no
    /// error.
    pub fn apply(&mut self, class: &dyn Class, tasks: &mut [TaskRecord]) -> Result<SelectionChanges> {
        let mut changes = SelectionChanges::default();
        for task in tasks {
            let Some(change) = self.change(task) else { continue };
            // The record is made first, so that every selected SCHED_EXT task has its own policy on record.
            let outcome = match change {
                Change::Select if !class.select(task.tid)? => continue,
                Change::Select => make_migratable(task.tid),
                Change::GiveBack => give_back(task.tid, task.own_policy),
            };
            match outcome {
                Ok(()) if change == Change::Select => {
                    task.policy = policy::EXT;
                    task.is_selected = true;
                    changes.nr_selected += 1;
                }
                Ok(()) => {
                    class.unselect(task.tid)?;
                    task.policy = task.own_policy;
                    task.is_selected = false;
                    changes.nr_given_back += 1;
                }
                Err(err) if err.raw_os_error() == Some(libc::ESRCH) => {}
                Err(err) => {
                    changes.nr_refused += 1;
                    log::debug!("task {} ({}): the kernel refused to change the policy: {err}", task.tid, task.comm());
                }
            }
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::test_task;

    fn selection() -> Selection {
        let mut selection = Selection::new(vec!["nice>=1".parse().unwrap()]);
        selection.cgroups = CgroupPaths::default();
        selection
    }

    #[test]
    fn a_matching_task_is_selected_once() {
        let mut task = TaskRecord { nice: 5, ..test_task(7, "job") };
        assert_eq!(selection().change(&task), Some(Change::Select));
        task.policy = policy::EXT;
        task.is_selected = true;
        assert_eq!(selection().change(&task), None);
    }

    #[test]
    fn a_task_that_stops_matching_is_given_back() {
        let task = TaskRecord { policy: policy::EXT, is_selected: true, ..test_task(7, "job") };
        assert_eq!(selection().change(&task), Some(Change::GiveBack));
    }

    #[test]
    fn a_task_migratable_by_choice_is_left_alone() {
        let task = TaskRecord { policy: policy::EXT, ..test_task(7, "job") };
        assert_eq!(selection().change(&task), None);
    }

    #[test]
    fn the_daemon_itself_never_migrates() {
        let own = std::process::id() as i32;
        assert_eq!(selection().change(&TaskRecord { nice: 5, ..test_task(own, "scx_vnuma") }), None);
    }
}
