//! Pages that travel between the nodes of an emulated machine, as in a distributed virtual machine.
//!
//! A plugin of QEMU (`vmtests/dsm-plugin`) reports every access to memory. [`Memory`] keeps who holds a copy of each page, counts
//! what has to travel, and makes the virtual CPU wait for it. [`Recorder`] divides the counts into seconds and into phases that a
//! program in the machine names, and writes them as [`Record`]. Programs in the machine name a phase with [`mark`].
//!
//! - [`mod@protocol`]: which copies an access needs and which it ends: pure.
//! - [`mod@memory`]: the state and the counts of all pages, changed by many threads at once.

mod arguments;
mod counters;
mod exporter;
pub mod mark;
pub mod memory;
pub mod protocol;
mod record;
mod recorder;
mod sites;

pub use arguments::{Arguments, BadArgument};
pub use counters::Counts;
pub use memory::{Access, Memory};
pub use record::{Page, Phase, Record, Second, Site, Span};
pub use recorder::Recorder;

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;
/// Nodes that a machine may have.
pub const MAX_NODES: usize = 16;
