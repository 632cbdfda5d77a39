//! The guest's vNUMA nodes and their CPUs.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cell::NodeId;
use crate::linux::CpuSet;

/// The CPUs of each node. Node and CPU ids may have gaps, and a node may have no CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    cpus: BTreeMap<NodeId, CpuSet>,
    offline: CpuSet,
}

impl Nodes {
    /// The nodes and their present CPUs as the kernel reports them now (/sys/devices/system).
    pub fn from_sysfs() -> Result<Self> {
        Nodes::read(Path::new("/sys/devices/system"))
    }

    /// A CPU that is offline keeps its link in the folder of its node, but is missing in the node's `cpulist`.
    fn read(system: &Path) -> Result<Self> {
        let path = system.join("cpu/online");
        let online = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let online = CpuSet::from_list(&online).with_context(|| format!("reading {}", path.display()))?;
        let node_dir = system.join("node");
        let nodes = match ids_in(&node_dir, "node") {
            // A kernel without NUMA.
            Err(err) if err.kind() == io::ErrorKind::NotFound => vec![(NodeId(0), online.iter().collect())],
            nodes => nodes
                .and_then(|ids| ids.into_iter().map(|id| Ok((NodeId(id), cpus_of(&node_dir, id)?))).collect())
                .with_context(|| format!("reading {}", node_dir.display()))?,
        };
        let nodes = Nodes::new(nodes);
        let all: CpuSet = nodes.iter().flat_map(|(_, cpus)| cpus).collect();
        Ok(Nodes { offline: all.without(&online), ..nodes })
    }

    /// Nodes with these CPUs, all of them online.
    pub fn new(cpus: impl IntoIterator<Item = (NodeId, impl IntoIterator<Item = u32>)>) -> Self {
        let cpus = cpus.into_iter().map(|(node, cpus)| (node, cpus.into_iter().collect())).collect();
        Nodes { cpus, offline: CpuSet::default() }
    }

    /// Those of the nodes that `keeps` wants.
    pub fn filtered(&self, keeps: impl Fn(NodeId) -> bool) -> Self {
        let mut kept = self.clone();
        kept.cpus.retain(|&node, _| keeps(node));
        kept
    }

    /// All nodes in order of id, with their CPUs, also those that are offline: they may come online at any time.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &CpuSet)> {
        self.cpus.iter().map(|(&node, cpus)| (node, cpus))
    }

    /// The ids of the nodes that had online CPUs when they were read, in order.
    pub fn with_cpus(&self) -> Vec<NodeId> {
        let has_online = |cpus: &CpuSet| !cpus.without(&self.offline).is_empty();
        self.iter().filter(|(_, cpus)| has_online(cpus)).map(|(node, _)| node).collect()
    }

    /// One more than the largest node id.
    pub fn nr_ids(&self) -> u32 {
        self.cpus.keys().next_back().map_or(0, |node| node.0 + 1)
    }
}

fn cpus_of(node_dir: &Path, node: u32) -> io::Result<Vec<u32>> {
    ids_in(&node_dir.join(format!("node{node}")), "cpu")
}

/// The numbers N of the entries `<prefix>N` of a folder, in no order.
fn ids_in(dir: &Path, prefix: &str) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        ids.extend(name.to_str().and_then(|name| name.strip_prefix(prefix)).and_then(|id| id.parse::<u32>().ok()));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(online: &str, entries: &[&str]) -> tempfile::TempDir {
        let system = tempfile::tempdir().unwrap();
        std::fs::create_dir(system.path().join("cpu")).unwrap();
        std::fs::write(system.path().join("cpu/online"), online).unwrap();
        entries.iter().for_each(|entry| std::fs::create_dir_all(system.path().join(entry)).unwrap());
        system
    }

    #[test]
    fn cpus_that_are_offline_are_known_but_no_place_to_start() {
        let entries = ["node/node0/cpu0", "node/node0/cpu1", "node/node0/cpulist", "node/node2/cpu9", "node/node10"];
        let system = system("0\n", &[&entries[..], &["node/possible", "node/node0/memory3"]].concat());
        let nodes = Nodes::read(system.path()).unwrap();
        let cpus: Vec<_> = nodes.iter().map(|(node, cpus)| (node.0, cpus.iter().collect::<Vec<_>>())).collect();
        assert_eq!(cpus, [(0, vec![0, 1]), (2, vec![9]), (10, vec![])]);
        assert_eq!(nodes.with_cpus(), [NodeId(0)]);
        assert_eq!(nodes.filtered(|node| node.0 > 0).nr_ids(), 11);
        assert_eq!(nodes.filtered(|node| node.0 > 0).with_cpus(), []);
    }

    #[test]
    fn without_numa_all_cpus_are_on_node_0() {
        let nodes = Nodes::read(system("0-1,4\n", &[]).path()).unwrap();
        assert_eq!(nodes, Nodes::new([(NodeId(0), [0, 1, 4])]));
    }
}
