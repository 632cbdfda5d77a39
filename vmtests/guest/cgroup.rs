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
        const PERIOD_US: f64 = 1e5;
        let quota = quota_cpus.map_or("max".to_string(), |cpus| format!("{}", (cpus * PERIOD_US).round()));
        std::fs::write(self.0.join("cpu.max"), format!("{quota} {PERIOD_US}")).context("limiting a cgroup")
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
