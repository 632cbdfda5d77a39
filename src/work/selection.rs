//! Makes tasks migratable and back: policy SCHED_EXT, and the policy that they had.

use std::io;

use anyhow::Result;

use super::{policy, CgroupPaths, Selector, TaskRecord};
use crate::bpf::Class;

/// The kernel's flag beside the policy (include/uapi/linux/sched.h), which a change of policy would clear.
const SCHED_RESET_ON_FORK: libc::c_int = 0x4000_0000;

/// Gives a task the policy SCHED_EXT; 0 is the caller. Its nice value and its affinity stay.
pub fn make_migratable(tid: i32) -> io::Result<()> {
    set_policy(tid, policy::EXT)
}

/// Gives a task its own policy back.
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

/// What a round does about one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Select,
    GiveBack,
}

/// Which tasks migrate, kept true from round to round.
pub struct Selection {
    selectors: Vec<Selector>,
    cgroups: CgroupPaths,
    own_tgid: i32,
}

/// How many tasks a round changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectionChanges {
    /// Became migratable.
    pub nr_selected: u64,
    /// Went back to the policy that they had.
    pub nr_given_back: u64,
    /// The kernel refused.
    pub nr_refused: u64,
}

impl Selection {
    /// By these selectors; the daemon itself is never selected.
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

    /// Makes what matches migratable and gives back what no longer does. Tasks that end meanwhile are no error.
    pub fn apply(&mut self, class: &dyn Class, tasks: &mut [TaskRecord]) -> Result<SelectionChanges> {
        let mut changes = SelectionChanges::default();
        for task in tasks {
            let Some(change) = self.change(task) else { continue };
            // The record comes first: a task that is SCHED_EXT and selected always has its own policy on record.
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
                    log::debug!("task {} ({}): change of policy refused: {err}", task.tid, task.comm());
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
    fn a_task_that_chose_to_be_migratable_is_left_alone() {
        let task = TaskRecord { policy: policy::EXT, ..test_task(7, "job") };
        assert_eq!(selection().change(&task), None);
    }

    #[test]
    fn the_daemon_itself_never_migrates() {
        let own = std::process::id() as i32;
        assert_eq!(selection().change(&TaskRecord { nice: 5, ..test_task(own, "scx_vnuma") }), None);
    }
}
