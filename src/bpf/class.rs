//! The interface of the scheduler class that a round uses, so that the round loop can be tested without a kernel.

use std::io::Read;

use anyhow::Result;

use super::{KernelCounters, KernelPlan, KernelQuota, NodeStats, Retargeted, RunTimes};
use crate::cell::NodeId;

/// The scheduler class as a round sees it: the loaded one, or a fake that a test scripts.
pub trait Class {
    /// Reads a record (`struct vnuma_task_record`) of every user task that may migrate, one after the other.
    fn task_records(&self) -> Result<Box<dyn Read + '_>>;

    /// Marks a task as selected, and records and returns its own scheduling policy. Returns `None` if the task that started
    /// then has exited, or its policy is none that may be changed: it has become a real-time task, or migratable by choice.
    fn select(&self, tid: i32, started_at_ns: u64) -> Result<Option<u32>>;

    /// Removes the mark. Returns false if the task that started then has exited.
    fn unselect(&self, tid: i32, started_at_ns: u64) -> Result<bool>;

    /// Each CPU's time and each queue's length, now.
    fn counters(&self) -> Result<KernelCounters>;

    /// The run time of these processes by node. If the list is empty: that of all live processes that were migratable.
    fn run_times(&self, processes: Option<&[u32]>) -> Result<RunTimes>;

    /// Names the nodes of processes, for the plan that [`retarget`](Self::retarget) puts in force next; a process that is
    /// asleep follows when it wakes. Without a node of its own a process goes to the first destination.
    fn place(&self, epoch: u64, placements: &[(u32, NodeId)]) -> Result<()>;

    /// The node of a process that has one of its own.
    fn placement(&self, tgid: u32) -> Result<Option<NodeId>>;

    /// Puts a plan in force, with the placements made since the last one: queued tasks move to their new nodes.
    fn retarget(&self, plan: &KernelPlan) -> Result<Retargeted>;

    /// Puts a plan in force that differs from the last one only in limits, spread and fallbacks, and forgets which nodes were
    /// hit. It goes through the queues only if work of a node that was hit returns. The epoch stays the same, unless a destination
    /// changes.
    fn update(&self, plan: &KernelPlan) -> Result<Retargeted>;

    /// Return true if it can keep CPU quotas.
    fn keeps_quotas(&self) -> bool;

    /// Sets a CPU quota, changes it, or ends it.
    fn set_quota(&self, quota: &KernelQuota) -> Result<()>;

    /// A node's counters since load.
    fn node_stats(&self, node: NodeId) -> Result<NodeStats>;

    /// Tells the class that the daemon is alive. From the first call on it ends by itself if it isn't called for 10 s.
    fn note_alive(&self) -> Result<()>;

    /// Return true if the kernel has ended the scheduler class.
    fn has_exited(&self) -> bool;
}
