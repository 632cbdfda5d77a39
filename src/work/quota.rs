//! CPU quotas of cgroups: the `cpu.max` of a cgroup and of those above it.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroups::CgroupPaths;

/// The `cpu.max` of one cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The cgroup's id.
    pub cgroup_id: u64,
    /// Run time in each period, µs.
    pub quota_us: u64,
    /// Length of a period, µs.
    pub period_us: u64,
}

impl Quota {
    /// The quota in CPUs.
    pub fn cpus(&self) -> f64 {
        self.quota_us as f64 / self.period_us as f64
    }
}

/// The quotas of cgroups, cached.
pub struct Quotas {
    root: Option<PathBuf>,
    paths: CgroupPaths,
    /// The quotas on the path to a cgroup, by its id, as of `read_at`; the nearest comes first.
    known: HashMap<u64, Vec<Quota>>,
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

    /// The quotas of the cgroup with this id and of those above it, from the nearest to the outermost.
    pub fn on_path(&mut self, cgroup_id: u64) -> &[Quota] {
        let Some(root) = &self.root else { return &[] };
        let paths = &mut self.paths;
        self.known.entry(cgroup_id).or_insert_with(|| paths.path(cgroup_id).map_or(Vec::new(), |path| read(root, path)))
    }

    /// The tightest quota of the cgroup with this id, in CPUs; `None` without a limit.
    pub fn of(&mut self, cgroup_id: u64) -> Option<f64> {
        self.on_path(cgroup_id).iter().map(Quota::cpus).min_by(f64::total_cmp)
    }

    /// The path of the cgroup with this id, from the root of the hierarchy.
    pub fn path(&mut self, cgroup_id: u64) -> Option<&Path> {
        self.paths.path(cgroup_id)
    }
}

/// The quotas of the cgroup `inside` the hierarchy at `root` and of its ancestors.
fn read(root: &Path, inside: &Path) -> Vec<Quota> {
    let ancestors = inside.ancestors().map(|path| root.join(path.strip_prefix("/").unwrap_or(path)));
    // The root has no cpu.max, and a cgroup may be removed meanwhile: neither limits anything.
    let quota = |path: PathBuf| {
        let (quota_us, period_us) = parse(&std::fs::read_to_string(path.join("cpu.max")).ok()?)?;
        Some(Quota { cgroup_id: path.metadata().ok()?.ino(), quota_us, period_us })
    };
    ancestors.filter_map(quota).collect()
}

/// `max 100000` or `QUOTA PERIOD`, both in µs.
fn parse(text: &str) -> Option<(u64, u64)> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota_us, period_us) = (quota.parse().ok()?, period.parse().ok()?);
    (quota_us > 0 && period_us > 0).then_some((quota_us, period_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_on_the_path_applies() {
        let root = tempfile::tempdir().unwrap();
        let job = root.path().join("batch/job");
        std::fs::create_dir_all(&job).unwrap();
        let id = |path: &Path| path.metadata().unwrap().ino();
        let (job_id, batch_id) = (id(&job), id(&root.path().join("batch")));
        let quotas = |id| Quotas::new(Some(root.path())).on_path(id).to_vec();
        let batch = Quota { cgroup_id: batch_id, quota_us: 150_000, period_us: 100_000 };
        std::fs::write(root.path().join("batch/cpu.max"), "150000 100000\n").unwrap();
        std::fs::write(job.join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(quotas(job_id), [batch]);
        std::fs::write(job.join("cpu.max"), "25000 50000\n").unwrap();
        let own = Quota { cgroup_id: job_id, quota_us: 25_000, period_us: 50_000 };
        assert_eq!(quotas(job_id), [own, batch], "the nearest first");
        assert_eq!(Quotas::new(Some(root.path())).of(job_id), Some(0.5));
        assert_eq!(quotas(id(root.path())), []);
    }
}
