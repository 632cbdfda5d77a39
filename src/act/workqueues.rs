//! Unbound workqueues: on which CPUs the kernel's deferred work runs that isn't bound to one.

use std::path::{Path, PathBuf};

/// The file with their mask of CPUs (Documentation/core-api/workqueue.rst).
pub fn mask_file(root: &Path) -> PathBuf {
    root.join("sys/devices/virtual/workqueue/cpumask")
}
