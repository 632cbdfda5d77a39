//! Sets affinities in a thread of its own. Each one is a file to read and to write, and rounds should not wait for that.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;

use super::{AffinityCounts, AffinityError, AffinityMover};
use crate::linux::{self, CpuSet};

/// The thread of an [`AffinityMover`]. Dropping it waits until the original affinities are restored.
pub struct AffinityThread {
    mover: Arc<Mutex<AffinityMover>>,
    /// `None` only in drop; so is `thread`.
    destinations: Option<Sender<CpuSet>>,
    thread: Option<JoinHandle<()>>,
    counts: AffinityCounts,
}

impl AffinityThread {
    /// Start the thread.
    pub fn start(mover: AffinityMover) -> Result<Self, AffinityError> {
        const STACK_BYTES: usize = 128 << 10;

        let mover = Arc::new(Mutex::new(mover));
        let theirs = mover.clone();
        let (destinations, queue) = channel();
        let thread = linux::thread::spawn("affinity", STACK_BYTES, move || run(&queue, &theirs));
        let thread = Some(thread.map_err(AffinityError::Thread)?);
        Ok(AffinityThread { mover, destinations: Some(destinations), thread, counts: AffinityCounts::default() })
    }

    /// Make the thread call [`AffinityMover::retarget`]. Of several calls that it has not begun yet, it makes only the last.
    pub fn retarget(&self, cpus: &CpuSet) {
        // It can only fail after a panic of the thread, which has been reported.
        let _ = self.destinations.as_ref().map(|destinations| destinations.send(cpus.clone()));
    }

    /// What has been done so far, without the call that is in progress.
    pub fn counts(&mut self) -> AffinityCounts {
        match self.mover.try_lock() {
            Ok(mover) => self.counts = mover.counts(),
            Err(TryLockError::Poisoned(poisoned)) => self.counts = poisoned.into_inner().counts(),
            Err(TryLockError::WouldBlock) => {}
        }
        self.counts
    }
}

impl Drop for AffinityThread {
    fn drop(&mut self) {
        drop(self.destinations.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(destinations: &Receiver<CpuSet>, mover: &Mutex<AffinityMover>) {
    while let Ok(first) = destinations.recv() {
        let last = destinations.try_iter().last().unwrap_or(first);
        lock(mover).retarget(&last);
    }
}

fn lock(mover: &Mutex<AffinityMover>) -> MutexGuard<'_, AffinityMover> {
    mover.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::fake_root::FakeRoot;
    use super::super::AffinityOptions;
    use super::*;

    fn start(root: &FakeRoot, options: AffinityOptions) -> AffinityThread {
        AffinityThread::start(AffinityMover::new(options, root.path()).unwrap()).unwrap()
    }

    #[test]
    fn the_last_destination_is_reached_and_the_original_affinities_are_restored() {
        let root = FakeRoot::new();
        let mut thread = start(&root, AffinityOptions { irqs: true, workqueues: true });
        (0..50).for_each(|nr| thread.retarget(&[nr % 3].into()));
        thread.retarget(&[3].into());
        let start = Instant::now();
        while root.irq(24) != "3" && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!((root.irq(4), root.irq(24)), ("3".to_string(), "3".to_string()));
        while thread.counts().nr_workqueues_moved == 0 && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(thread.counts().nr_irqs_moved >= 2);
        drop(thread);
        assert_eq!((root.irq(4), root.irq(24)), ("0-3".to_string(), "0-3".to_string()));
    }

    #[test]
    fn a_destination_that_is_queued_at_the_end_is_undone_too() {
        let root = FakeRoot::new();
        let thread = start(&root, AffinityOptions { irqs: true, workqueues: false });
        thread.retarget(&[1].into());
        drop(thread);
        assert_eq!(root.irq(4), "0-3");
    }
}
