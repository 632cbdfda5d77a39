//! Requests to shut down.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crate::linux::wait;

/// Asks the round loop to shut down, from any thread.
///
/// This is not a channel, because a receiver spins and yields for a while before it sleeps, and rounds may be short.
#[derive(Clone, Debug)]
pub struct Shutdown {
    is_requested: Arc<AtomicBool>,
    event: Arc<OwnedFd>,
}

impl Shutdown {
    /// Make a handle. No shutdown is requested yet.
    pub fn new() -> io::Result<Self> {
        Ok(Shutdown { is_requested: Arc::default(), event: Arc::new(wait::event()?) })
    }

    /// Request the shutdown. Repeated requests have no further effect.
    pub fn request(&self) {
        self.is_requested.store(true, Ordering::Release);
        wait::raise(self.event.as_fd());
    }

    /// Return true once a shutdown was requested.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::Acquire)
    }

    /// Sleep until a shutdown is requested or `alarm` can be read, for at most `at_most`; may wake early. Return true if
    /// `alarm` can be read.
    pub fn sleep(&self, at_most: Duration, alarm: Option<BorrowedFd<'_>>) -> bool {
        let request = self.event.as_fd();
        let woken = match alarm {
            Some(alarm) => wait::until_readable([request, alarm], at_most).map(|[_, alarm]| alarm),
            None => wait::until_readable([request], at_most).map(|_| false),
        };
        woken.unwrap_or_else(|err| {
            // If poll(2) fails, the rounds still go on by time.
            log::debug!("waiting for events: {err}");
            std::thread::sleep(at_most);
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_request_ends_the_sleep() {
        let shutdown = Shutdown::new().unwrap();
        shutdown.sleep(Duration::from_millis(1), None);
        assert!(!shutdown.is_requested());
        let start = Instant::now();
        let requester = std::thread::spawn({
            let shutdown = shutdown.clone();
            move || shutdown.request()
        });
        while !shutdown.is_requested() {
            shutdown.sleep(Duration::from_secs(60), None);
        }
        shutdown.sleep(Duration::from_secs(60), None);
        assert!(start.elapsed() < Duration::from_secs(60));
        requester.join().unwrap();
    }

    #[test]
    fn an_alarm_ends_the_sleep_and_is_no_request() {
        let shutdown = Shutdown::new().unwrap();
        let alarm = wait::event().unwrap();
        assert!(!shutdown.sleep(Duration::from_millis(1), Some(alarm.as_fd())));
        wait::raise(alarm.as_fd());
        assert!(shutdown.sleep(Duration::from_secs(60), Some(alarm.as_fd())));
        assert!(!shutdown.is_requested());
    }
}
