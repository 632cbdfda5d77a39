//! Events of the BPF scheduler: hits of nodes.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use anyhow::{Context, Result};
use libbpf_rs::{MapMut, RingBuffer, RingBufferBuilder};

use super::{intf, Plain};
use crate::cell::NodeId;

/// A node lost more CPU time to its host's other work than [`Steering`](super::Steering) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The node.
    pub node: NodeId,
    /// When, ns of the kernel's scheduler clock (about the time since boot).
    pub at_ns: u64,
    /// Time that migratable tasks were on the node's CPUs while the evidence grew, ns.
    pub run_ns: u64,
    /// The steal time in that run time, ns.
    pub stolen_ns: u64,
    /// True if the node's work already goes to its fallback, until the next plan; false if it has no usable fallback.
    pub is_left: bool,
}

impl Hit {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let hit = intf::vnuma_hit::from_bytes(bytes)?;
        let node = NodeId(u32::try_from(hit.node).ok()?);
        Some(Hit { node, at_ns: hit.at_ns, run_ns: hit.run_ns, stolen_ns: hit.stolen_ns, is_left: hit.is_left != 0 })
    }
}

/// The queue of hits. Its descriptor ([`AsFd`]) is readable as soon as there is a hit: wait for it with poll or epoll.
pub struct Hits<'class> {
    ring: RingBuffer<'class>,
    received: Rc<RefCell<Vec<Hit>>>,
}

impl<'class> Hits<'class> {
    pub(super) fn of(map: &'class MapMut<'_>) -> Result<Self> {
        let received = Rc::new(RefCell::new(Vec::new()));
        let to = Rc::clone(&received);
        let mut builder = RingBufferBuilder::new();
        let receive = move |bytes: &[u8]| {
            to.borrow_mut().extend(Hit::from_bytes(bytes));
            0
        };
        builder.add(map, receive).context("reading the queue of hits")?;
        let ring = builder.build().context("mapping the queue of hits")?;
        Ok(Hits { ring, received })
    }

    /// Returns the hits since the last call, without blocking.
    pub fn take(&self) -> Result<Vec<Hit>> {
        self.ring.consume().context("reading the queue of hits")?;
        Ok(self.received.take())
    }
}

impl AsFd for Hits<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring keeps its descriptor open as long as it lives.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::NoPadding;

    #[test]
    fn an_event_is_read_as_it_was_written_and_a_short_one_is_none() {
        let raw = intf::vnuma_hit { at_ns: 1, run_ns: 2, stolen_ns: 3, node: 4, is_left: 1 };
        let hit = Hit { node: NodeId(4), at_ns: 1, run_ns: 2, stolen_ns: 3, is_left: true };
        assert_eq!(Hit::from_bytes(raw.as_bytes()), Some(hit));
        assert_eq!(Hit::from_bytes(&raw.as_bytes()[1..]), None);
    }
}
