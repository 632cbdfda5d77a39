//! What travels while something is done, for programs in the machine that want to know at once.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use vnuma_dsm::mark::begin_phase;
use vnuma_dsm::{Phase, Record};

use crate::guest::wait_for;

/// Where the record is in the machine.
const RECORD: &str = "/lab/dsm/dsm.json";
static NR_PHASES: AtomicU32 = AtomicU32::new(0);

/// Does something as a phase of its own, and returns what travelled in it. The machine must be one with a page cost. Reading the
/// record takes seconds in emulation, after the phase.
pub fn during(name: &str, work: impl FnOnce() -> Result<()>) -> Result<Phase> {
    let next = format!("after {}", NR_PHASES.fetch_add(1, Ordering::Relaxed));
    begin_phase(name);
    let outcome = work();
    begin_phase(&next);
    outcome?;
    let mut found = None;
    wait_for("the record has the phase", Duration::from_secs(60), || {
        found = before(read(Path::new(RECORD))?, &next);
        Ok(found.is_some())
    })?;
    found.context("BUG: the record had the phase")
}

fn read(path: &Path) -> Result<Record> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{}: has the machine a page cost?", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// The phase before the one that goes on, if that is the given one: older records end with another.
fn before(mut record: Record, next: &str) -> Option<Phase> {
    let last = record.phases.pop()?;
    record.phases.pop().filter(|_| last.name == next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(names: &[&str]) -> Record {
        let phase = |name: &&str| Phase { name: name.to_string(), ..Phase::default() };
        Record { phases: names.iter().map(phase).collect(), ..Record::default() }
    }

    #[test]
    fn a_phase_is_taken_once_the_record_has_its_end() {
        assert!(before(record(&["boot", "rounds"]), "after 0").is_none());
        assert!(
            before(record(&["boot", "rounds", "after 0", "rounds"]), "after 1").is_none(),
            "an earlier one of the name"
        );
        let found = before(record(&["boot", "rounds", "after 0", "rounds", "after 1"]), "after 1");
        assert_eq!(found.expect("the phase is there").name, "rounds");
    }
}
