//! Gives selected tasks the policy back that they had: on every orderly exit, or later if the daemon was killed.

use std::collections::HashMap;

use anyhow::Result;

use super::policy;
use super::selection::give_back;
use super::TaskRecord;

/// Passes over the tasks after which new ones are no longer waited for.
const PASSES_MAX: u32 = 20;

/// Gives back every selected task. Reads the tasks again until none is left, since children inherit meanwhile.
/// Returns how many were given back.
pub fn give_back_all(mut read: impl FnMut(&mut Vec<TaskRecord>) -> Result<()>) -> Result<u64> {
    let mut nr_given_back = 0;
    let mut tasks = Vec::new();
    for _ in 0..PASSES_MAX {
        read(&mut tasks)?;
        let due = to_give_back(&tasks);
        if due.is_empty() {
            return Ok(nr_given_back);
        }
        for (tid, own_policy) in due {
            match give_back(tid, own_policy) {
                Ok(()) => nr_given_back += 1,
                Err(err) if err.raw_os_error() == Some(libc::ESRCH) => {}
                Err(err) => log::warn!("task {tid} could not be given its policy back: {err}"),
            }
        }
    }
    log::warn!("tasks still fork migratable children after {PASSES_MAX} passes; run `scx_vnuma restore` once more");
    Ok(nr_given_back)
}

/// The SCHED_EXT tasks to give back, and to which policy.
///
/// A task without a record was forked after the scheduler class had gone. It is ours if its parent is, and then has the
/// parent's own policy; if its parent has gone (init is its parent now), it is taken for ours too.
fn to_give_back(tasks: &[TaskRecord]) -> Vec<(i32, u32)> {
    let by_tgid: HashMap<i32, &TaskRecord> = tasks.iter().map(|task| (task.tgid, task)).collect();
    let migratable = tasks.iter().filter(|task| task.is_migratable());
    migratable.filter_map(|task| Some((task.tid, own_policy(task, &by_tgid)?))).collect()
}

fn own_policy(task: &TaskRecord, by_tgid: &HashMap<i32, &TaskRecord>) -> Option<u32> {
    const INIT: i32 = 1;
    let mut task = task;
    // Parents come before their children, so this ends; the bound is against records read while processes change.
    for _ in 0..by_tgid.len() + 1 {
        if task.is_selected {
            return Some(task.own_policy);
        }
        if task.is_recorded {
            return None;
        }
        if task.parent_tgid == INIT {
            return Some(policy::NORMAL);
        }
        task = by_tgid.get(&task.parent_tgid)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::test_task;

    fn ext(tid: i32, is_selected: bool, is_recorded: bool) -> TaskRecord {
        TaskRecord { policy: policy::EXT, own_policy: policy::BATCH, is_selected, is_recorded, ..test_task(tid, "t") }
    }

    #[test]
    fn selected_tasks_go_back_and_those_that_chose_stay() {
        let tasks = [ext(7, true, true), ext(8, false, true), test_task(9, "fair")];
        assert_eq!(to_give_back(&tasks), [(7, policy::BATCH)]);
    }

    #[test]
    fn a_child_forked_after_the_kill_goes_back_to_its_parents_policy() {
        let child = TaskRecord { parent_tgid: 7, own_policy: policy::EXT, ..ext(8, false, false) };
        let grandchild = TaskRecord { parent_tgid: 8, own_policy: policy::EXT, ..ext(9, false, false) };
        let due = to_give_back(&[ext(7, true, true), child, grandchild]);
        assert_eq!(due, [(7, policy::BATCH), (8, policy::BATCH), (9, policy::BATCH)]);
    }

    #[test]
    fn an_orphan_forked_after_the_kill_goes_back_to_normal() {
        assert_eq!(to_give_back(&[ext(8, false, false)]), [(8, policy::NORMAL)]);
    }

    #[test]
    fn a_child_of_one_that_chose_stays() {
        let child = TaskRecord { parent_tgid: 7, ..ext(8, false, false) };
        assert_eq!(to_give_back(&[ext(7, false, true), child]), []);
    }
}
