//! The counters of a host's distributed memory, in the Prometheus text format.
//!
//! ```text
//! dsm_faults_total{node="0",kind="read"} 10       a load had to fetch a page
//! dsm_faults_total{node="0",kind="write"} 4       a store had to fetch a page
//! dsm_faults_total{node="0",kind="upgrade"} 2     a store had to end other copies of a page that was there
//! dsm_fault_seconds_total{node="0"} 0.00016       time for which vCPUs waited for all of these
//! ```
//!
//! `node` is the guest's node; a host that exports only its own may leave it out. `upgrade` and the seconds may be missing.

use crate::cell::NodeId;
use crate::sense::host::Sample;

const FAULTS: &str = "dsm_faults_total";
const SECONDS: &str = "dsm_fault_seconds_total";
/// No real counter reaches this.
const COUNT_MAX: f64 = 1e18;

/// A node's counters, since its host began to count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DsmCounters {
    /// Pages of 4096 bytes that came from other hosts.
    pub fetched_pages: f64,
    /// Faults for which no page came, but a message had to go and come.
    pub upgrades: f64,
    /// Time for which vCPUs waited for both, in seconds; `None` if the host doesn't tell.
    pub waited_s: Option<f64>,
}

/// Why an answer gives no counters.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum DsmError {
    /// The last line doesn't end in a newline.
    #[error("the answer was cut off")]
    CutOff,
    /// A line of these counters can't be parsed, or stands there twice.
    #[error("the answer has a malformed line: {0}")]
    Unreadable(String),
    /// A counter has an impossible value.
    #[error("{0} is {1}, which is not a valid counter")]
    BadValue(String, f64),
    /// The counter is not there.
    #[error("the answer lacks {FAULTS}{{node=\"{0}\",kind=\"{1}\"}}: does this host count the faults of its distributed memory?")]
    Missing(NodeId, &'static str),
}

impl DsmCounters {
    /// The counters of a node in an answer.
    ///
    /// # Errors
    ///
    /// [`DsmError`] says what is wrong with the answer.
    pub fn parse(text: &str, node: NodeId) -> Result<Self, DsmError> {
        if !text.ends_with('\n') {
            return Err(DsmError::CutOff);
        }
        let (mut read, mut write, mut upgrade, mut waited_s) = (None, None, None, None);
        let is_wanted = |line: &&str| [FAULTS, SECONDS].iter().any(|name| line.trim_start().starts_with(name));
        for line in text.lines().filter(is_wanted) {
            let unreadable = || DsmError::Unreadable(line.chars().filter(|c| !c.is_control()).take(80).collect());
            let sample = Sample::parse(line).ok_or_else(unreadable)?;
            if sample.label("node").is_some_and(|label| label != node.to_string()) {
                continue;
            }
            let slot = match (sample.metric, sample.label("kind")) {
                (FAULTS, Some("read")) => &mut read,
                (FAULTS, Some("write")) => &mut write,
                (FAULTS, Some("upgrade")) => &mut upgrade,
                (SECONDS, _) => &mut waited_s,
                // Kinds and counters of a later release.
                _ => continue,
            };
            if !(0.0..COUNT_MAX).contains(&sample.value) {
                return Err(DsmError::BadValue(sample.series.chars().take(80).collect(), sample.value));
            }
            if slot.replace(sample.value).is_some() {
                return Err(unreadable());
            }
        }
        let (read, write) =
            (read.ok_or(DsmError::Missing(node, "read"))?, write.ok_or(DsmError::Missing(node, "write"))?);
        Ok(DsmCounters { fetched_pages: read + write, upgrades: upgrade.unwrap_or(0.0), waited_s })
    }

    /// Faults of all kinds.
    pub fn faults(&self) -> f64 {
        self.fetched_pages + self.upgrades
    }

    /// Return true if these counters follow from earlier ones of the same host.
    pub(super) fn goes_on_from(&self, earlier: &DsmCounters) -> bool {
        self.fetched_pages >= earlier.fetched_pages
            && self.upgrades >= earlier.upgrades
            && self.waited_s.unwrap_or(f64::MAX) >= earlier.waited_s.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP dsm_faults_total Faults of the distributed memory.
# TYPE dsm_faults_total counter
dsm_faults_total{node=\"0\",kind=\"read\"} 10
dsm_faults_total{node=\"0\",kind=\"write\"} 4
dsm_faults_total{node=\"0\",kind=\"upgrade\"} 2
dsm_faults_total{kind=\"read\",node=\"10\"} 1e3
dsm_faults_total{kind=\"write\",node=\"10\"} 500 1700000000000
dsm_faults_total{kind=\"prefetch\",node=\"10\"} 7
# TYPE dsm_fault_seconds_total counter
dsm_fault_seconds_total{node=\"0\"} 0.00016
node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} NaN
";

    #[test]
    fn each_node_has_its_own_counters() {
        let counters = DsmCounters::parse(TEXT, NodeId(0)).unwrap();
        assert_eq!(counters, DsmCounters { fetched_pages: 14.0, upgrades: 2.0, waited_s: Some(0.00016) });
        let counters = DsmCounters::parse(TEXT, NodeId(10)).unwrap();
        assert_eq!(counters, DsmCounters { fetched_pages: 1500.0, upgrades: 0.0, waited_s: None });
        let own = "dsm_faults_total{kind=\"read\"} 3\ndsm_faults_total{kind=\"write\"} 0\n";
        assert_eq!(DsmCounters::parse(own, NodeId(5)).unwrap().fetched_pages, 3.0, "a host that has only its own");
    }

    #[test]
    fn wrong_answers_are_refused_by_what_is_wrong() {
        let error = |text: &str, node| DsmCounters::parse(text, NodeId(node)).unwrap_err();
        assert_eq!(error(&TEXT[..TEXT.len() - 1], 0), DsmError::CutOff);
        assert_eq!(error(TEXT, 1), DsmError::Missing(NodeId(1), "read"));
        assert_eq!(
            error(&TEXT.replace("kind=\"write\"} 4", "kind=\"store\"} 4"), 0),
            DsmError::Missing(NodeId(0), "write")
        );
        for bad in ["NaN", "-1", "+Inf", "1e300"] {
            let text = TEXT.replace("kind=\"read\"} 10", &format!("kind=\"read\"}} {bad}"));
            assert!(matches!(error(&text, 0), DsmError::BadValue(..)), "{bad}");
        }
        assert!(matches!(error(&TEXT.replace("} 2\n", "} two\n"), 0), DsmError::Unreadable(_)));
        let twice = format!("{TEXT}dsm_faults_total{{node=\"0\",kind=\"read\"}} 11\n");
        assert!(matches!(error(&twice, 0), DsmError::Unreadable(_)));
    }
}
