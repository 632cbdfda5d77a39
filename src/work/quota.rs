//! The CPU quota of a cgroup: the tightest `cpu.max` of it and its ancestors.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroups::CgroupPaths;

/// The quotas of cgroups, cached.
pub struct Quotas {
    root: Option<PathBuf>,
    paths: CgroupPaths,
    /// Quota in CPUs by cgroup id, as of `read_at`; `None` without a limit.
    known: HashMap<u64, Option<f64>>,
    read_at: Option<Instant>,
}

impl Quotas {
    /// Use the v2 hierarchy mounted at `root`. Without one there are no quotas.
    pub fn new(root: Option<&Path>) -> Self {
        Quotas {
            paths: root.map(CgroupPaths::new).unwrap_or_default(),
            root: root.map(Path::to_path_buf),
            known: HashMap::new(),
            read_at: None,
        }
    }

    /// Begin a round. Quotas are read at most once a second, because each takes one file per level of the hierarchy.
    pub fn begin_round(&mut self) {
        const PERIOD: Duration = Duration::from_secs(1);

        if self.read_at.is_none_or(|at| at.elapsed() >= PERIOD) {
            self.known.clear();
            self.read_at = Some(Instant::now());
        }
        self.paths.begin_round();
    }

    /// The quota of the cgroup with this id, in CPUs; `None` without a limit.
    pub fn of(&mut self, cgroup_id: u64) -> Option<f64> {
        let root = self.root.as_ref()?;
        let paths = &mut self.paths;
        *self.known.entry(cgroup_id).or_insert_with(|| cpu_quota(root, paths.path(cgroup_id)?))
    }

    /// The path of the cgroup with this id, from the root of the hierarchy.
    pub fn path(&mut self, cgroup_id: u64) -> Option<&Path> {
        self.paths.path(cgroup_id)
    }
}

/// The lowest quota of the cgroup `inside` the hierarchy at `root` and of its ancestors, in CPUs; `None` without a
/// limit.
fn cpu_quota(root: &Path, inside: &Path) -> Option<f64> {
    let ancestors = inside.ancestors().map(|path| path.strip_prefix("/").unwrap_or(path));
    // The root has no cpu.max, and a cgroup may be removed meanwhile: neither limits anything.
    let texts = ancestors.filter_map(|path| std::fs::read_to_string(root.join(path).join("cpu.max")).ok());
    texts.filter_map(|text| parse(&text)).min_by(f64::total_cmp)
}

/// `max 100000` or `QUOTA PERIOD`, both in µs.
fn parse(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota_us, period_us) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (period_us > 0.0).then_some(quota_us / period_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_on_the_path_applies() {
        let root = std::env::temp_dir().join(format!("vnuma-quota-{}", std::process::id()));
        std::fs::create_dir_all(root.join("batch/job")).unwrap();
        std::fs::write(root.join("batch/cpu.max"), "150000 100000\n").unwrap();
        std::fs::write(root.join("batch/job/cpu.max"), "max 100000\n").unwrap();
        assert_eq!(cpu_quota(&root, Path::new("/batch/job")), Some(1.5));
        std::fs::write(root.join("batch/job/cpu.max"), "50000 100000\n").unwrap();
        assert_eq!(cpu_quota(&root, Path::new("/batch/job")), Some(0.5));
        assert_eq!(cpu_quota(&root, Path::new("/")), None);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
