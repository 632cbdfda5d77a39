//! The CPUs on which users want neither IRQs nor unbound workers.

use std::path::Path;

use crate::linux::CpuSet;

/// Lists of CPUs that boot options isolate.
const LISTS: [&str; 2] = ["sys/devices/system/cpu/isolated", "sys/devices/system/cpu/nohz_full"];

/// A mask of the CPUs that isolated cpuset partitions keep unbound workers off; also those of isolcpus=.
const MASK: &str = "sys/devices/virtual/workqueue/cpumask_isolated";

/// All isolated CPUs of the system below `root`, usually `/`. Older kernels lack some of the files, and write "(null)" for an
/// empty list.
pub fn isolated_cpus(root: &Path) -> CpuSet {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let lists = LISTS.iter().filter_map(|path| CpuSet::from_list(&read(path)?).ok());
    let mask = read(MASK).and_then(|text| CpuSet::from_mask(&text).ok());
    lists.chain(mask).flat_map(|cpus| cpus.iter().collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fake_root::FakeRoot;
    use super::*;

    #[test]
    fn all_ways_to_isolate_a_cpu_count() {
        let root = FakeRoot::new();
        assert!(isolated_cpus(root.path()).is_empty());
        root.put(LISTS[1], "(null)\n");
        root.put(LISTS[0], "\n");
        assert!(isolated_cpus(root.path()).is_empty());
        root.put(LISTS[0], "1\n");
        root.put(LISTS[1], "5-6\n");
        root.put(MASK, "00000000,0000000c\n");
        assert_eq!(isolated_cpus(root.path()).to_string(), "1-3,5-6");
    }
}
