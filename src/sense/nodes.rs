//! The guest's vNUMA nodes and their CPUs.

use std::collections::BTreeMap;

use crate::cell::NodeId;
use crate::linux::CpuSet;

/// The CPUs of each node. Node and CPU ids may have gaps, and a node may have no CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    cpus: BTreeMap<NodeId, CpuSet>,
}

impl Nodes {
    /// The nodes and their online CPUs as the kernel reports them now (/sys/devices/system/node).
    pub fn from_sysfs() -> anyhow::Result<Self> {
        let topology = scx_utils::Topology::new()?;
        let cpus = topology.nodes.values().map(|node| {
            let ids = node.all_cpus.keys().map(|&cpu| cpu as u32);
            (NodeId(node.id as u32), ids)
        });
        Ok(Nodes::new(cpus))
    }

    /// Nodes with these CPUs.
    pub fn new(cpus: impl IntoIterator<Item = (NodeId, impl IntoIterator<Item = u32>)>) -> Self {
        Nodes { cpus: cpus.into_iter().map(|(node, cpus)| (node, cpus.into_iter().collect())).collect() }
    }

    /// All nodes in order of id, with their CPUs.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &CpuSet)> {
        self.cpus.iter().map(|(&node, cpus)| (node, cpus))
    }

    /// The ids of the nodes that have CPUs, in order.
    pub fn with_cpus(&self) -> Vec<NodeId> {
        self.iter().filter(|(_, cpus)| !cpus.is_empty()).map(|(node, _)| node).collect()
    }

    /// One more than the largest node id.
    pub fn nr_ids(&self) -> u32 {
        self.cpus.keys().next_back().map_or(0, |node| node.0 + 1)
    }
}
