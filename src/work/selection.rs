//! Makes tasks migratable by the policy SCHED_EXT, and restores the policy that they had.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::selectors::{unmatched_text, Selectors};
use super::{policy, policy_change, CgroupPaths, KeptQuotas, Quotas, Selector, TaskRecord};
use crate::bpf::{Class, KernelQuota};

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
    kept_quotas: KeptQuotas,
    /// Migratable tasks escape the quotas of their cgroups.
    lifts_quotas: bool,
    /// The class has all tasks, not only those that are selected.
    takes_all: bool,
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
            kept_quotas: KeptQuotas::default(),
            lifts_quotas: false,
            takes_all: false,
            own_tgid: std::process::id() as i32,
            told: HashSet::new(),
            has_told_of_quotas: false,
        }
    }

    /// Let migratable tasks escape the quotas of their cgroups.
    pub fn lift_quotas(self) -> Self {
        Selection { lifts_quotas: true, ..self }
    }

    /// Keep the quotas of all tasks: the class has them all, whatever the selectors say.
    pub fn take_all(self) -> Self {
        Selection { takes_all: true, ..self }
    }

    /// Select by other selectors from now on, and keep or lift quotas as `new` does. What the class was told of quotas is remembered.
    pub fn replace_by(&mut self, new: Selection) {
        let kept_quotas = std::mem::take(&mut self.kept_quotas);
        *self = Selection { kept_quotas, ..new };
    }

    /// The selectors that have matched no task for a while.
    pub fn idle_selectors(&self) -> Vec<String> {
        self.selectors.idle(Instant::now()).into_iter().map(Selector::to_string).collect()
    }

    fn change(&mut self, class: &dyn Class, task: &TaskRecord, quotas: &mut Quotas) -> Result<Option<Change>> {
        if task.tgid == self.own_tgid {
            return Ok(None);
        }
        let mut matches = self.selectors.matches(task, &mut self.cgroups);
        if (matches || task.is_migratable() || self.takes_all) && !self.keep_quotas(class, task, quotas)? {
            matches = false;
        }
        Ok(match (matches, task.is_migratable()) {
            _ if task.is_migratable_by_choice() => None,
            (true, false) => Some(Change::Select),
            (false, true) => Some(Change::GiveBack),
            _ => None,
        })
    }

    /// Make the class keep the quotas of the task's cgroup. Returns false if it can't, so that the task must stay fixed. That is told of
    /// the first such cgroup.
    fn keep_quotas(&mut self, class: &dyn Class, task: &TaskRecord, quotas: &mut Quotas) -> Result<bool> {
        let path = quotas.on_path(task.cgroup_id);
        if path.is_empty() || self.lifts_quotas || self.kept_quotas.keep(class, path)? {
            return Ok(true);
        }
        if !std::mem::replace(&mut self.has_told_of_quotas, true) {
            let path = quotas.path(task.cgroup_id).unwrap_or(Path::new("/"));
            let text = if class.keeps_quotas() { too_many_quotas_text(path) } else { no_quotas_text(path) };
            log::warn!("{text}");
        }
        Ok(false)
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
            let Some(change) = self.change(class, task, quotas)? else { continue };
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
        self.kept_quotas.end_round(class)?;
        for selector in self.selectors.unmatched(Instant::now()) {
            log::warn!("{}", unmatched_text(selector));
        }
        Ok(changes)
    }
}

/// What to say of tasks that stay fixed because of quotas.
fn too_many_quotas_text(cgroup: &Path) -> String {
    format!(
        "tasks of cgroup {} stay fixed: scx_vnuma keeps {} CPU quotas at a time, of which {} may be on the path to one cgroup; select          fewer cgroups, or lift quotas with --lift-quotas",
        cgroup.display(),
        KernelQuota::NR_MAX,
        KernelQuota::DEPTH_MAX
    )
}

/// What to say of tasks that stay fixed because this kernel lets us keep no quota.
fn no_quotas_text(cgroup: &Path) -> String {
    format!(
        "tasks with a CPU quota stay fixed, as those of cgroup {}: scx_vnuma can't keep their cpu.max on this kernel, whose BTF has a \
         malformed scx_bpf_kick_cpu; --lift-quotas makes them migratable all the same",
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
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::work::kept_quotas::tests::FakeClass;
    use crate::work::test_task;

    fn selection() -> Selection {
        Selection::new(vec!["nice>=1".parse().unwrap()], None)
    }

    fn change(selection: &mut Selection, task: &TaskRecord) -> Option<Change> {
        selection.change(&FakeClass::default(), task, &mut Quotas::new(None)).unwrap()
    }

    #[test]
    fn a_matching_task_is_selected_once() {
        let mut task = TaskRecord { nice: 5, ..test_task(7, "job") };
        assert_eq!(change(&mut selection(), &task), Some(Change::Select));
        task.policy = policy::EXT;
        task.is_selected = true;
        assert_eq!(change(&mut selection(), &task), None);
    }

    #[test]
    fn a_task_that_stops_matching_is_given_back() {
        let task = TaskRecord { policy: policy::EXT, is_selected: true, ..test_task(7, "job") };
        assert_eq!(change(&mut selection(), &task), Some(Change::GiveBack));
    }

    #[test]
    fn a_task_migratable_by_choice_is_left_alone() {
        let task = TaskRecord { policy: policy::EXT, ..test_task(7, "job") };
        assert_eq!(change(&mut selection(), &task), None);
    }

    #[test]
    fn the_class_is_told_of_a_migratable_tasks_quotas_and_of_their_end() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("pods/job")).unwrap();
        let limit = |text| std::fs::write(root.path().join("pods/cpu.max"), text).unwrap();
        let [pods_id, job_id] = ["pods", "pods/job"].map(|path| root.path().join(path).metadata().unwrap().ino());
        let mut tasks =
            [TaskRecord { policy: policy::EXT, is_selected: true, nice: 5, cgroup_id: job_id, ..test_task(7, "job") }];
        let class = FakeClass::default();
        let mut apply = |selection: &mut Selection| {
            selection.apply(&class, &mut tasks, &mut Quotas::new(Some(root.path()))).unwrap();
            class.quotas.take().iter().map(|quota| (quota.cgroup_id, quota.quota_ns)).collect::<Vec<_>>()
        };
        let mut keeping = selection();
        limit("50000 100000\n");
        assert_eq!([apply(&mut keeping), apply(&mut keeping)], [vec![(pods_id, 50_000_000)], vec![]]);
        limit("25000 100000\n");
        assert_eq!(apply(&mut keeping), [(pods_id, 25_000_000)]);
        keeping.replace_by(selection().lift_quotas());
        assert_eq!([apply(&mut keeping), apply(&mut keeping)], [vec![(pods_id, 0)], vec![]], "lifted");
        keeping.replace_by(selection());
        assert_eq!(apply(&mut keeping), [(pods_id, 25_000_000)], "kept again");
        limit("max 100000\n");
        assert_eq!(apply(&mut keeping), [(pods_id, 0)]);
    }

    #[test]
    fn a_task_below_more_quotas_than_can_be_kept_stays_fixed() {
        let root = tempfile::tempdir().unwrap();
        let mut path = root.path().to_path_buf();
        for level in 0..=KernelQuota::DEPTH_MAX {
            path.push(format!("level-{level}"));
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("cpu.max"), "50000 100000\n").unwrap();
        }
        let id = |path: &Path| path.metadata().unwrap().ino();
        let change = |cgroup_id, selection: &mut Selection| {
            let task = TaskRecord { nice: 5, cgroup_id, ..test_task(7, "job") };
            selection.change(&FakeClass::default(), &task, &mut Quotas::new(Some(root.path()))).unwrap()
        };
        assert_eq!(change(id(path.parent().unwrap()), &mut selection()), Some(Change::Select));
        assert_eq!(change(id(&path), &mut selection()), None);
        assert_eq!(change(id(&path), &mut selection().lift_quotas()), Some(Change::Select));
        let text = too_many_quotas_text(Path::new("/pods/job"));
        assert!(text.contains("/pods/job stay fixed") && text.contains("--lift-quotas"), "{text}");
    }

    #[test]
    fn where_quotas_cant_be_kept_tasks_with_one_stay_fixed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("pods")).unwrap();
        std::fs::write(root.path().join("pods/cpu.max"), "50000 100000\n").unwrap();
        let cgroup_id = root.path().join("pods").metadata().unwrap().ino();
        let task = TaskRecord { nice: 5, cgroup_id, ..test_task(7, "job") };
        let selected = TaskRecord { policy: policy::EXT, is_selected: true, ..task };
        let class = FakeClass { keeps_none: true, ..FakeClass::default() };
        let change = |selection: &mut Selection, task: &TaskRecord| {
            selection.change(&class, task, &mut Quotas::new(Some(root.path()))).unwrap()
        };
        assert_eq!([&task, &selected].map(|task| change(&mut selection(), task)), [None, Some(Change::GiveBack)]);
        let mut lifting = selection().lift_quotas();
        assert_eq!([&task, &selected].map(|task| change(&mut lifting, task)), [Some(Change::Select), None]);
        let text = no_quotas_text(Path::new("/pods"));
        assert!(text.contains("cgroup /pods") && text.contains("--lift-quotas"), "{text}");
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
        assert_eq!(change(&mut selection(), &TaskRecord { nice: 5, ..test_task(own, "scx_vnuma") }), None);
    }
}
