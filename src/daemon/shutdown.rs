//! Requests to shut down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

/// Asks one thread to shut down, from any other thread.
///
/// This is not a channel, because a receiver spins and yields for a while before it sleeps, and rounds may be short.
#[derive(Clone)]
pub struct Shutdown {
    is_requested: Arc<AtomicBool>,
    sleeper: Thread,
}

impl Shutdown {
    /// Make a handle for the calling thread.
    pub fn of_this_thread() -> Self {
        Shutdown { is_requested: Arc::default(), sleeper: std::thread::current() }
    }

    /// Request the shutdown. Repeated requests have no further effect.
    pub fn request(&self) {
        self.is_requested.store(true, Ordering::Release);
        self.sleeper.unpark();
    }

    /// Return true once a shutdown was requested.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::Acquire)
    }

    /// Sleep until a shutdown is requested, for at most `at_most`; may wake early. Only for the thread that made the
    /// handle.
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
    fn a_request_ends_the_sleep() {
        let shutdown = Shutdown::of_this_thread();
        shutdown.sleep(Duration::from_millis(1));
        assert!(!shutdown.is_requested());
        let start = Instant::now();
        let requester = std::thread::spawn({
            let shutdown = shutdown.clone();
            move || shutdown.request()
        });
        while !shutdown.is_requested() {
            shutdown.sleep(Duration::from_secs(60));
        }
        shutdown.sleep(Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(60));
        requester.join().unwrap();
    }
}
