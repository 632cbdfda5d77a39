//! Cgroups for workers.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::workers::Worker;

/// A cgroup below the root. It is removed when dropped: its processes must have exited by then.
pub struct Cgroup(PathBuf);

impl Cgroup {
    pub fn new(name: &str) -> Result<Self> {
        let path = Path::new("/sys/fs/cgroup").join(name);
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Cgroup(path))
    }

    /// Make a child of this one.
    pub fn child(&self, name: &str) -> Result<Self> {
        std::fs::write(self.0.join("cgroup.subtree_control"), "+cpu").context("enabling the cpu controller")?;
        let path = self.0.join(name);
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Cgroup(path))
    }

    pub fn id(&self) -> Result<u64> {
        Ok(self.0.metadata()?.ino())
    }

    /// Let it use so many CPUs at most.
    pub fn limit(&self, quota_cpus: Option<f64>) -> Result<()> {
        const PERIOD_US: u64 = 100_000;
        self.set_quota(quota_cpus.map(|cpus| (cpus * PERIOD_US as f64).round() as u64), PERIOD_US)
    }

    /// Let it run for so long in each period.
    pub fn set_quota(&self, quota_us: Option<u64>, period_us: u64) -> Result<()> {
        let quota = quota_us.map_or("max".to_string(), |quota_us| quota_us.to_string());
        std::fs::write(self.0.join("cpu.max"), format!("{quota} {period_us}")).context("limiting a cgroup")
    }

    pub fn add(&self, worker: &Worker) -> Result<()> {
        Ok(std::fs::write(self.0.join("cgroup.procs"), worker.pid.to_string())?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
