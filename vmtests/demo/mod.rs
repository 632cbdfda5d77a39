//! The demo: the same load under Linux alone and with the scheduler, recorded inside the guest and drawn as a timeline afterwards.

mod picture;
mod record;
mod recorder;
mod summary;
mod text;
mod timeline;

pub use recorder::{record, PhaseName};
pub use timeline::show;
