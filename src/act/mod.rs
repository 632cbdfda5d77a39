//! What follows the work when a plan moves it (IRQs, workqueues, memory, the daemon's own threads), and how all of it is undone.

#[cfg(test)]
mod fake_root;
mod follower;
mod irqs;
mod knob;
mod memory_mover;
mod own_threads;
mod restore;
mod saved;
mod surroundings;
mod workqueues;

pub use follower::Follower;
pub use memory_mover::{MemoryCounts, MemoryMover, MemoryMoverError};
pub use own_threads::OwnThreads;
pub use restore::{restore_after_kill, Restored};
pub use saved::SavedError;
pub use surroundings::{PutBack, Surroundings, SurroundingsCounts, SurroundingsError, SurroundingsOptions};
