//! What each source source_lines of a node, by the source's name.

use std::time::Duration;

use crate::sense::{NodeReadings, Reading};

/// What one source source_lines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SourceLine {
    /// `steal`, `host` or `probe`.
    pub source: &'static str,
    /// `None` when it had nothing to say: it failed, or it can't see an idle node.
    pub reading: Option<Share>,
}

/// A share of the node's CPU, and how old it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// 0..=1.
    pub share: f64,
    /// When the round began.
    pub age: Duration,
}

/// The sources that there are for a node. Steal is one always; it speaks where the guest ran something, or where it shows.
pub(super) fn source_lines(readings: &NodeReadings) -> impl Iterator<Item = SourceLine> {
    /// Less is shown as nothing.
    const SHOWS: f64 = 0.005;

    let speaks = readings.has_run || readings.steal_share >= SHOWS;
    let steal = speaks.then_some(Share { share: readings.steal_share, age: Duration::ZERO });
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
    fn steal_of_an_idle_node_and_a_source_that_failed_say_nothing() {
        let taken = Reading::Taken { share: 0.25, age: Duration::from_millis(400), period: Duration::from_secs(1) };
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
            "it shows"
        );
    }
}
