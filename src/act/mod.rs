//! Makes decisions true, and undoes them: which tasks are migratable, what follows them (IRQs, workqueues, memory, the
//! daemon itself), and a daemon that never waits for a page.

mod cpu_set;
#[cfg(test)]
mod fake_root;
mod follower;
mod irqs;
mod knob;
mod memory;
mod migratable;
mod move_memory;
mod own_threads;
mod placements;
mod restore;
mod saved;
mod surroundings;
mod workqueues;

pub use follower::Follower;
pub use memory::{lock_memory, page_faults};
pub use migratable::{make_migratable, Selection, SelectionChanges};
pub use move_memory::MovedMemory;
pub use own_threads::OwnThreads;
pub use placements::Placements;
pub use restore::{give_back_all, restore_after_kill, Restored};
pub use saved::SavedError;
pub use surroundings::{PutBack, Surroundings, SurroundingsCounts, SurroundingsError, SurroundingsOptions};
