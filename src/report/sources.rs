//! The readings of each source of a node's pressure, by the source's name.

use std::time::Duration;

use crate::sense::{NodeReadings, Reading};

/// One source's reading for a report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SourceLine {
    /// `steal`, `host` or `probe`.
    pub source: &'static str,
    /// `None` without a reading: the source failed, or steal can't show because the node is idle.
    pub reading: Option<Share>,
}

/// A share of the node's CPU and its age.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Share that others take, 0..=1.
    pub share: f64,
    /// Age when the round began.
    pub age: Duration,
}

/// The sources of a node. Steal always is one; it has a reading if the guest ran on the node or if steal shows.
pub(super) fn source_lines(readings: &NodeReadings) -> impl Iterator<Item = SourceLine> {
    /// Smaller shares are displayed as 0 %.
    const SHOWS: f64 = 0.005;

    let shows = readings.has_run || readings.steal_share >= SHOWS;
    let steal = shows.then_some(Share { share: readings.steal_share, age: Duration::ZERO });
    let others = [("host", readings.host), ("probe", readings.probe)];
    let others =
        others.into_iter().filter_map(|(source, reading)| Some(SourceLine { source, reading: share_of(reading?) }));
    std::iter::once(SourceLine { source: "steal", reading: steal }).chain(others)
}

fn share_of(reading: Reading) -> Option<Share> {
    match reading {
        Reading::Taken { share, age, .. } => Some(Share { share, age }),
        Reading::Failed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_of_an_idle_node_and_a_failed_source_have_no_reading() {
        let taken =
            Reading::Taken { share: 0.25, age: Duration::from_millis(400), period: Duration::from_secs(1), spin: None };
        let readings = NodeReadings { host: Some(Reading::Failed), probe: Some(taken), ..NodeReadings::default() };
        let probed = Share { share: 0.25, age: Duration::from_millis(400) };
        let expected = [
            SourceLine { source: "steal", reading: None },
            SourceLine { source: "host", reading: None },
            SourceLine { source: "probe", reading: Some(probed) },
        ];
        assert_eq!(source_lines(&readings).collect::<Vec<_>>(), expected);
        let ran = NodeReadings { steal_share: 0.5, has_run: true, ..NodeReadings::default() };
        let stolen = Share { share: 0.5, age: Duration::ZERO };
        assert_eq!(source_lines(&ran).collect::<Vec<_>>(), [SourceLine { source: "steal", reading: Some(stolen) }]);
        assert_eq!(
            source_lines(&NodeReadings { has_run: false, ..ran }).next().unwrap().reading,
            Some(stolen),
            "steal shows"
        );
    }
}
