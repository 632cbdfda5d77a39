//! The thread in which IRQs and workqueues follow the work: it takes a file or two for each, and rounds never wait.

use std::io;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;

use super::surroundings::{Surroundings, SurroundingsCounts};
use crate::linux::{self, CpuSet};

/// Surroundings that follow in time. All is as found once this is dropped.
pub struct Follower {
    surroundings: Arc<Mutex<Surroundings>>,
    /// `None` only while it is being dropped; so is `thread`.
    orders: Option<Sender<CpuSet>>,
    thread: Option<JoinHandle<()>>,
    counts: SurroundingsCounts,
}

impl Follower {
    /// Starts the thread.
    pub fn start(surroundings: Surroundings) -> io::Result<Self> {
        const STACK_BYTES: usize = 128 << 10;

        let surroundings = Arc::new(Mutex::new(surroundings));
        let theirs = surroundings.clone();
        let (orders, to_do) = channel();
        let thread = linux::thread::spawn("surroundings", STACK_BYTES, move || carry_out(&to_do, &theirs))?;
        Ok(Follower { surroundings, orders: Some(orders), thread: Some(thread), counts: SurroundingsCounts::default() })
    }

    /// See [`Surroundings::follow`]; of several that wait only the last is done.
    pub fn follow(&self, cpus: &CpuSet) {
        // A thread that panicked has said so itself.
        let _ = self.orders.as_ref().map(|orders| orders.send(cpus.clone()));
    }

    /// What was done so far; while something is being done, until then.
    pub fn counts(&mut self) -> SurroundingsCounts {
        match self.surroundings.try_lock() {
            Ok(surroundings) => self.counts = surroundings.counts(),
            Err(TryLockError::Poisoned(poisoned)) => self.counts = poisoned.into_inner().counts(),
            Err(TryLockError::WouldBlock) => {}
        }
        self.counts
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn carry_out(orders: &Receiver<CpuSet>, surroundings: &Mutex<Surroundings>) {
    while let Ok(first) = orders.recv() {
        let last = orders.try_iter().last().unwrap_or(first);
        lock(surroundings).follow(&last);
    }
}

fn lock(surroundings: &Mutex<Surroundings>) -> MutexGuard<'_, Surroundings> {
    surroundings.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::act::fake_root::FakeRoot;
    use crate::act::SurroundingsOptions;

    #[test]
    fn the_last_order_is_in_force_soon_and_all_is_as_found_in_the_end() {
        let root = FakeRoot::new();
        let options = SurroundingsOptions { irqs: true, workqueues: true };
        let mut follower = Follower::start(Surroundings::new(options, root.path()).unwrap()).unwrap();
        (0..50).for_each(|at| follower.follow(&[at % 3].into()));
        follower.follow(&[3].into());
        let start = Instant::now();
        while root.irq(24) != "3" && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!((root.irq(4), root.irq(24)), ("3".to_string(), "3".to_string()));
        while follower.counts().nr_workqueues_moved == 0 && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(follower.counts().nr_irqs_moved >= 2);
        drop(follower);
        assert_eq!((root.irq(4), root.irq(24)), ("0-3".to_string(), "0-3".to_string()));
    }

    #[test]
    fn what_was_ordered_before_the_end_does_not_outlive_it() {
        let root = FakeRoot::new();
        let options = SurroundingsOptions { irqs: true, workqueues: false };
        let follower = Follower::start(Surroundings::new(options, root.path()).unwrap()).unwrap();
        follower.follow(&[1].into());
        drop(follower);
        assert_eq!(root.irq(4), "0-3");
    }
}
