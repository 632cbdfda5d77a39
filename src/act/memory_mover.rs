//! Moves the memory of processes to the nodes that they were sent to, for guests where another node's memory is remote.
//!
//! `migrate_pages(2)` moves all pages of a process in one call, however long that takes. A thread of its own makes these
//! calls, so rounds never wait for them. After each process it sleeps until the average rate is within the limit; within
//! one process the rate is not limited.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cell::NodeId;
use crate::linux;

/// What a [`MemoryMover`] has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounts {
    /// Processes whose pages were moved, as far as the kernel could.
    pub nr_processes: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Pages that the kernel could not move: shared, locked, or without free memory at the destination.
    pub nr_pages_not_moved: u64,
    /// Processes whose memory the kernel refused to move.
    pub nr_refused: u64,
    /// Processes in the queue.
    pub nr_waiting: u64,
}

/// The thread that moves memory could not be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "starting the thread that moves memory: {0}; raise RLIMIT_NPROC and RLIMIT_MEMLOCK, or run without --move-memory"
)]
pub struct MemoryMoverError(io::Error);

/// A process whose memory is to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    tgid: u32,
    /// The nodes that its pages may be on. Never has `to`.
    from: Vec<NodeId>,
    to: NodeId,
}

/// Jobs in the order in which their processes first moved. A round adds thousands, so that must take constant time.
#[derive(Debug, Default)]
struct Queue {
    /// By process. Without nodes to move from if the process has returned to where its memory is.
    jobs: HashMap<u32, Job>,
    /// The keys of `jobs`, each once.
    order: VecDeque<u32>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified of each new job, and when the thread is to stop.
    wakeup: Condvar,
    must_stop: AtomicBool,
    nr_processes: AtomicU64,
    bytes: AtomicU64,
    nr_pages_not_moved: AtomicU64,
    nr_refused: AtomicU64,
}

/// The queue of the thread that moves memory. When it is dropped, the thread finishes the process it is at and ends.
pub struct MemoryMover {
    shared: Arc<Shared>,
}

impl MemoryMover {
    /// Start the thread. It moves at most `bytes_per_s` on average.
    pub fn start(bytes_per_s: u64) -> Result<Self, MemoryMoverError> {
        const STACK_BYTES: usize = 64 << 10;

        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        // Not joined: it may be in a system call that takes minutes.
        linux::thread::spawn("memory", STACK_BYTES, move || theirs.run(bytes_per_s)).map_err(MemoryMoverError)?;
        Ok(MemoryMover { shared })
    }

    /// Queue the memory of a process that was sent from one node to another.
    pub fn enqueue(&self, tgid: u32, from: NodeId, to: NodeId) {
        self.shared.queue().push(tgid, from, to);
        self.shared.wakeup.notify_one();
    }

    /// What has been done so far.
    pub fn counts(&self) -> MemoryCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        MemoryCounts {
            nr_processes: load(&self.shared.nr_processes),
            bytes: load(&self.shared.bytes),
            nr_pages_not_moved: load(&self.shared.nr_pages_not_moved),
            nr_refused: load(&self.shared.nr_refused),
            nr_waiting: self.shared.queue().jobs.len() as u64,
        }
    }
}

impl Drop for MemoryMover {
    fn drop(&mut self) {
        // With the lock held, so that the thread cannot miss it between its check and its sleep.
        let mut queue = self.shared.queue();
        *queue = Queue::default();
        self.shared.must_stop.store(true, Ordering::Relaxed);
        self.shared.wakeup.notify_one();
    }
}

impl Queue {
    /// Add a job, or update the one of the process: if it moves twice before its turn, its memory moves once.
    fn push(&mut self, tgid: u32, from: NodeId, to: NodeId) {
        let job = self.jobs.entry(tgid).or_insert_with(|| {
            self.order.push_back(tgid);
            Job { tgid, from: Vec::new(), to }
        });
        if !job.from.contains(&from) {
            job.from.push(from);
        }
        job.from.retain(|&node| node != to);
        job.to = to;
    }

    /// The next job that has something to move.
    fn pop(&mut self) -> Option<Job> {
        while let Some(tgid) = self.order.pop_front() {
            let job = self.jobs.remove(&tgid).expect("BUG: a process in the order has no job");
            if !job.from.is_empty() {
                return Some(job);
            }
        }
        None
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, bytes_per_s: u64) {
        while let Some(job) = self.next() {
            let bytes = self.move_pages(&job);
            self.pause(Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64));
        }
    }

    /// Wait for a job. Returns `None` if the thread is to stop.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        while !self.must_stop.load(Ordering::Relaxed) {
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            queue = self.wakeup.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn pause(&self, duration: Duration) {
        let goes_on = |_: &mut Queue| !self.must_stop.load(Ordering::Relaxed);
        drop(self.wakeup.wait_timeout_while(self.queue(), duration, goes_on));
    }

    /// Move the pages of a process. Returns the number of bytes moved.
    fn move_pages(&self, job: &Job) -> u64 {
        let before = pages_migrated();
        match migrate_pages(job.tgid, &job.from, job.to) {
            Ok(nr_not_moved) => {
                self.nr_processes.fetch_add(1, Ordering::Relaxed);
                self.nr_pages_not_moved.fetch_add(nr_not_moved, Ordering::Relaxed);
            }
            // The process has ended.
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => {}
            Err(err) => {
                self.nr_refused.fetch_add(1, Ordering::Relaxed);
                log::debug!("moving the memory of process {} to node {}: {err}", job.tgid, job.to);
            }
        }
        // A count of the whole system: pages that others moved meanwhile make the pause longer, never shorter.
        let bytes = pages_migrated().saturating_sub(before) * procfs::page_size();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        bytes
    }
}

/// Move the pages of a process between nodes. Returns the number of pages that could not be moved.
fn migrate_pages(tgid: u32, from: &[NodeId], to: NodeId) -> io::Result<u64> {
    let from = NodeMask::of(from);
    let to = NodeMask::of(&[to]);
    // SAFETY: both masks outlive the call and have nr_bits bits.
    let status = unsafe {
        // The kernel reads one bit less than it is passed (mm/mempolicy.c, get_nodes).
        let nr_bits = NodeMask::NR_BITS + 1;
        libc::syscall(libc::SYS_migrate_pages, tgid as libc::pid_t, nr_bits, from.0.as_ptr(), to.0.as_ptr())
    };
    match status {
        0.. => Ok(status as u64),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A bit for each node.
struct NodeMask([libc::c_ulong; NodeMask::NR_WORDS]);

impl NodeMask {
    const WORD_BITS: usize = libc::c_ulong::BITS as usize;
    /// The most nodes that a kernel can be built for (CONFIG_NODES_SHIFT is at most 10).
    const NR_BITS: usize = 1024;
    const NR_WORDS: usize = Self::NR_BITS / Self::WORD_BITS;

    fn of(nodes: &[NodeId]) -> Self {
        let mut words = [0; Self::NR_WORDS];
        for node in nodes {
            let bit = node.0 as usize;
            words[bit / Self::WORD_BITS] |= 1 << (bit % Self::WORD_BITS);
        }
        NodeMask(words)
    }
}

/// Pages that the kernel has migrated since boot, for any reason; 0 if it does not count them.
fn pages_migrated() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("pgmigrate_success "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn job(tgid: u32, from: &[u32], to: u32) -> Job {
        Job { tgid, from: from.iter().map(|&node| NodeId(node)).collect(), to: NodeId(to) }
    }

    #[test]
    fn queued_moves_of_a_process_become_one() {
        let mut queue = Queue::default();
        let jobs = |queue: &Queue| queue.order.iter().map(|tgid| queue.jobs[tgid].clone()).collect::<Vec<_>>();
        queue.push(7, NodeId(0), NodeId(1));
        queue.push(8, NodeId(0), NodeId(1));
        queue.push(7, NodeId(1), NodeId(2));
        assert_eq!(jobs(&queue), [job(7, &[0, 1], 2), job(8, &[0], 1)]);
        // Back to where the pages are, as none of them has been moved yet.
        queue.push(7, NodeId(2), NodeId(0));
        queue.push(8, NodeId(1), NodeId(0));
        assert_eq!(jobs(&queue), [job(7, &[1, 2], 0), job(8, &[1], 0)]);
    }

    #[test]
    fn memory_that_is_where_its_process_is_does_not_move() {
        let mut queue = Queue::default();
        queue.push(7, NodeId(0), NodeId(0));
        queue.push(8, NodeId(0), NodeId(1));
        assert_eq!(queue.pop(), Some(job(8, &[0], 1)));
        assert_eq!((queue.pop(), queue.jobs.len()), (None, 0));
    }

    #[test]
    fn a_node_mask_has_a_bit_for_each_node() {
        let mask = NodeMask::of(&[NodeId(0), NodeId(65), NodeId(1023)]);
        assert_eq!(mask.0[0], 1);
        assert_eq!(mask.0[1], 2);
        assert_eq!(mask.0[15], 1 << 63);
    }

    #[test]
    fn a_process_that_has_ended_is_skipped_and_dropping_the_queue_ends_the_thread() {
        let mover = MemoryMover::start(1 << 20).unwrap();
        // Process ids are below 2^22.
        mover.enqueue(1 << 23, NodeId(0), NodeId(1));
        let start = Instant::now();
        while mover.counts().nr_waiting > 0 {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
        let shared = Arc::downgrade(&mover.shared);
        drop(mover);
        while shared.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "the thread is still running");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
