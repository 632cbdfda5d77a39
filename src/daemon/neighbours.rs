//! Others in this guest that place tasks, IRQs or pages too: which of them are there, and what follows.
//!
//! docs/coexistence.md has the same at length.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::linux::{process, CpuSet};

/// Something else that places tasks, IRQs or pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// The kernel's governor that takes CPUs with steal time out of use, `preferred` in sysfs.
    StealGovernor,
    /// Automatic NUMA balancing.
    NumaBalancing,
    /// irqbalance.
    Irqbalance,
    /// tuned.
    Tuned,
    /// Cgroups that may only use some of the CPUs.
    Cpusets,
    /// The static policy of Kubernetes' CPU manager.
    CpuManager,
}

/// A neighbour that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Who.
    pub neighbour: Neighbour,
    /// What was found, such as a list of CPUs.
    pub found: String,
}

impl Neighbour {
    /// Whether it gets in the way, rather than being obeyed.
    pub fn is_in_the_way(self) -> bool {
        matches!(self, Neighbour::NumaBalancing | Neighbour::StealGovernor)
    }

    /// What it does to scx_vnuma, what scx_vnuma does, and what the operator should do.
    fn advice(self) -> &'static str {
        match self {
            Neighbour::StealGovernor => {
                "the kernel keeps fixed tasks off them; scx_vnuma goes by what it measures and may still send work there: turn \
                 the governor off"
            }
            Neighbour::NumaBalancing => {
                "it unmaps pages to see which tasks use them and moves them by itself, which slows guests whose nodes are on \
                 different hosts (to 0.38 of their speed at worst, as GiantVM's authors found): run sysctl \
                 kernel.numa_balancing=0"
            }
            Neighbour::Irqbalance => {
                "with --move-irqs, those IRQs that it moves as well are left to it: stop it, or run with --move-irqs=false"
            }
            Neighbour::Tuned => {
                "its profiles may turn NUMA balancing on and set affinities, which scx_vnuma obeys: see that its profile does \
                 neither"
            }
            Neighbour::Cpusets => {
                "their tasks never leave those CPUs, so work that may use one node's only can't move: give migratable work \
                 CPUs of all nodes"
            }
            Neighbour::CpuManager => {
                "its containers with exclusive CPUs stay on them: leave their cgroups out of the selectors"
            }
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Neighbour::StealGovernor => "steal governor",
            Neighbour::NumaBalancing => "NUMA balancing",
            Neighbour::Irqbalance => "irqbalance",
            Neighbour::Tuned => "tuned",
            Neighbour::Cpusets => "cpusets",
            Neighbour::CpuManager => "Kubernetes' CPU manager",
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.neighbour, self.found, self.neighbour.advice())
    }
}

/// The neighbours on the system below `root`, usually `/`. What can't be read isn't there.
pub fn neighbours(root: &Path) -> Vec<Note> {
    let found = [
        (Neighbour::StealGovernor, unpreferred_cpus(root)),
        (Neighbour::NumaBalancing, numa_balancing(root)),
        (Neighbour::Irqbalance, process(root, "irqbalance")),
        (Neighbour::Tuned, tuned(root)),
        (Neighbour::Cpusets, cpusets(root)),
        (Neighbour::CpuManager, cpu_manager(root)),
    ];
    found.into_iter().filter_map(|(neighbour, found)| Some(Note { neighbour, found: found? })).collect()
}

fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_string())
}

/// The CPUs that the governor has taken out of use, if it is there and has taken any.
fn unpreferred_cpus(root: &Path) -> Option<String> {
    let list = |name: &str| CpuSet::from_list(&read(root, &format!("sys/devices/system/cpu/{name}"))?).ok();
    let left_out = list("online")?.without(&list("preferred")?);
    (!left_out.is_empty()).then(|| format!("CPUs {left_out} are not preferred"))
}

/// The setting is 0 for off, 1 for on, and 2 for tiered memory alone.
fn numa_balancing(root: &Path) -> Option<String> {
    read(root, "proc/sys/kernel/numa_balancing")
        .filter(|mode| mode != "0")
        .map(|_| "kernel.numa_balancing is on".into())
}

/// Whether a process of this name is there.
fn process(root: &Path, name: &str) -> Option<String> {
    process::runs(root, name).then(|| "it runs".into())
}

/// tuned keeps the name of its profile while it runs, and may keep settings when it has ended.
fn tuned(root: &Path) -> Option<String> {
    let runs = process(root, "tuned");
    let profile = read(root, "etc/tuned/active_profile").filter(|profile| !profile.is_empty());
    match (runs, profile) {
        (Some(_), Some(profile)) => Some(format!("it runs with profile {profile}")),
        (runs, _) => runs,
    }
}

/// Cgroups of the first two levels with CPUs of their own. Deeper ones have theirs from a pod or a slice.
fn cpusets(root: &Path) -> Option<String> {
    /// So many are named.
    const NAMED: usize = 3;

    let top = root.join("sys/fs/cgroup");
    let mut names: Vec<String> = children(&top)
        .into_iter()
        .flat_map(|dir| children(&dir).into_iter().chain([dir]).collect::<Vec<_>>())
        .filter(|dir| fs::read_to_string(dir.join("cpuset.cpus")).is_ok_and(|cpus| !cpus.trim().is_empty()))
        .filter_map(|dir| Some(format!("/{}", dir.strip_prefix(&top).ok()?.display())))
        .collect();
    names.sort_unstable();
    let nr_more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let more = if nr_more > 0 { format!(" and {nr_more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("cgroups with CPUs of their own: {}{more}", names.join(", ")))
}

fn children(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// The CPU manager's state is JSON with its policy's name.
fn cpu_manager(root: &Path) -> Option<String> {
    let state: serde_json::Value = serde_json::from_str(&read(root, "var/lib/kubelet/cpu_manager_state")?).ok()?;
    (state["policyName"] == "static").then(|| "its policy is static".into())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn root(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn found(files: &[(&str, &str)]) -> Vec<(Neighbour, String)> {
        let root = root(files);
        neighbours(root.path()).into_iter().map(|note| (note.neighbour, note.found)).collect()
    }

    #[test]
    fn nobody_is_found_on_a_system_without_neighbours() {
        assert_eq!(found(&[]), []);
        let calm = [
            ("sys/devices/system/cpu/online", "0-3\n"),
            ("sys/devices/system/cpu/preferred", "0-3\n"),
            ("proc/sys/kernel/numa_balancing", "0\n"),
            ("proc/1/comm", "init\n"),
            ("proc/bus/comm", "irqbalance\n"),
            ("etc/tuned/active_profile", "virtual-guest\n"),
            ("sys/fs/cgroup/system.slice/cpuset.cpus", "\n"),
            ("var/lib/kubelet/cpu_manager_state", r#"{"policyName":"none","defaultCpuSet":"","checksum":1}"#),
        ];
        assert_eq!(found(&calm), []);
    }

    #[test]
    fn each_neighbour_is_found_by_what_it_leaves() {
        let all = [
            ("sys/devices/system/cpu/online", "0-3\n"),
            ("sys/devices/system/cpu/preferred", "0-1\n"),
            ("proc/sys/kernel/numa_balancing", "1\n"),
            ("proc/7/comm", "irqbalance\n"),
            ("proc/8/comm", "tuned\n"),
            ("etc/tuned/active_profile", "virtual-guest\n"),
            ("sys/fs/cgroup/batch/cpuset.cpus", "0-1\n"),
            ("sys/fs/cgroup/kubepods.slice/pod1/cpuset.cpus", "2-3\n"),
            ("var/lib/kubelet/cpu_manager_state", r#"{"policyName":"static","defaultCpuSet":"0-1","checksum":1}"#),
        ];
        let expected = [
            (Neighbour::StealGovernor, "CPUs 2-3 are not preferred"),
            (Neighbour::NumaBalancing, "kernel.numa_balancing is on"),
            (Neighbour::Irqbalance, "it runs"),
            (Neighbour::Tuned, "it runs with profile virtual-guest"),
            (Neighbour::Cpusets, "cgroups with CPUs of their own: /batch, /kubepods.slice/pod1"),
            (Neighbour::CpuManager, "its policy is static"),
        ];
        assert_eq!(found(&all), expected.map(|(neighbour, text)| (neighbour, text.to_string())));
    }

    #[test]
    fn of_many_cpusets_a_few_are_named() {
        let files: Vec<(String, &str)> = (0..9).map(|nr| (format!("sys/fs/cgroup/g{nr}/cpuset.cpus"), "0\n")).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!(found(&files)[0].1, "cgroups with CPUs of their own: /g0, /g1, /g2 and 6 more");
    }

    #[test]
    fn damaged_files_are_no_neighbour_and_no_failure() {
        assert_eq!(found(&[("var/lib/kubelet/cpu_manager_state", "{"), ("sys/devices/system/cpu/preferred", "x")]), []);
    }

    #[test]
    fn each_note_says_what_the_operator_should_do() {
        let root = root(&[("proc/sys/kernel/numa_balancing", "1\n")]);
        let note = neighbours(root.path())[0].to_string();
        assert!(note.starts_with("NUMA balancing: kernel.numa_balancing is on; "), "{note}");
        assert!(note.ends_with("run sysctl kernel.numa_balancing=0"), "{note}");
    }
}
