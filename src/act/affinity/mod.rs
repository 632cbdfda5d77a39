//! Moves IRQs and unbound workqueues to the node of the migratable work, and back once the daemon ends.
//!
//! At each change of the first destination their affinities are set to its online CPUs. An undo log in /run/scx_vnuma has the
//! original affinities and all that we set; each is stored before the first write that depends on it. With it this
//! daemon, or the next one after a kill, can tell whether an affinity is the original one, one of ours, or one that
//! someone else has set. That of someone else is never overwritten; a warning names it.
//!
//! - [`mover`]: sets the affinities at a change of destination.
//! - [`thread`]: runs a mover, so that rounds don't wait for it.
//! - [`undo`]: restores the original affinities.
//! - [`undo_log`]: the affinities to restore, on file.
//! - [`owner`]: who has set an affinity.
//! - [`file`](mod@file): a file of the kernel that has an affinity.
//! - [`irqs`]: lists the IRQs.
//! - [`isolated`]: the CPUs that are kept free of both.

#[cfg(test)]
mod fake_root;
mod file;
#[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod irqs;
mod isolated;
mod mover;
mod owner;
#[cfg(test)]
mod tests;
mod thread;
mod undo;
mod undo_log;

use std::io;
use std::path::{Path, PathBuf};

pub use mover::AffinityMover;
pub use thread::AffinityThread;
pub use undo::{undo_after_kill, RestoredAffinities};
pub use undo_log::UndoLogError;

use crate::linux::CpuSet;

/// Which affinities are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AffinityOptions {
    /// Those of IRQs.
    pub irqs: bool,
    /// The mask of all unbound workqueues.
    pub workqueues: bool,
}

/// What an [`AffinityMover`] has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AffinityCounts {
    /// Times that an IRQ was moved.
    pub nr_irqs_moved: u64,
    /// IRQs that the kernel never lets anyone move: per-CPU ones and those that it manages itself.
    pub nr_irqs_skipped: u64,
    /// Times that the kernel refused to move any other IRQ, such as for want of a free vector.
    pub nr_irqs_refused: u64,
    /// Times that the unbound workqueues were moved.
    pub nr_workqueues_moved: u64,
    /// Times that the kernel refused to move them.
    pub nr_workqueues_refused: u64,
    /// IRQs and workqueues that are left alone because someone else has set them.
    pub nr_foreign: u64,
}

/// Why affinities can't be set or restored.
#[derive(Debug, thiserror::Error)]
pub enum AffinityError {
    /// The undo log can't be used.
    #[error(transparent)]
    UndoLog(#[from] UndoLogError),
    /// A file of the kernel can't be read.
    #[error(
        "reading {path}: {cause}; check that /proc and /sys are mounted, or run with --move-irqs=false \
         --move-workqueues=false",
        path = path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// No thread could be started.
    #[error("starting the thread that moves IRQs and workqueues: {0}; raise RLIMIT_NPROC and RLIMIT_MEMLOCK")]
    Thread(io::Error),
}

/// The CPUs that are online, below `root`.
fn online_cpus(root: &Path) -> Result<CpuSet, AffinityError> {
    let path = root.join("sys/devices/system/cpu/online");
    let cpus = std::fs::read_to_string(&path)
        .and_then(|text| CpuSet::from_list(&text).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err)));
    cpus.map_err(|cause| AffinityError::Read { path, cause })
}
