//! Gives all selected tasks the policy back that they had: on every orderly exit, or later if the daemon was killed; and
//! then IRQs and workqueues too.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use super::migratable::give_back;
use super::surroundings::{put_back_after_kill, PutBack, SurroundingsError};
use crate::bpf::{remove_pins, PINNED_TASKS, PIN_DIR};
use crate::sense::{policy, read_tasks, TaskRecord};

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

/// What was undone after a kill.
#[derive(Debug)]
pub struct Restored {
    /// Tasks that were given their policy back.
    pub nr_given_back: u64,
    /// IRQs and workqueues; `None` when they had not been touched.
    pub put_back: Option<PutBack>,
    /// Why IRQs and workqueues stay as they are, with the remedy.
    pub failure: Option<SurroundingsError>,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tasks went back to the policy they had", self.nr_given_back)?;
        self.put_back.iter().try_for_each(|put_back| write!(f, "; {put_back}"))
    }
}

/// Undoes what a killed daemon left: its tasks' policies, IRQs and workqueues, and its pins. Returns `None` when it left
/// nothing.
pub fn restore_after_kill() -> Result<Option<Restored>> {
    let (put_back, failure) = match put_back_after_kill(Path::new("/")) {
        Ok(put_back) => (put_back, None),
        Err(err) => (None, Some(err)),
    };
    if !Path::new(PIN_DIR).exists() && put_back.is_none() && failure.is_none() {
        return Ok(None);
    }
    let nr_given_back = if Path::new(PINNED_TASKS).exists() {
        give_back_all(|tasks| {
            let iterator = File::open(PINNED_TASKS).with_context(|| format!("opening {PINNED_TASKS}"))?;
            read_tasks(iterator, tasks).with_context(|| format!("reading {PINNED_TASKS}"))
        })?
    } else {
        0
    };
    remove_pins();
    Ok(Some(Restored { nr_given_back, put_back, failure }))
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
    use crate::sense::test_task;

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
