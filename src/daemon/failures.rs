//! Tolerates failed rounds: a brief shortage of memory or file descriptors is no reason to stop.

use anyhow::{Context, Result};

/// Number of consecutive failed rounds that end the daemon: by then the current plan is too old.
const FAILURES_MAX: u32 = 20;

/// Counts consecutive failed rounds.
#[derive(Debug, Default)]
pub struct Failures {
    nr_in_a_row: u32,
}

impl Failures {
    /// Record a failed round. Returns its error if there were too many in a row.
    pub fn failed(&mut self, err: anyhow::Error) -> Result<()> {
        self.nr_in_a_row += 1;
        if self.nr_in_a_row >= FAILURES_MAX {
            return Err(err).with_context(|| format!("{FAILURES_MAX} rounds in a row failed"));
        }
        if self.nr_in_a_row == 1 {
            log::warn!("a round failed, so the plan stays as it is: {err:#}");
        } else {
            log::debug!("round {} in a row failed: {err:#}", self.nr_in_a_row);
        }
        Ok(())
    }

    /// Record a successful round.
    pub fn succeeded(&mut self) {
        if self.nr_in_a_row > 0 {
            log::info!("rounds succeed again after {} failed ones", self.nr_in_a_row);
        }
        self.nr_in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn only_many_consecutive_failures_end_the_daemon() {
        let mut failures = Failures::default();
        for _ in 0..3 {
            for _ in 1..FAILURES_MAX {
                failures.failed(anyhow!("EMFILE")).unwrap();
            }
            failures.succeeded();
        }
        for _ in 1..FAILURES_MAX {
            failures.failed(anyhow!("EMFILE")).unwrap();
        }
        let message = format!("{:#}", failures.failed(anyhow!("EMFILE")).unwrap_err());
        assert_eq!(message, "20 rounds in a row failed: EMFILE");
    }
}
