//! Moves the memory of processes that moved, for guests where a node's memory is really remote.
//!
//! `migrate_pages(2)` moves all of a process's pages in one call, which takes as long as they take. So a thread of its own
//! does it, and rounds never wait. After each process it rests until the rate holds: the rate is a mean over processes,
//! not a bound within one.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cell::NodeId;
use crate::linux;

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedMemory {
    /// Processes that were seen to.
    pub nr_processes: u64,
    /// Bytes that moved.
    pub bytes: u64,
    /// Pages that the kernel could not move: shared with others, locked, or without room at the destination.
    pub nr_pages_not_moved: u64,
    /// Processes whose memory the kernel refused to move.
    pub nr_refused: u64,
    /// Processes that wait for their turn.
    pub nr_waiting: u64,
}

/// A process's memory, to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    tgid: u32,
    /// Where its pages may be; never empty, and without `to`.
    from: Vec<NodeId>,
    to: NodeId,
}

#[derive(Default)]
struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    /// HistoryEntry of each new job, and of the end.
    news: Condvar,
    is_over: AtomicBool,
    nr_processes: AtomicU64,
    bytes: AtomicU64,
    nr_pages_not_moved: AtomicU64,
    nr_refused: AtomicU64,
}

/// The thread that moves memory. It ends some time after this is dropped, and then moves no other process.
pub struct MemoryMover {
    shared: Arc<Shared>,
}

impl MemoryMover {
    /// Moves up to `bytes_per_s` from now on, in the mean.
    pub fn start(bytes_per_s: u64) -> io::Result<Self> {
        const STACK_BYTES: usize = 64 << 10;

        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        // Not joined: it may be in a system call that takes minutes.
        linux::thread::spawn("memory", STACK_BYTES, move || theirs.run(bytes_per_s))?;
        Ok(MemoryMover { shared })
    }

    /// A process has moved from one node to another: its memory is to follow.
    pub fn moved(&self, tgid: u32, from: NodeId, to: NodeId) {
        add(&mut self.shared.jobs(), tgid, from, to);
        self.shared.news.notify_one();
    }

    /// What was done so far.
    pub fn counts(&self) -> MovedMemory {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        MovedMemory {
            nr_processes: load(&self.shared.nr_processes),
            bytes: load(&self.shared.bytes),
            nr_pages_not_moved: load(&self.shared.nr_pages_not_moved),
            nr_refused: load(&self.shared.nr_refused),
            nr_waiting: self.shared.jobs().len() as u64,
        }
    }
}

impl Drop for MemoryMover {
    fn drop(&mut self) {
        // Under the lock, so that the thread can't miss it on its way to sleep.
        let mut jobs = self.shared.jobs();
        jobs.clear();
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.shared.news.notify_one();
    }
}

/// Adds a job, or changes the one that waits: what moved twice before its turn has its memory moved once.
fn add(jobs: &mut VecDeque<Job>, tgid: u32, from: NodeId, to: NodeId) {
    let place = jobs.iter().position(|job| job.tgid == tgid);
    let mut job = match place.and_then(|place| jobs.remove(place)) {
        Some(job) => Job { to, ..job },
        None => Job { tgid, from: Vec::new(), to },
    };
    if !job.from.contains(&from) {
        job.from.push(from);
    }
    job.from.retain(|&node| node != to);
    if !job.from.is_empty() {
        jobs.insert(place.unwrap_or(jobs.len()), job);
    }
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, bytes_per_s: u64) {
        while let Some(job) = self.next() {
            let bytes = self.carry_out(&job);
            self.rest(Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64));
        }
    }

    /// Waits for a job; `None` in the end.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        while !self.is_over.load(Ordering::Relaxed) {
            if let Some(job) = jobs.pop_front() {
                return Some(job);
            }
            jobs = self.news.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn rest(&self, duration: Duration) {
        let is_on = |_: &mut VecDeque<Job>| !self.is_over.load(Ordering::Relaxed);
        drop(self.news.wait_timeout_while(self.jobs(), duration, is_on));
    }

    /// Moves a process's memory. Returns how many bytes moved.
    fn carry_out(&self, job: &Job) -> u64 {
        let before = pages_migrated();
        match migrate_pages(job.tgid, &job.from, job.to) {
            Ok(nr_not_moved) => {
                self.nr_processes.fetch_add(1, Ordering::Relaxed);
                self.nr_pages_not_moved.fetch_add(nr_not_moved, Ordering::Relaxed);
            }
            // It has ended.
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => {}
            Err(err) => {
                self.nr_refused.fetch_add(1, Ordering::Relaxed);
                log::debug!("the memory of process {} can't move to node {}: {err}", job.tgid, job.to);
            }
        }
        // The whole system's count: what else moved meanwhile makes the rest longer, never shorter.
        let bytes = pages_migrated().saturating_sub(before) * procfs::page_size();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        bytes
    }
}

/// Moves a process's pages between nodes. Returns how many could not be moved.
fn migrate_pages(tgid: u32, from: &[NodeId], to: NodeId) -> io::Result<u64> {
    let from = NodeMask::of(from);
    let to = NodeMask::of(&[to]);
    // SAFETY: both masks outlive the call and have nr_bits bits.
    let left = unsafe {
        // The kernel takes one bit less than it is told (mm/mempolicy.c, get_nodes).
        let nr_bits = NodeMask::NR_BITS + 1;
        libc::syscall(libc::SYS_migrate_pages, tgid as libc::pid_t, nr_bits, from.0.as_ptr(), to.0.as_ptr())
    };
    match left {
        0.. => Ok(left as u64),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A bit for each node.
struct NodeMask([libc::c_ulong; NodeMask::NR_WORDS]);

impl NodeMask {
    const WORD_BITS: usize = libc::c_ulong::BITS as usize;
    /// As many nodes as any kernel has (CONFIG_NODES_SHIFT is at most 10).
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

/// Pages that the kernel has moved since boot, for whatever reason; 0 when it doesn't say.
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
    fn moves_of_one_process_before_its_turn_become_one() {
        let mut jobs = VecDeque::new();
        add(&mut jobs, 7, NodeId(0), NodeId(1));
        add(&mut jobs, 8, NodeId(0), NodeId(1));
        add(&mut jobs, 7, NodeId(1), NodeId(2));
        assert_eq!(jobs, [job(7, &[0, 1], 2), job(8, &[0], 1)]);
        // Back again: what has not moved yet is where it belongs.
        add(&mut jobs, 7, NodeId(2), NodeId(0));
        add(&mut jobs, 8, NodeId(1), NodeId(0));
        assert_eq!(jobs, [job(7, &[1, 2], 0), job(8, &[1], 0)]);
    }

    #[test]
    fn a_node_mask_has_a_bit_for_each_node() {
        let mask = NodeMask::of(&[NodeId(0), NodeId(65), NodeId(1023)]);
        assert_eq!(mask.0[0], 1);
        assert_eq!(mask.0[1], 2);
        assert_eq!(mask.0[15], 1 << 63);
    }

    #[test]
    fn a_process_that_has_ended_is_no_failure_and_dropping_ends_the_thread() {
        let mover = MemoryMover::start(1 << 20).unwrap();
        // Process ids are below 2^22.
        mover.moved(1 << 23, NodeId(0), NodeId(1));
        let start = Instant::now();
        while mover.counts().nr_waiting > 0 {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
        let shared = Arc::downgrade(&mover.shared);
        drop(mover);
        while shared.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "the thread goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
