//! Makes tasks migratable by the policy SCHED_EXT, and restores the policy that they had.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::selectors::{unmatched_text, Selectors};
use super::{policy, policy_change, CgroupPaths, Quotas, Selector, TaskRecord};
use crate::bpf::Class;

/// The change that a round makes to one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Select,
    GiveBack,
}

/// Decides which tasks are migratable and updates their policies each round.
pub struct Selection {
    selectors: Selectors,
    cgroups: CgroupPaths,
    /// The fair class keeps `cpu.max`, and sched_ext leaves it to the scheduler, so tasks with a quota stay fixed unless this is
    /// true.
    lifts_quotas: bool,
    own_tgid: i32,
    /// The refusals, by error number, whose reason has been told.
    told: HashSet<Option<i32>>,
    has_told_of_quotas: bool,
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
    /// `cgroup_root` is where the v2 hierarchy is mounted; without it, `cgroup=` matches nothing.
    pub fn new(selectors: Vec<Selector>, cgroup_root: Option<&Path>) -> Self {
        Selection {
            selectors: Selectors::new(selectors, Instant::now()),
            cgroups: cgroup_root.map(CgroupPaths::new).unwrap_or_default(),
            lifts_quotas: false,
            own_tgid: std::process::id() as i32,
            told: HashSet::new(),
            has_told_of_quotas: false,
        }
    }

    /// Select tasks whose cgroup has a CPU quota, too. Nothing keeps it then.
    pub fn lift_quotas(self) -> Self {
        Selection { lifts_quotas: true, ..self }
    }

    /// The selectors that have matched no task for a while.
    pub fn idle_selectors(&self) -> Vec<String> {
        self.selectors.idle(Instant::now()).into_iter().map(Selector::to_string).collect()
    }

    fn change(&mut self, task: &TaskRecord, quotas: &mut Quotas) -> Option<Change> {
        if task.tgid == self.own_tgid {
            return None;
        }
        let matches = self.selectors.matches(task, &mut self.cgroups) && !self.is_kept_by_quota(task, quotas);
        if task.is_migratable_by_choice() {
            return None;
        }
        match (matches, task.is_migratable()) {
            (true, false) => Some(Change::Select),
            (false, true) => Some(Change::GiveBack),
            _ => None,
        }
    }

    /// Return true if the task stays fixed because of a quota. That is told of the first such cgroup.
    fn is_kept_by_quota(&mut self, task: &TaskRecord, quotas: &mut Quotas) -> bool {
        if self.lifts_quotas {
            return false;
        }
        let Some(quota_cpus) = quotas.of(task.cgroup_id) else { return false };
        if !std::mem::replace(&mut self.has_told_of_quotas, true) {
            let path = quotas.path(task.cgroup_id).unwrap_or(Path::new("/"));
            log::warn!("{}", quota_text(path, quota_cpus));
        }
        true
    }

    /// The reason of a refusal is told once, as refused tasks are tried again in each round.
    fn tell(&mut self, task: &TaskRecord, err: &io::Error) {
        let level = match self.told.insert(err.raw_os_error()) {
            true => log::Level::Warn,
            false => log::Level::Debug,
        };
        log::log!(level, "{}", refusal_text(task, err));
    }

    /// Make matching tasks migratable and restore those that no longer match. Tasks may end meanwhile; that is no
    /// error.
    pub fn apply(
        &mut self,
        class: &dyn Class,
        tasks: &mut [TaskRecord],
        quotas: &mut Quotas,
    ) -> Result<SelectionChanges> {
        let mut changes = SelectionChanges::default();
        self.cgroups.begin_round();
        for task in tasks {
            let Some(change) = self.change(task, quotas) else { continue };
            let outcome = match change {
                Change::Select => select(class, task)?,
                Change::GiveBack => give_back(class, task)?,
            };
            match (outcome, change) {
                (Ok(true), Change::Select) => changes.nr_selected += 1,
                (Ok(true), Change::GiveBack) => changes.nr_given_back += 1,
                // It has ended, or has another policy than a moment ago: the next round sees it as it is.
                (Ok(false), _) => {}
                (Err(err), _) => {
                    changes.nr_refused += 1;
                    self.tell(task, &err);
                }
            }
        }
        for selector in self.selectors.unmatched(Instant::now()) {
            log::warn!("{}", unmatched_text(selector));
        }
        Ok(changes)
    }
}

/// What to say of tasks that stay fixed because of their quota.
fn quota_text(cgroup: &Path, quota_cpus: f64) -> String {
    format!(
        "tasks with a CPU quota stay fixed, as those of cgroup {}, which may use {quota_cpus} CPUs: a migratable task escapes its \
         cpu.max; --lift-quotas makes them migratable all the same",
        cgroup.display()
    )
}

/// What to say of a refusal.
fn refusal_text(task: &TaskRecord, err: &io::Error) -> String {
    let remedy = match err.raw_os_error() {
        Some(libc::EPERM) => {
            "; scx_vnuma needs CAP_SYS_NICE: for a service, add it to CapabilityBoundingSet=, for a container to --cap-add"
        }
        _ => "",
    };
    format!("the kernel refuses to change the policy of task {} ({}): {err}{remedy}", task.tid, task.comm())
}

/// Make a task migratable, unless it has ended or its policy is no longer one that may be changed.
fn select(class: &dyn Class, task: &mut TaskRecord) -> Result<io::Result<bool>> {
    // The record is made first, so that every selected SCHED_EXT task has its own policy on record.
    let Some(own_policy) = class.select(task.tid, task.started_at_ns)? else { return Ok(Ok(false)) };
    let outcome = policy_change::select(task.tid, own_policy);
    match outcome {
        Ok(true) => {
            task.policy = policy::EXT;
            task.own_policy = own_policy;
            task.is_selected = true;
        }
        // If it becomes migratable by choice later, it must not count as selected.
        _ => drop(class.unselect(task.tid, task.started_at_ns)?),
    }
    Ok(outcome)
}

/// Restore a task's own policy, if it is still migratable.
fn give_back(class: &dyn Class, task: &mut TaskRecord) -> Result<io::Result<bool>> {
    let outcome = policy_change::give_back(task, task.own_policy);
    if let Ok(true) = outcome {
        class.unselect(task.tid, task.started_at_ns)?;
        task.policy = task.own_policy;
        task.is_selected = false;
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::test_task;

    fn selection() -> Selection {
        Selection::new(vec!["nice>=1".parse().unwrap()], None)
    }

    fn no_quotas() -> Quotas {
        Quotas::new(None)
    }

    #[test]
    fn a_matching_task_is_selected_once() {
        let mut task = TaskRecord { nice: 5, ..test_task(7, "job") };
        assert_eq!(selection().change(&task, &mut no_quotas()), Some(Change::Select));
        task.policy = policy::EXT;
        task.is_selected = true;
        assert_eq!(selection().change(&task, &mut no_quotas()), None);
    }

    #[test]
    fn a_task_that_stops_matching_is_given_back() {
        let task = TaskRecord { policy: policy::EXT, is_selected: true, ..test_task(7, "job") };
        assert_eq!(selection().change(&task, &mut no_quotas()), Some(Change::GiveBack));
    }

    #[test]
    fn a_task_migratable_by_choice_is_left_alone() {
        let task = TaskRecord { policy: policy::EXT, ..test_task(7, "job") };
        assert_eq!(selection().change(&task, &mut no_quotas()), None);
    }

    #[test]
    fn a_task_with_a_quota_stays_fixed_until_the_quota_goes() {
        use std::os::unix::fs::MetadataExt;
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("pods/job")).unwrap();
        let limit = |text| std::fs::write(root.path().join("pods/cpu.max"), text).unwrap();
        let cgroup_id = root.path().join("pods/job").metadata().unwrap().ino();
        let fixed = TaskRecord { nice: 5, cgroup_id, ..test_task(7, "job") };
        let selected = TaskRecord { policy: policy::EXT, is_selected: true, ..fixed };
        let change = |task: &TaskRecord, lifts: bool| {
            let mut selection = if lifts { selection().lift_quotas() } else { selection() };
            selection.change(task, &mut Quotas::new(Some(root.path())))
        };
        limit("50000 100000\n");
        assert_eq!([change(&fixed, false), change(&selected, false)], [None, Some(Change::GiveBack)]);
        assert_eq!([change(&fixed, true), change(&selected, true)], [Some(Change::Select), None]);
        limit("max 100000\n");
        assert_eq!([change(&fixed, false), change(&selected, false)], [Some(Change::Select), None]);
    }

    #[test]
    fn the_first_cgroup_with_a_quota_is_told_with_the_remedy() {
        let text = quota_text(Path::new("/pods/job"), 0.5);
        assert!(text.contains("/pods/job, which may use 0.5 CPUs") && text.contains("--lift-quotas"), "{text}");
    }

    #[test]
    fn a_refusal_is_told_with_the_capability_that_is_missing() {
        let text = |errno| refusal_text(&test_task(7, "job"), &io::Error::from_raw_os_error(errno));
        let missing = text(libc::EPERM);
        assert!(
            missing.contains("task 7 (job): Operation not permitted") && missing.contains("CAP_SYS_NICE"),
            "{missing}"
        );
        assert!(!text(libc::EACCES).contains("CAP_SYS_NICE"));
    }

    #[test]
    fn the_reason_of_a_refusal_is_told_once() {
        let mut selection = selection();
        let is_new = |selection: &mut Selection, errno| {
            let before = selection.told.len();
            selection.tell(&test_task(7, "job"), &io::Error::from_raw_os_error(errno));
            selection.told.len() > before
        };
        assert!(is_new(&mut selection, libc::EPERM) && !is_new(&mut selection, libc::EPERM));
        assert!(is_new(&mut selection, libc::EACCES));
    }

    #[test]
    fn the_daemon_itself_never_migrates() {
        let own = std::process::id() as i32;
        assert_eq!(selection().change(&TaskRecord { nice: 5, ..test_task(own, "scx_vnuma") }, &mut no_quotas()), None);
    }
}
