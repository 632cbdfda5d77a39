//! The plan as the BPF scheduler carries it out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{intf, Plain};
use crate::cell::NodeId;

const MAX_NODES: usize = intf::vnuma_limits_VNUMA_MAX_NODES as usize;

/// Where migratable work goes, and how much of it.
///
/// Everything but the destinations needs [`LoadOptions::steering`](super::LoadOptions::steering), and is ignored without it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelPlan {
    /// The destination of processes that have no node of their own ([`Class::place`](super::Class::place)).
    pub first: NodeId,
    /// The destination of tasks that may not run on the first.
    pub second: Option<NodeId>,
    /// CPU time that migratable tasks may use on a node, in CPUs. They run on at most that number of CPUs at once, rounded up.
    /// Nodes without a limit, or with a limit of at least their number of online CPUs, are not limited. The least limit is
    /// [`KernelPlan::LIMIT_MIN_CPUS`].
    pub limits: BTreeMap<NodeId, f64>,
    /// Weights by which processes are placed on nodes at exec. If empty, they stay where they are.
    pub spread: BTreeMap<NodeId, u32>,
    /// The node to which a node's work goes at once when the node is hit, until the next plan.
    pub fallback: BTreeMap<NodeId, NodeId>,
}

impl KernelPlan {
    /// The least limit in CPUs: with less, a queue of a hundred tasks would trip the kernel's watchdog.
    pub const LIMIT_MIN_CPUS: f64 =
        intf::vnuma_limit_VNUMA_LIMIT_MIN as f64 / intf::vnuma_limit_VNUMA_LIMIT_ONE_CPU as f64;

    /// A plan that names destinations and nothing else.
    pub fn to(first: NodeId, second: Option<NodeId>) -> Self {
        KernelPlan { first, second, ..KernelPlan::default() }
    }

    pub(super) fn to_args(&self, keeps_queues: bool) -> intf::vnuma_retarget_args {
        let no_node = intf::vnuma_sentinel_VNUMA_NO_NODE;
        intf::vnuma_retarget_args {
            nr_destinations: 1 + u32::from(self.second.is_some()),
            destination: intf::vnuma_destination {
                first: self.first.0 as i32,
                second: self.second.map_or(no_node, |node| node.0 as i32),
            },
            keeps_queues: u32::from(keeps_queues),
            nodes: std::array::from_fn(|node| self.node_plan(NodeId(node as u32))),
            ..Plain::zeroed()
        }
    }

    fn node_plan(&self, node: NodeId) -> intf::vnuma_node_plan {
        let fallback = self.fallback.get(&node).filter(|to| **to != node && (to.0 as usize) < MAX_NODES);
        intf::vnuma_node_plan {
            limit: self.limits.get(&node).map_or(intf::vnuma_limit_VNUMA_NO_LIMIT, |&cpus| limit_of(cpus)),
            // So that their sum does not overflow.
            spread_weight: self.spread.get(&node).map_or(0, |&weight| weight.min(u32::MAX / MAX_NODES as u32)),
            fallback: fallback.map_or(intf::vnuma_sentinel_VNUMA_NO_NODE, |to| to.0 as i32),
        }
    }
}

fn limit_of(cpus: f64) -> u32 {
    let limit = (cpus * f64::from(intf::vnuma_limit_VNUMA_LIMIT_ONE_CPU)).round();
    // The cast saturates, and makes 0 of NaN.
    (limit as u32).clamp(intf::vnuma_limit_VNUMA_LIMIT_MIN, intf::vnuma_limit_VNUMA_NO_LIMIT)
}

/// When the BPF scheduler considers a node hit: a CUSUM test on the node's steal time while it runs migratable tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steering {
    /// Steal time up to this share of the run time is not counted as evidence.
    pub allowed_steal_share: f64,
    /// Steal time above that share at which the node is hit, for each CPU that runs migratable tasks.
    pub hit_threshold: Duration,
    /// Minimum time between two hits of a node.
    pub hit_interval: Duration,
}

impl Default for Steering {
    fn default() -> Self {
        Steering {
            allowed_steal_share: 0.1,
            hit_threshold: Duration::from_millis(10),
            hit_interval: Duration::from_millis(250),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::NoPadding;

    #[test]
    fn a_plan_to_destinations_steers_nothing_else() {
        let args = KernelPlan::to(NodeId(3), None).to_args(false);
        assert_eq!((args.nr_destinations, args.destination.first, args.destination.second), (1, 3, -1));
        for node in args.nodes {
            assert_eq!((node.limit, node.spread_weight, node.fallback), (u32::MAX, 0, -1));
        }
    }

    #[test]
    fn limits_are_in_1024ths_of_a_cpu_and_have_a_least() {
        let limits = [(0, 0.3), (1, 1.5), (2, 0.0), (3, f64::INFINITY), (4, -1.0), (5, f64::NAN)];
        let limits = limits.map(|(node, cpus)| (NodeId(node), cpus)).into();
        let args = KernelPlan { limits, ..KernelPlan::default() }.to_args(true);
        assert_eq!(args.nodes.map(|node| node.limit)[..7], [307, 1536, 32, u32::MAX, 32, 32, u32::MAX]);
        assert_eq!(KernelPlan::LIMIT_MIN_CPUS, 1.0 / 32.0);
    }

    #[test]
    fn a_node_is_no_fallback_of_its_own() {
        let fallback = [(NodeId(0), NodeId(0)), (NodeId(1), NodeId(0))].into();
        let args = KernelPlan { fallback, ..KernelPlan::default() }.to_args(true);
        assert_eq!((args.nodes[0].fallback, args.nodes[1].fallback), (-1, 0));
    }

    #[test]
    fn all_of_the_arguments_are_bytes_for_the_kernel() {
        let args = KernelPlan::default().to_args(true);
        assert_eq!(args.as_bytes().len(), size_of::<intf::vnuma_retarget_args>());
    }
}
