//! Checks of the undo log on any input.

use super::undo_log::{parse, UndoLog};

/// The saved state. A log that is stored again is the same log.
pub(crate) fn undo_log(bytes: &[u8]) {
    let Ok(log) = parse(bytes) else { return };
    let stored = serde_json::to_vec(&log).expect("BUG: it is plain data");
    let again: UndoLog = parse(&stored).expect("a stored log is parsed");
    assert_eq!(again, log);
    for (file, cpus) in &log.original {
        assert_eq!(file.to_string().try_into().as_ref(), Ok(file));
        assert_eq!(crate::linux::CpuSet::from_list(&cpus.to_string()).as_ref(), Ok(cpus));
    }
}
