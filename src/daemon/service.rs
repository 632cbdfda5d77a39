//! Tells systemd how the daemon is, if systemd has started it (`Type=notify`). Without it nothing here does anything.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Signs of life for systemd's watchdog.
#[derive(Debug, Default)]
pub struct Watchdog {
    /// Time between two signs: half of what systemd waits. `None` without a watchdog.
    every: Option<Duration>,
    last: Option<Instant>,
}

impl Watchdog {
    /// The watchdog that the environment names.
    pub fn from_environment() -> Self {
        Watchdog { every: sd_notify::watchdog_enabled().map(|patience| patience / 2), last: None }
    }

    /// Give a sign of life, if it is time for one.
    pub fn note_alive(&mut self) {
        let now = Instant::now();
        if self.is_due(now) {
            notify(NotifyState::Watchdog);
            self.last = Some(now);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.every.is_some_and(|every| self.last.is_none_or(|last| now - last >= every))
    }
}

/// The scheduler class is loaded, and rounds begin.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// What `systemctl status` shows.
pub fn status(text: &str) {
    notify(NotifyState::Status(text));
}

/// The daemon is about to end.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(err) = sd_notify::notify(&[state]) {
        log::debug!("telling systemd: {err}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_are_given_twice_as_often_as_they_are_waited_for_and_only_with_a_watchdog() {
        let start = Instant::now();
        let mut watchdog = Watchdog { every: Some(Duration::from_secs(5)), last: None };
        assert!(watchdog.is_due(start));
        watchdog.last = Some(start);
        assert!(!watchdog.is_due(start + Duration::from_secs(4)));
        assert!(watchdog.is_due(start + Duration::from_secs(5)));
        assert!(!Watchdog::default().is_due(start));
    }
}
