//! Restores the original affinities of IRQs and workqueues.

use std::fmt;
use std::io;
use std::path::Path;

use super::file::AffinityFile;
use super::owner::Owner;
use super::undo_log::{UndoLog, UndoLogFile};
use super::{online_cpus, AffinityError};
use crate::linux::CpuSet;

/// IRQs and workqueues after an undo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoredAffinities {
    /// They have their original affinities again.
    pub nr_restored: u64,
    /// Someone else had set them, so they were left alone.
    pub nr_foreign: u64,
    /// The kernel refused. They are still in the undo log, for another attempt.
    pub nr_failed: u64,
}

impl fmt::Display for RestoredAffinities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "affinities of IRQs and workqueues: {} restored", self.nr_restored)?;
        if self.nr_foreign > 0 {
            write!(f, ", {} left as someone else has set them", self.nr_foreign)?;
        }
        if self.nr_failed > 0 {
            write!(f, ", {} not restored: `scx_vnuma restore` tries again", self.nr_failed)?;
        }
        Ok(())
    }
}

/// Undo what a killed daemon has left below `root`, usually `/`. Returns `None` if it has left nothing.
pub fn undo_after_kill(root: &Path) -> Result<Option<RestoredAffinities>, AffinityError> {
    let file = UndoLogFile::new(root);
    match file.load()? {
        Some(log) => undo(root, &file, log).map(Some),
        None => {
            file.remove()?;
            Ok(None)
        }
    }
}

/// Restore all affinities that are still ours, and remove the undo log unless some of them could not be restored.
pub(super) fn undo(root: &Path, file: &UndoLogFile, mut log: UndoLog) -> Result<RestoredAffinities, AffinityError> {
    let online = online_cpus(root)?;
    let mut restored = RestoredAffinities::default();
    for (affinity, original) in log.original.clone() {
        match undo_one(root, affinity, &original, &online, &log) {
            Ok(Some(Owner::Daemon)) => restored.nr_restored += 1,
            Ok(Some(Owner::Foreign)) => restored.nr_foreign += 1,
            Ok(Some(Owner::Original) | None) => {}
            Err(err) => {
                log::warn!("restoring {affinity} to CPUs {original}: {err}");
                restored.nr_failed += 1;
                continue;
            }
        }
        log.original.remove(&affinity);
    }
    match log.original.is_empty() {
        true => file.remove()?,
        false => file.store(&log)?,
    }
    Ok(restored)
}

/// Restore an affinity if it is ours. Returns whose it was; `None` if the IRQ no longer exists.
fn undo_one(
    root: &Path,
    file: AffinityFile,
    original: &CpuSet,
    online: &CpuSet,
    log: &UndoLog,
) -> io::Result<Option<Owner>> {
    let now = match file.read(root) {
        Ok(now) => now,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    let owner = Owner::of(file, &now, online, log);
    match owner {
        Some(Owner::Daemon) => file.write(root, original)?,
        Some(Owner::Foreign) => {
            log::warn!("someone else has set {file} to CPUs {now}: it is left so; it was {original} originally");
        }
        Some(Owner::Original) | None => {}
    }
    Ok(owner)
}
