//! The plan as the BPF scheduler carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{intf, Plain};
use crate::cell::NodeId;

const MAX_NODES: usize = intf::vnuma_limits_VNUMA_MAX_NODES as usize;

/// Where migratable work goes, and how much of it.
///
/// All but the destinations needs [`LoadOptions::steering`](super::LoadOptions::steering), and is ignored without it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelPlan {
    /// The destination of processes that have no node of their own ([`Class::place`](super::Class::place)).
    pub first: NodeId,
    /// The destination of tasks that may not run on the first.
    pub second: Option<NodeId>,
    /// How much CPU time migratable tasks may use on a node, in CPUs. At most as many CPUs as the limit, rounded up, run them
    /// at once. Nodes without a limit, or with one of at least their online CPUs, aren't limited. The least limit is
    /// [`KernelPlan::LIMIT_MIN_CPUS`], and more while so many tasks wait that some would starve.
    pub limits: BTreeMap<NodeId, f64>,
    /// Weights by which processes that exec are placed on nodes. Empty: they stay where they are.
    pub spread: BTreeMap<NodeId, u32>,
    /// Nodes without a weight that take a process while no node with a weight has an idle CPU.
    pub overflow: BTreeSet<NodeId>,
    /// Where a node's work goes at once when the node is hit, until a plan that knows of the hit.
    pub fallback: BTreeMap<NodeId, NodeId>,
    /// Nodes whose CPUs rest while others need them: see `give_way.bpf.h`.
    pub gives_way: BTreeSet<NodeId>,
    /// Nodes that others are known to use: such a node isn't hit.
    pub has_others: BTreeSet<NodeId>,
    /// The hits that the plan knows of. A node that is hit while the plan is made, and isn't among these, stays left.
    pub known_hits: BTreeSet<NodeId>,
}

impl KernelPlan {
    /// The least limit, in CPUs.
    pub const LIMIT_MIN_CPUS: f64 =
        intf::vnuma_limit_VNUMA_LIMIT_MIN as f64 / intf::vnuma_limit_VNUMA_LIMIT_ONE_CPU as f64;

    /// A plan that names destinations and nothing else.
    pub fn to(first: NodeId, second: Option<NodeId>) -> Self {
        KernelPlan { first, second, ..KernelPlan::default() }
    }

    /// Return true if it says more than where work goes.
    pub fn steers(&self) -> bool {
        let says_more = [
            !self.limits.is_empty(),
            !self.spread.is_empty(),
            !self.overflow.is_empty(),
            !self.fallback.is_empty(),
            !self.gives_way.is_empty(),
            !self.has_others.is_empty(),
        ];
        says_more.contains(&true)
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
            known_hits: bits(&self.known_hits),
            resting_nodes: bits(&self.gives_way),
            nodes: std::array::from_fn(|node| self.node_plan(NodeId(node as u32))),
            ..Plain::zeroed()
        }
    }

    fn flags(&self, node: NodeId) -> u32 {
        let of = |nodes: &BTreeSet<NodeId>, flag| if nodes.contains(&node) { flag } else { 0 };
        of(&self.overflow, intf::vnuma_node_flags_VNUMA_TAKES_OVERFLOW)
            | of(&self.has_others, intf::vnuma_node_flags_VNUMA_HAS_OTHERS)
    }

    fn node_plan(&self, node: NodeId) -> intf::vnuma_node_plan {
        let fallback = self.fallback.get(&node).filter(|to| **to != node && (to.0 as usize) < MAX_NODES);
        intf::vnuma_node_plan {
            limit: self.limits.get(&node).map_or(intf::vnuma_limit_VNUMA_NO_LIMIT, |&cpus| limit_of(cpus)),
            // So that their sum fits.
            spread_weight: self.spread.get(&node).map_or(0, |&weight| weight.min(u32::MAX / MAX_NODES as u32)),
            fallback: fallback.map_or(intf::vnuma_sentinel_VNUMA_NO_NODE, |to| to.0 as i32),
            flags: self.flags(node),
        }
    }
}

/// Bit N for node N.
fn bits(nodes: &BTreeSet<NodeId>) -> u64 {
    nodes.iter().filter(|node| (node.0 as usize) < MAX_NODES).map(|node| 1 << node.0).sum()
}

fn limit_of(cpus: f64) -> u32 {
    let limit = (cpus * f64::from(intf::vnuma_limit_VNUMA_LIMIT_ONE_CPU)).round();
    // The cast saturates, and makes 0 of NaN.
    (limit as u32).clamp(intf::vnuma_limit_VNUMA_LIMIT_MIN, intf::vnuma_limit_VNUMA_NO_LIMIT)
}

/// When the BPF scheduler considers a node hit: a CUSUM test on the node's steal time while it runs migratable tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steering {
    /// Steal time up to this share of the run time is no evidence.
    pub allowed_steal_share: f64,
    /// The same two where work gives way.
    pub allowed_giving_way_share: f64,
    /// See `allowed_giving_way_share`.
    pub giving_way_threshold: Duration,
    /// Steal time beyond it that makes a hit, for each CPU that runs migratable tasks.
    pub hit_threshold: Duration,
    /// A node isn't hit twice within this time.
    pub hit_interval: Duration,
}

impl Default for Steering {
    fn default() -> Self {
        Steering {
            allowed_steal_share: 0.1,
            allowed_giving_way_share: 0.5,
            giving_way_threshold: Duration::from_millis(5),
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
    fn sets_of_nodes_are_bits() {
        let known_hits = [0, 5, 63, 64, 9999].map(NodeId).into();
        let gives_way = [1, 2, 63].map(NodeId).into();
        let args = KernelPlan { known_hits, gives_way, ..KernelPlan::default() }.to_args(true);
        assert_eq!((args.known_hits, args.resting_nodes), (1 | 1 << 5 | 1 << 63, 6 | 1 << 63));
    }

    #[test]
    fn a_node_may_take_overflow_have_others_or_both() {
        let (overflow, has_others) = ([0, 2].map(NodeId).into(), [1, 2].map(NodeId).into());
        let args = KernelPlan { overflow, has_others, ..KernelPlan::default() }.to_args(true);
        assert_eq!(args.nodes.map(|node| node.flags)[..4], [1, 2, 3, 0]);
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
