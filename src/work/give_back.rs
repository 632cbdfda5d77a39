//! Restores the policies of selected tasks: on every orderly exit, or later if the daemon was killed.

use std::collections::HashMap;

use anyhow::Result;

use super::policy;
use super::policy_change::give_back;
use super::TaskRecord;

/// Passes over the tasks after which new ones are no longer waited for.
const PASSES_MAX: u32 = 20;

/// Restore the policy of every selected task. Tasks inherit the policy when they fork meanwhile, so this repeats until
/// none is left. Returns the number of tasks restored.
pub fn give_back_all(mut read: impl FnMut(&mut Vec<TaskRecord>) -> Result<()>) -> Result<u64> {
    let mut nr_given_back = 0;
    let mut tasks = Vec::new();
    for _ in 0..PASSES_MAX {
        read(&mut tasks)?;
        let due = to_give_back(&tasks);
        if due.is_empty() {
            return Ok(nr_given_back);
        }
        for (task, own_policy) in due {
            match give_back(task, own_policy) {
                Ok(true) => nr_given_back += 1,
                // It has ended, or got another policy from someone else.
                Ok(false) => {}
                Err(err) => log::warn!("task {} can't get its former policy back: {err}", task.tid),
            }
        }
    }
    log::warn!("tasks still fork migratable children after {PASSES_MAX} passes; run `scx_vnuma restore` again");
    Ok(nr_given_back)
}

/// The SCHED_EXT tasks to restore, with the policies to restore.
///
/// A task without a record was forked after the scheduler class had been unloaded. If its parent is one of ours, the
/// task gets the parent's own policy. If its parent has exited (its parent is init then), it counts as ours and gets
/// SCHED_NORMAL.
fn to_give_back(tasks: &[TaskRecord]) -> Vec<(&TaskRecord, u32)> {
    let by_tgid: HashMap<i32, &TaskRecord> = tasks.iter().map(|task| (task.tgid, task)).collect();
    let migratable = tasks.iter().filter(|task| task.is_migratable());
    migratable.filter_map(|task| Some((task, own_policy(task, &by_tgid)?))).collect()
}

fn own_policy(task: &TaskRecord, by_tgid: &HashMap<i32, &TaskRecord>) -> Option<u32> {
    const INIT: i32 = 1;
    let mut task = task;
    // Following parents ends at init. The bound is for records that were read while processes changed.
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

    fn due(tasks: &[TaskRecord]) -> Vec<(i32, u32)> {
        to_give_back(tasks).into_iter().map(|(task, own_policy)| (task.tid, own_policy)).collect()
    }

    #[test]
    fn selected_tasks_go_back_and_tasks_migratable_by_choice_stay() {
        let tasks = [ext(7, true, true), ext(8, false, true), test_task(9, "fair")];
        assert_eq!(due(&tasks), [(7, policy::BATCH)]);
    }

    #[test]
    fn a_child_forked_after_the_kill_goes_back_to_its_parents_policy() {
        let child = TaskRecord { parent_tgid: 7, own_policy: policy::EXT, ..ext(8, false, false) };
        let grandchild = TaskRecord { parent_tgid: 8, own_policy: policy::EXT, ..ext(9, false, false) };
        let due = due(&[ext(7, true, true), child, grandchild]);
        assert_eq!(due, [(7, policy::BATCH), (8, policy::BATCH), (9, policy::BATCH)]);
    }

    #[test]
    fn an_orphan_forked_after_the_kill_goes_back_to_normal() {
        assert_eq!(due(&[ext(8, false, false)]), [(8, policy::NORMAL)]);
    }

    #[test]
    fn a_child_of_a_task_migratable_by_choice_stays() {
        let child = TaskRecord { parent_tgid: 7, ..ext(8, false, false) };
        assert_eq!(due(&[ext(7, false, true), child]), []);
    }
}
