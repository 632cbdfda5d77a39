//! Combines the readings of several sources into one [`Pressure`] per node.
//!
//! | source | what it measures | when it has a reading |
//! | --- | --- | --- |
//! | steal | part of the window in which the node's vCPUs wanted to run and could not | the vCPUs wanted to run |
//! | host | CPU of the node's host that this guest doesn't use | the host's metrics are configured (`--host`) |
//! | probe | steal of a vCPU that is made to run for a moment | no other source has one, and before a move |
//!
//! The largest share counts. Steal that shows is always real, but it is complete only where the guest ran. The pressure
//! of an empty node is therefore known only while its host answers, or while its probe does if no host is configured.
//! If a configured host doesn't answer, or its answers are wrong, the node's pressure is unknown, unless the guest wanted
//! nearly all of the node: then nothing that others take escapes steal; or unless steal says enough by itself: of a busy host, which
//! often is the one that doesn't answer, others take at least that. A node without any other source counts at its
//! steal, which is next to nothing on an empty node. A reading older than three periods of its source is stale; a failed
//! one is unknown.

use std::time::Duration;

use super::DsmLoad;
use crate::cell::{Pressure, Sample};

/// A reading that is older than this many of its source's periods isn't acted on.
const STALE_AFTER_PERIODS: u32 = 3;

/// Steal of this share of what the guest wanted is evidence enough that others use the node.
const EVIDENT_STEAL_SHARE: f64 = 0.25;

/// One spin of a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spin {
    /// Time that others got, of the time that the probe got, 0..=1. Averaged over spins by `bursts`, this has no bias from probes that
    /// end early once they see others.
    pub share: f64,
    /// Time that the probe got, in bursts.
    pub bursts: f64,
}

/// The last reading of a node by a source other than steal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// The source measured what others take of the node.
    Taken {
        /// Share of the node's CPU, 0..=1.
        share: f64,
        /// Time since the measurement.
        age: Duration,
        /// Time between two measurements of the source.
        period: Duration,
        /// The last spin of a probe.
        spin: Option<Spin>,
    },
    /// The source has no reading yet, or its last measurement failed.
    Failed,
}

impl Reading {
    fn pressure(self, interval: Duration) -> Pressure {
        match self {
            Reading::Taken { share, age, period, .. } if age <= period * STALE_AFTER_PERIODS => {
                Pressure::Fresh { share }
            }
            Reading::Taken { share, age, .. } => {
                let age_rounds = (age.as_secs_f64() / interval.as_secs_f64()).ceil() as u32;
                Pressure::Stale { share, age_rounds }
            }
            Reading::Failed => Pressure::Unknown,
        }
    }
}

/// All readings of one node in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeReadings {
    /// Steal over the window, as a share of the node's CPU.
    pub steal_share: f64,
    /// Part of the window for which the node gave way to others while its work wanted to run, as a share of the node's CPU. Others
    /// took no more than that.
    pub rested_share: f64,
    /// CPU that the guest wanted in the window, as a share of the node's.
    pub wanted_share: f64,
    /// True if the guest ran enough on the node in the window for steal to show.
    pub has_run: bool,
    /// True if the guest wanted nearly all of the node's CPU in the window, so that steal shows all that others take.
    pub wanted_all: bool,
    /// The steal time of one of its CPUs can't be true in this window, so the node's pressure is unknown.
    pub steal_failed: bool,
    /// The host's metrics; `None` if no host is configured.
    pub host: Option<Reading>,
    /// Share of time in which something on the host waited for a CPU (PSI), if the host reports it. For reports only:
    /// it doesn't affect the pressure.
    pub host_psi_share: Option<f64>,
    /// The probe's reading; `None` if no probe watches the node.
    pub probe: Option<Reading>,
    /// What the host counts of its distributed memory, if it is asked. It doesn't affect the pressure.
    pub dsm: Option<DsmLoad>,
}

impl NodeReadings {
    /// The pressure that the readings add up to. `interval` is the length of a round.
    pub fn pressure(&self, interval: Duration) -> Pressure {
        if self.steal_failed {
            return Pressure::Unknown;
        }
        let probe = self.probe.filter(|_| !self.has_run);
        let is_evident =
            self.has_run && self.steal_share > 0.0 && self.steal_share >= EVIDENT_STEAL_SHARE * self.wanted_share;
        let may_be_missing = |reading: &Reading| {
            (self.wanted_all || is_evident) && !matches!(reading.pressure(interval), Pressure::Fresh { .. })
        };
        let host = self.host.filter(|reading| !may_be_missing(reading));
        // What others took of the rests only their host knows.
        let mut largest_share = if host.is_some() { self.steal_share } else { self.taken_or_left_share() };
        for reading in [host, probe].into_iter().flatten() {
            match reading.pressure(interval) {
                Pressure::Fresh { share } => largest_share = largest_share.max(share),
                unknown => return unknown,
            }
        }
        Pressure::Fresh { share: largest_share }
    }

    /// What others took, or were left.
    fn taken_or_left_share(&self) -> f64 {
        (self.steal_share + self.rested_share).min(1.0)
    }

    /// What a window of this length adds to earlier measurements of the mean of what others take.
    ///
    /// Steal is measured while the guest wants to run, and is a share of the time that it got, as a probe's is: then a hog takes
    /// all. Of another source each reading counts once, as it stands for the time since the one before; and of a probe that
    /// reading itself, rather than the worse of the last two.
    pub fn sample(&self, window: Duration, interval: Duration) -> Sample {
        let is_new = |age: Duration| age <= window;
        let rounds = window.as_secs_f64() / interval.as_secs_f64();
        let taken_or_left_share = self.taken_or_left_share();
        let got_share = (self.wanted_share - taken_or_left_share).max(f64::MIN_POSITIVE);
        match (self.host, self.probe) {
            // What is stolen from work that runs now and then counts as well: beside work, others may want more than alone.
            (Some(Reading::Taken { share, age, .. }), _) if is_new(age) => {
                let stolen_share = if self.has_run { self.steal_share / got_share } else { self.steal_share };
                Sample { share: share.max(stolen_share).min(1.0), rounds }
            }
            // Of a rest others may take all.
            _ if self.has_run => {
                let at_most_share = if self.rested_share > 0.0 { taken_or_left_share / self.wanted_share } else { 0.0 };
                let share = (self.steal_share / got_share).max(at_most_share).min(1.0);
                Sample { share, rounds: self.wanted_share * rounds }
            }
            (None, Some(Reading::Taken { age, spin: Some(spin), .. })) if is_new(age) => {
                Sample { share: spin.share, rounds: spin.bursts }
            }
            (None, None) => Sample { share: self.steal_share, rounds },
            _ => Sample { share: 0.0, rounds: 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn said(share: f64, age_s: u64) -> Option<Reading> {
        Some(Reading::Taken { share, age: Duration::from_secs(age_s), period: SECOND, spin: None })
    }

    fn pressure(readings: NodeReadings) -> Pressure {
        readings.pressure(SECOND)
    }

    #[test]
    fn the_pressure_of_an_empty_node_is_that_of_its_host_or_probe() {
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
    fn where_the_guest_ran_the_larger_of_steal_and_host_counts_but_not_the_probe() {
        let ran = NodeReadings { steal_share: 0.5, has_run: true, ..NodeReadings::default() };
        assert_eq!(pressure(NodeReadings { host: said(0.3, 0), ..ran }), Pressure::Fresh { share: 0.5 });
        assert_eq!(pressure(NodeReadings { host: said(0.7, 0), ..ran }), Pressure::Fresh { share: 0.7 });
        assert_eq!(pressure(NodeReadings { probe: said(0.9, 0), ..ran }), Pressure::Fresh { share: 0.5 });
    }

    #[test]
    fn before_a_move_the_probe_counts_as_well_as_the_host() {
        let asked = NodeReadings { host: said(0.1, 0), probe: said(0.4, 0), ..NodeReadings::default() };
        assert_eq!(pressure(asked), Pressure::Fresh { share: 0.4 });
        assert_eq!(pressure(NodeReadings { probe: said(0.0, 0), ..asked }), Pressure::Fresh { share: 0.1 });
        assert_eq!(pressure(NodeReadings { probe: Some(Reading::Failed), ..asked }), Pressure::Unknown);
    }

    #[test]
    fn steal_that_shows_on_an_empty_node_counts() {
        let little_ran = NodeReadings { steal_share: 0.2, probe: said(0.0, 0), ..NodeReadings::default() };
        assert_eq!(pressure(little_ran), Pressure::Fresh { share: 0.2 });
    }

    #[test]
    fn where_the_guest_wanted_all_steal_says_what_a_host_does_not() {
        let full = NodeReadings { steal_share: 0.3, has_run: true, wanted_all: true, ..NodeReadings::default() };
        assert_eq!(pressure(NodeReadings { host: Some(Reading::Failed), ..full }), Pressure::Fresh { share: 0.3 });
        assert_eq!(pressure(NodeReadings { host: said(0.6, 4), ..full }), Pressure::Fresh { share: 0.3 });
        assert_eq!(pressure(NodeReadings { host: said(0.6, 0), ..full }), Pressure::Fresh { share: 0.6 });
        assert_eq!(pressure(NodeReadings { steal_failed: true, ..full }), Pressure::Unknown);
    }

    #[test]
    fn steal_that_is_evident_says_what_a_host_does_not() {
        let hit = NodeReadings { steal_share: 0.25, wanted_share: 0.5, has_run: true, ..NodeReadings::default() };
        assert_eq!(pressure(NodeReadings { host: Some(Reading::Failed), ..hit }), Pressure::Fresh { share: 0.25 });
        assert_eq!(pressure(NodeReadings { host: said(0.1, 4), ..hit }), Pressure::Fresh { share: 0.25 });
        assert_eq!(pressure(NodeReadings { host: said(0.6, 0), ..hit }), Pressure::Fresh { share: 0.6 });
        let noise = NodeReadings { steal_share: 0.1, ..hit };
        assert_eq!(pressure(NodeReadings { host: Some(Reading::Failed), ..noise }), Pressure::Unknown);
        assert_eq!(
            sample(NodeReadings { host: Some(Reading::Failed), ..hit }),
            (1.0, 1.0),
            "half of what the guest wanted"
        );
    }

    #[test]
    fn a_host_that_does_not_answer_makes_its_node_unknown_despite_a_steal_reading() {
        let ran = NodeReadings { steal_share: 0.0, has_run: true, ..NodeReadings::default() };
        assert_eq!(pressure(NodeReadings { host: Some(Reading::Failed), ..ran }), Pressure::Unknown);
        assert_eq!(pressure(NodeReadings { host: said(0.1, 4), ..ran }), Pressure::Stale { share: 0.1, age_rounds: 4 });
        assert_eq!(
            pressure(NodeReadings { probe: Some(Reading::Failed), ..NodeReadings::default() }),
            Pressure::Unknown
        );
    }

    const HALF: Duration = Duration::from_millis(500);

    fn sample(readings: NodeReadings) -> (f64, f64) {
        let sample = readings.sample(SECOND, HALF);
        (sample.share, sample.rounds)
    }

    #[test]
    fn each_reading_of_a_probe_is_a_sample_once_without_the_one_before() {
        let spin = Some(Spin { share: 0.1, bursts: 0.9 });
        let probe = |age_s| Reading::Taken { share: 0.8, age: Duration::from_secs(age_s), period: SECOND, spin };
        let probed = |age_s| NodeReadings { probe: Some(probe(age_s)), ..NodeReadings::default() };
        assert_eq!(sample(probed(1)), (0.1, 0.9));
        assert_eq!(sample(probed(2)), (0.0, 0.0));
        assert_eq!(sample(NodeReadings { probe: Some(Reading::Failed), ..probed(1) }), (0.0, 0.0));
    }

    #[test]
    fn a_hosts_new_answer_stands_for_the_whole_window_and_an_old_one_for_nothing() {
        let asked = |age_s| NodeReadings { host: said(0.3, age_s), ..NodeReadings::default() };
        assert_eq!([sample(asked(1)), sample(asked(2))], [(0.3, 2.0), (0.0, 0.0)]);
        assert_eq!(sample(NodeReadings::default()), (0.0, 2.0), "without any source steal is all that is known");
    }

    #[test]
    fn what_was_left_to_others_counts_as_theirs_unless_their_host_knows() {
        let gave_way = NodeReadings {
            steal_share: 0.125,
            rested_share: 0.25,
            wanted_share: 0.75,
            has_run: true,
            ..NodeReadings::default()
        };
        assert_eq!(pressure(gave_way), Pressure::Fresh { share: 0.375 });
        assert_eq!(sample(gave_way), (0.5, 1.5), "of what the work wanted");
        let told = NodeReadings { host: said(0.25, 0), ..gave_way };
        assert_eq!(pressure(told), Pressure::Fresh { share: 0.25 });
        assert_eq!(sample(told), (0.125 / 0.375, 2.0), "the more of what the host says and what the work lost");
        let hog = NodeReadings { steal_share: 0.25, rested_share: 0.5, wanted_share: 1.0, ..gave_way };
        assert_eq!(sample(hog), (1.0, 2.0), "it had as much as the work, in the time that both wanted");
    }

    #[test]
    fn steal_is_a_share_of_the_time_that_the_guest_got() {
        let half = NodeReadings { steal_share: 0.1, wanted_share: 0.5, has_run: true, ..NodeReadings::default() };
        assert_eq!(sample(half), (0.25, 1.0), "half a window of two rounds");
        assert_eq!(sample(NodeReadings { host: said(0.3, 0), ..half }), (0.3, 2.0));
        let hog = NodeReadings { steal_share: 0.5, wanted_share: 1.0, ..half };
        assert_eq!(sample(hog), (1.0, 2.0));
        assert_eq!(sample(NodeReadings { steal_share: 0.5, ..half }), (1.0, 1.0));
    }
}
