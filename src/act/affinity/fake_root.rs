//! For tests: a directory with files like those of `/` that hold affinities.

use std::path::Path;

use tempfile::TempDir;

/// IRQs 4 and 24 and the workqueues have CPUs 0-3, and these CPUs are online. The directory is removed on drop.
pub struct FakeRoot(TempDir);

impl FakeRoot {
    pub fn new() -> Self {
        let root = FakeRoot(tempfile::tempdir().expect("a temporary directory"));
        root.put("proc/irq/4/smp_affinity_list", "0-3\n");
        root.put("proc/irq/24/smp_affinity_list", "0-3\n");
        root.put("proc/irq/default_smp_affinity", "f\n");
        root.put("proc/1/comm", "init\n");
        root.put("proc/meminfo", "");
        root.put("sys/devices/virtual/workqueue/cpumask", "f\n");
        root.put("sys/devices/system/cpu/online", "0-3\n");
        root
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn put(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a path within the root")).expect("its directory");
        std::fs::write(path, text).expect("the file");
    }

    pub fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).expect("the file").trim().to_string()
    }

    pub fn irq(&self, irq: u32) -> String {
        self.text(&format!("proc/irq/{irq}/smp_affinity_list"))
    }
}
