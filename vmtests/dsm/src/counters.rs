//! What travelled, by node: counted by each virtual CPU on cache lines of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::protocol::Fault;
use crate::{MAX_NODES, PAGE_BYTES};

/// Faults by node. A matrix is indexed by the node that the page came from, then by the node that it went to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Pages copied to a node that loads.
    pub reads: Vec<Vec<u64>>,
    /// Pages moved to a node that stores and had no copy.
    pub writes: Vec<Vec<u64>>,
    /// Bytes of both.
    pub bytes: Vec<Vec<u64>>,
    /// Stores of a node whose copy wasn't the only one: the node waits, and no page travels.
    pub upgrades: Vec<u64>,
    /// Copies that ended: by the node that held it, then by the node whose store ended it.
    pub invalidations: Vec<Vec<u64>>,
    /// Pages that the node was the first to touch: nothing travels, and nothing is charged.
    pub first_touches: Vec<u64>,
}

impl Counts {
    /// No faults among `nr_nodes` nodes.
    pub fn none(nr_nodes: usize) -> Self {
        let (row, matrix) = (vec![0; nr_nodes], vec![vec![0; nr_nodes]; nr_nodes]);
        Counts {
            reads: matrix.clone(),
            writes: matrix.clone(),
            bytes: matrix.clone(),
            upgrades: row.clone(),
            invalidations: matrix,
            first_touches: row,
        }
    }

    /// Pages that travelled, of all nodes.
    pub fn transfers(&self) -> u64 {
        self.reads.iter().chain(&self.writes).flatten().sum()
    }

    /// What a node waited for: pages that travelled, and upgrades.
    pub fn faults(&self) -> u64 {
        self.transfers() + self.upgrades.iter().sum::<u64>()
    }

    /// These counts without those that an earlier moment already had.
    pub fn since(&self, earlier: &Counts) -> Counts {
        let row = |now: &[u64], then: &[u64]| now.iter().zip(then).map(|(now, then)| now - then).collect::<Vec<_>>();
        let matrix =
            |now: &[Vec<u64>], then: &[Vec<u64>]| now.iter().zip(then).map(|(now, then)| row(now, then)).collect();
        Counts {
            reads: matrix(&self.reads, &earlier.reads),
            writes: matrix(&self.writes, &earlier.writes),
            bytes: matrix(&self.bytes, &earlier.bytes),
            upgrades: row(&self.upgrades, &earlier.upgrades),
            invalidations: matrix(&self.invalidations, &earlier.invalidations),
            first_touches: row(&self.first_touches, &earlier.first_touches),
        }
    }
}

/// The counts of one virtual CPU, which only its own thread changes; others read them. Two CPUs share no cache line, nor the
/// pair of lines that a processor prefetches.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct CpuCounters {
    reads_from: [AtomicU64; MAX_NODES],
    writes_from: [AtomicU64; MAX_NODES],
    invalidated: [AtomicU64; MAX_NODES],
    upgrades: AtomicU64,
    first_touches: AtomicU64,
    waited_ns: AtomicU64,
}

impl CpuCounters {
    pub(crate) fn count(&self, fault: Fault) {
        match fault {
            Fault::FirstTouch => increment(&self.first_touches),
            Fault::Read { from } => increment(&self.reads_from[from]),
            Fault::Write { from, invalidated } => {
                increment(&self.writes_from[from]);
                self.count_invalidated(invalidated);
            }
            Fault::Upgrade { invalidated } => {
                increment(&self.upgrades);
                self.count_invalidated(invalidated);
            }
        }
    }

    pub(crate) fn count_waited(&self, ns: u64) {
        self.waited_ns.store(self.waited_ns() + ns, Relaxed);
    }

    pub(crate) fn waited_ns(&self) -> u64 {
        self.waited_ns.load(Relaxed)
    }

    fn count_invalidated(&self, nodes: u32) {
        let lost = |node: &usize| nodes & 1 << node != 0;
        (0..MAX_NODES).filter(lost).for_each(|node| increment(&self.invalidated[node]));
    }

    /// Adds these counts to those of the CPU's node.
    pub(crate) fn add_to(&self, counts: &mut Counts, node: usize) {
        for other in 0..counts.upgrades.len() {
            let (reads, writes) = (self.reads_from[other].load(Relaxed), self.writes_from[other].load(Relaxed));
            counts.reads[other][node] += reads;
            counts.writes[other][node] += writes;
            counts.bytes[other][node] += (reads + writes) * PAGE_BYTES;
            counts.invalidations[other][node] += self.invalidated[other].load(Relaxed);
        }
        counts.upgrades[node] += self.upgrades.load(Relaxed);
        counts.first_touches[node] += self.first_touches.load(Relaxed);
    }
}

/// Of a counter that only this thread changes: a plain addition, without a locked instruction.
fn increment(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}
