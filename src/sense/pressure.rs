//! How much of a node others take: what several sources say of it, made one [`Pressure`].
//!
//! | source | what it measures | when it speaks |
//! | --- | --- | --- |
//! | steal | the part of the window in which the node's vCPUs wanted to run and could not | they did want to |
//! | host | the CPU of the node's host that isn't this guest's | its metrics are configured (`--host`) |
//! | probe | the steal of a vCPU that is made to run for a moment | nothing else speaks, and before a move |
//!
//! The rule: the largest counts. Steal that shows is true; only where the guest ran is it also the whole truth, so an empty
//! node is known only while its host answers, or its probe if no host is configured. A node whose host is configured and
//! does not answer is unknown even where steal speaks. A node with no other source at all is taken at its steal, which is
//! next to nothing for an empty one. What is older than three of its source's periods is stale; what failed is unknown.

use std::time::Duration;

use crate::cell::Pressure;

/// A reading that has missed so many of its source's periods isn't acted on.
const STALE_AFTER_PERIODS: u32 = 3;

/// What a source other than steal last said of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// Others take this much of the node.
    Taken {
        /// Share of the node's CPU, 0..=1.
        share: f64,
        /// How long ago that was measured.
        age: Duration,
        /// How often the source measures.
        period: Duration,
    },
    /// It has not answered yet, or its last answer was none.
    Failed,
}

impl Reading {
    fn pressure(self, interval: Duration) -> Pressure {
        match self {
            Reading::Taken { share, age, period } if age <= period * STALE_AFTER_PERIODS => Pressure::Fresh { share },
            Reading::Taken { share, age, .. } => {
                let age_rounds = (age.as_secs_f64() / interval.as_secs_f64()).ceil() as u32;
                Pressure::Stale { share, age_rounds }
            }
            Reading::Failed => Pressure::Unknown,
        }
    }
}

/// All that is said of one node in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeReadings {
    /// Steal over the window, as a share of the node's CPU.
    pub steal_share: f64,
    /// The guest ran something on the node in the window, so steal had a chance to show.
    pub has_run: bool,
    /// The host's metrics, if they are configured.
    pub host: Option<Reading>,
    /// Beside it, and for people only: the share of the time in which something on the host waited for a CPU (PSI), if
    /// the host counts that.
    pub host_psi_share: Option<f64>,
    /// The probe, if one watches the node.
    pub probe: Option<Reading>,
}

impl NodeReadings {
    /// What they come to, in rounds of `interval`.
    pub fn pressure(&self, interval: Duration) -> Pressure {
        let probe = self.probe.filter(|_| !self.has_run);
        let mut largest_share = self.steal_share;
        for reading in [self.host, probe].into_iter().flatten() {
            match reading.pressure(interval) {
                Pressure::Fresh { share } => largest_share = largest_share.max(share),
                not_known => return not_known,
            }
        }
        Pressure::Fresh { share: largest_share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn said(share: f64, age_s: u64) -> Option<Reading> {
        Some(Reading::Taken { share, age: Duration::from_secs(age_s), period: SECOND })
    }

    fn pressure(readings: NodeReadings) -> Pressure {
        readings.pressure(SECOND)
    }

    #[test]
    fn an_empty_node_is_what_its_host_or_the_probe_says() {
        assert_eq!(
            pressure(NodeReadings { host: said(0.9, 0), ..NodeReadings::default() }),
            Pressure::Fresh { share: 0.9 }
        );
        assert_eq!(
            pressure(NodeReadings { probe: said(0.5, 3), ..NodeReadings::default() }),
            Pressure::Fresh { share: 0.5 }
        );
        assert_eq!(pressure(NodeReadings::default()), Pressure::Fresh { share: 0.0 });
    }

    #[test]
    fn where_the_guest_ran_the_larger_of_steal_and_host_counts_and_the_probe_does_not() {
        let ran = NodeReadings { steal_share: 0.5, has_run: true, ..NodeReadings::default() };
        assert_eq!(pressure(NodeReadings { host: said(0.3, 0), ..ran }), Pressure::Fresh { share: 0.5 });
        assert_eq!(pressure(NodeReadings { host: said(0.7, 0), ..ran }), Pressure::Fresh { share: 0.7 });
        assert_eq!(pressure(NodeReadings { probe: said(0.9, 0), ..ran }), Pressure::Fresh { share: 0.5 });
    }

    #[test]
    fn before_a_move_the_probe_counts_beside_the_host() {
        let asked = NodeReadings { host: said(0.1, 0), probe: said(0.4, 0), ..NodeReadings::default() };
        assert_eq!(pressure(asked), Pressure::Fresh { share: 0.4 });
        assert_eq!(pressure(NodeReadings { probe: said(0.0, 0), ..asked }), Pressure::Fresh { share: 0.1 });
        assert_eq!(pressure(NodeReadings { probe: Some(Reading::Failed), ..asked }), Pressure::Unknown);
    }

    #[test]
    fn steal_that_shows_on_an_empty_node_is_true() {
        let little_ran = NodeReadings { steal_share: 0.2, probe: said(0.0, 0), ..NodeReadings::default() };
        assert_eq!(pressure(little_ran), Pressure::Fresh { share: 0.2 });
    }

    #[test]
    fn a_host_that_does_not_answer_makes_its_node_unknown_even_where_steal_speaks() {
        let ran = NodeReadings { steal_share: 0.0, has_run: true, ..NodeReadings::default() };
        assert_eq!(pressure(NodeReadings { host: Some(Reading::Failed), ..ran }), Pressure::Unknown);
        assert_eq!(pressure(NodeReadings { host: said(0.1, 4), ..ran }), Pressure::Stale { share: 0.1, age_rounds: 4 });
        assert_eq!(
            pressure(NodeReadings { probe: Some(Reading::Failed), ..NodeReadings::default() }),
            Pressure::Unknown
        );
    }
}
