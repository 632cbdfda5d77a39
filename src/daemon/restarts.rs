//! Limits restarts: a restart loop is worse than staying off.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

/// Counts the restarts that the kernel requested for unknown reasons. Those after hotplug or a silence of the daemon are
/// answers to events outside, so they don't count: each of many CPUs that are added asks for one.
#[derive(Default)]
pub struct Restarts {
    at: VecDeque<Instant>,
}

impl Restarts {
    const MAX: usize = 3;
    const WITHIN: Duration = Duration::from_secs(60);

    /// Record a restart. It is an error if there were too many within a minute.
    pub fn note(&mut self, now: Instant) -> Result<()> {
        self.at.retain(|&at| now.duration_since(at) < Self::WITHIN);
        ensure!(
            self.at.len() < Self::MAX,
            "the kernel ended scx_vnuma {} times within {} s; it stays off and all tasks run in the fair class",
            self.at.len() + 1,
            Self::WITHIN.as_secs()
        );
        self.at.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_restart_within_a_minute_is_refused() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        for s in [0, 10, 20] {
            restarts.note(start + Duration::from_secs(s)).unwrap();
        }
        let message = restarts.note(start + Duration::from_secs(30)).unwrap_err().to_string();
        assert!(message.contains("stays off"), "{message}");
        restarts.note(start + Duration::from_secs(61)).unwrap();
    }
}
