//! Being told to leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

/// Tells one thread to leave, from any other.
///
/// Not a channel: those spin and yield for a while before they sleep, and a round may be short.
#[derive(Clone)]
pub struct Shutdown {
    is_requested: Arc<AtomicBool>,
    sleeper: Thread,
}

impl Shutdown {
    /// For the thread that makes it.
    pub fn of_this_thread() -> Self {
        Shutdown { is_requested: Arc::default(), sleeper: std::thread::current() }
    }

    /// It is time; again is as good as once.
    pub fn request(&self) {
        self.is_requested.store(true, Ordering::Release);
        self.sleeper.unpark();
    }

    /// Return true once it is time.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::Acquire)
    }

    /// Sleeps so long, or shorter: until it is time, or now and then for no reason. Only for the thread that made it.
    pub fn sleep(&self, at_most: Duration) {
        debug_assert_eq!(std::thread::current().id(), self.sleeper.id(), "another thread's shutdown");
        if !self.is_requested() {
            std::thread::park_timeout(at_most);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_is_told_sleeps_no_longer() {
        let shutdown = Shutdown::of_this_thread();
        shutdown.sleep(Duration::from_millis(1));
        assert!(!shutdown.is_requested());
        let start = Instant::now();
        let teller = std::thread::spawn({
            let shutdown = shutdown.clone();
            move || shutdown.request()
        });
        while !shutdown.is_requested() {
            shutdown.sleep(Duration::from_secs(60));
        }
        shutdown.sleep(Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(60));
        teller.join().unwrap();
    }
}
