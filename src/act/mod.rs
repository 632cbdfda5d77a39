//! Moves what goes with the work when a plan moves it: IRQs, workqueues, memory, the daemon's own threads. Undoes all of it.

mod affinity;
mod memory_mover;
mod own_threads;
mod restore;

#[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
pub(crate) use affinity::fuzzing;
pub use affinity::{
    AffinityCounts, AffinityError, AffinityMover, AffinityOptions, AffinityThread, RestoredAffinities, UndoLogError,
};
pub use memory_mover::{MemoryCounts, MemoryMover, MemoryMoverError};
pub use own_threads::OwnThreads;
pub use restore::{restore_after_kill, Restored};
