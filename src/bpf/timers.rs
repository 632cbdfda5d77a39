//! The nodes' timers, which are set up on their nodes.

use std::io;
use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};

use super::{intf, run_by_fd};
use crate::cell::NodeId;
use crate::linux::{affinity, CpuSet};

/// Sets up each node's timers on one of its CPUs, so that they are allocated from the node's memory. If all of them are
/// offline, any CPU does it.
pub(super) fn init_timers(program: BorrowedFd<'_>, nodes: &[(NodeId, &CpuSet)]) -> Result<()> {
    let init = |node: NodeId, cpus: &CpuSet| -> io::Result<()> {
        match affinity::set(0, cpus) {
            Err(err) if err.kind() != io::ErrorKind::InvalidInput => return Err(err),
            Ok(()) | Err(_) => {}
        }
        run_by_fd(program, &mut intf::vnuma_node_args { node: node.0 as i32 })
    };
    for &(node, cpus) in nodes.iter().filter(|(_, cpus)| !cpus.is_empty()) {
        // Done in a thread of its own, because the affinity that it sets ends with it.
        std::thread::scope(|scope| scope.spawn(|| init(node, cpus)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .with_context(|| format!("setting up the timers of node {node}"))?;
    }
    Ok(())
}
