//! Rounds that fail: the machine may be short of memory or file descriptors for a moment, which is no reason to leave.

use anyhow::{Context, Result};

/// This many failed rounds in a row end the daemon: the plan in force is too old by then.
const FAILURES_MAX: u32 = 20;

/// Counts the rounds that failed in a row.
#[derive(Debug, Default)]
pub struct Failures {
    nr_in_a_row: u32,
}

impl Failures {
    /// A round failed. Returns its error when there were too many in a row.
    pub fn failed(&mut self, err: anyhow::Error) -> Result<()> {
        self.nr_in_a_row += 1;
        if self.nr_in_a_row >= FAILURES_MAX {
            return Err(err).with_context(|| format!("{FAILURES_MAX} rounds in a row failed"));
        }
        if self.nr_in_a_row == 1 {
            log::warn!("a round failed, the plan in force stays: {err:#}");
        } else {
            log::debug!("round {} in a row failed: {err:#}", self.nr_in_a_row);
        }
        Ok(())
    }

    /// A round succeeded.
    pub fn succeeded(&mut self) {
        if self.nr_in_a_row > 0 {
            log::info!("rounds succeed again, after {} that failed", self.nr_in_a_row);
        }
        self.nr_in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn only_a_long_row_of_failures_ends_the_daemon() {
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
