//! How much memory a node has for more work.
//!
//! Free pages, and those that the kernel frees before it gives an allocation a page of another node: the page cache and slabs that
//! can be reclaimed. Not what it keeps: watermarks and reserves. So `MemAvailable` of /proc/meminfo is made (mm/show_mem.c,
//! `si_mem_available`), which the kernel has only for the whole machine.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cell::NodeId;

/// What the kernel keeps of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Reclaim begins below the sum of the zones' low watermarks.
    low_bytes: u64,
    /// Each zone's high watermark, and what it keeps for allocations that fit nowhere else.
    reserve_bytes: u64,
}

/// What the kernel keeps of each node, by the text of /proc/zoneinfo.
pub(super) fn kept(zoneinfo: &str) -> BTreeMap<NodeId, Kept> {
    let page_bytes = procfs::page_size();
    let mut kept: BTreeMap<NodeId, Kept> = BTreeMap::new();
    for zone in zoneinfo.split("Node ").skip(1) {
        let Some(node) = zone.split(',').next().and_then(|id| id.trim().parse().ok()).map(NodeId) else { continue };
        let mut lines = zone.lines().map(str::trim);
        let mut pages = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.trim().parse::<u64>().ok();
            lines.by_ref().find_map(value).unwrap_or(0)
        };
        // In the order in which they stand there.
        let (low, high, managed) = (pages("low "), pages("high "), pages("managed "));
        let protection = zone.lines().find_map(|line| line.trim().strip_prefix("protection: ("));
        let numbers = protection.unwrap_or("").trim_end_matches(')').split(',').filter_map(|n| n.trim().parse().ok());
        let reserve = numbers.max().unwrap_or(0_u64).saturating_add(high).min(managed);
        let sum = kept.entry(node).or_default();
        sum.low_bytes += low.saturating_mul(page_bytes);
        sum.reserve_bytes += reserve.saturating_mul(page_bytes);
    }
    kept
}

/// Memory of a node for more work, in bytes, by the text of its `meminfo`; `None` if that lacks a figure, or the node has only CPUs:
/// its work has its memory elsewhere anyway.
pub(super) fn free_bytes(meminfo: &str, kept: Kept) -> Option<u64> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.split_once(name))?.1;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024))
    };
    // As the kernel has it: some of it is in use however idle it seems.
    let reclaimable = |bytes: u64| bytes - (bytes / 2).min(kept.low_bytes);
    if bytes("MemTotal:") == Some(0) {
        return None;
    }
    let cache = bytes("Active(file):").zip(bytes(" Inactive(file):")).map(|(active, inactive)| active + inactive)?;
    let slabs = bytes("KReclaimable:").or_else(|| bytes("SReclaimable:")).unwrap_or(0);
    let free = bytes("MemFree:")?.saturating_sub(kept.reserve_bytes);
    Some(free.saturating_add(reclaimable(cache)).saturating_add(reclaimable(slabs)))
}

/// The same of each node that sysfs has; those that can't be read are left out.
pub(super) fn free_by_node(node_dir: &Path, kept: &BTreeMap<NodeId, Kept>, nodes: &[NodeId]) -> BTreeMap<NodeId, u64> {
    let free = |&node: &NodeId| {
        let text = std::fs::read_to_string(node_dir.join(format!("node{node}/meminfo"))).ok()?;
        Some((node, free_bytes(&text, kept.get(&node).copied().unwrap_or_default())?))
    };
    nodes.iter().filter_map(free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a guest of 256 MiB a node, shortened.
    const ZONEINFO: &str = "\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 1347
      nr_slab_reclaimable 108130
  pages free     3840
        boost    0
        min      15
        low      18
        high     21
        promo    24
        spanned  4095
        present  3998
        managed  3840
        cma      0
        protection: (0, 200, 200, 200, 200)
      nr_free_pages 3840
Node 0, zone    DMA32
  pages free     1000
        min      100
        low      150
        high     200
        managed  60000
        protection: (0, 0, 0, 0, 0)
Node 3, zone   Normal
  pages free     5
        min      100
        low      125
        high     150
        managed  100
        protection: (0, 0, 0, 0, 0)
";

    #[test]
    fn what_the_kernel_keeps_is_summed_over_a_nodes_zones() {
        let page = procfs::page_size();
        let of = |low, reserve| Kept { low_bytes: low * page, reserve_bytes: reserve * page };
        assert_eq!(kept(ZONEINFO), [(NodeId(0), of(168, 421)), (NodeId(3), of(125, 100))].into());
        assert!(kept("").is_empty() && kept("Node x, zone DMA\n").is_empty());
    }

    #[test]
    fn what_work_may_use_is_free_or_can_be_reclaimed_and_not_kept() {
        let meminfo = "\
Node 3 MemTotal:         262144 kB
Node 3 MemFree:           10000 kB
Node 3 Active(anon):      90000 kB
Node 3 Active(file):       3000 kB
Node 3 Inactive(file):     5000 kB
Node 3 Shmem:             70000 kB
Node 3 KReclaimable:        600 kB
Node 3 SReclaimable:        500 kB
";
        let kept = Kept { low_bytes: 1000 << 10, reserve_bytes: 2500 << 10 };
        assert_eq!(free_bytes(meminfo, Kept::default()), Some((10000 + 8000 + 600) << 10));
        assert_eq!(free_bytes(meminfo, kept), Some((7500 + 7000 + 300) << 10));
        let all = Kept { low_bytes: u64::MAX, reserve_bytes: u64::MAX };
        assert_eq!(free_bytes(meminfo, all), Some((4000 + 300) << 10), "half of what is cached, at most");
        assert_eq!(free_bytes("Node 3 MemFree: 5 kB\n", kept), None);
        assert_eq!(free_bytes(&meminfo.replace("  262144 kB", " 0 kB"), kept), None, "a node without memory");
        assert_eq!(free_bytes(&meminfo.replace("10000 kB", "x kB"), kept), None);
    }

    #[test]
    fn nodes_whose_ids_have_gaps_are_read_and_what_is_missing_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        for (node, free) in [(0, 100), (7, 50)] {
            std::fs::create_dir(folder.path().join(format!("node{node}"))).unwrap();
            let text = format!(
                "Node {node} MemFree: {free} kB\nNode {node} Active(file): 0 kB\nNode {node} Inactive(file): 0 kB\n"
            );
            std::fs::write(folder.path().join(format!("node{node}/meminfo")), text).unwrap();
        }
        let free = free_by_node(folder.path(), &BTreeMap::new(), &[NodeId(0), NodeId(3), NodeId(7)]);
        assert_eq!(free, [(NodeId(0), 100 << 10), (NodeId(7), 50 << 10)].into());
    }

    #[test]
    fn the_nodes_of_this_machine_sum_up_to_about_what_the_kernel_calls_available() {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let kept = kept(&read("/proc/zoneinfo"));
        let nodes: Vec<NodeId> = (0..64).map(NodeId).collect();
        let free = free_by_node(Path::new("/sys/devices/system/node"), &kept, &nodes);
        if free.is_empty() {
            return;
        }
        let sum = free.values().sum::<u64>() as f64;
        let kib = |text: &str, name: &str| -> f64 {
            let line = text.lines().find_map(|line| Some(line.split_once(name)?.1));
            line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0.0)
        };
        let of_nodes = |name| -> f64 {
            let text = |node: &NodeId| read(&format!("/sys/devices/system/node/node{node}/meminfo"));
            free.keys().map(|node| kib(&text(node), name)).sum()
        };
        let machine = read("/proc/meminfo");
        // Some machines with memory that came later count it for no node.
        if of_nodes("MemTotal:") < 0.99 * kib(&machine, "MemTotal:") {
            return;
        }
        let ratio = sum / (kib(&machine, "MemAvailable:") * 1024.0);
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }
}
