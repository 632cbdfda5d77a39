//! Makes decisions true, and undoes them: which tasks are migratable, and a daemon that never waits for a page.

mod memory;
mod migratable;
mod placements;
mod restore;

pub use memory::{lock_memory, page_faults};
pub use migratable::{make_migratable, Selection, SelectionChanges};
pub use placements::Placements;
pub use restore::{give_back_all, restore_after_kill};
