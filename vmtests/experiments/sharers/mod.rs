//! Programs whose processes or threads share memory, in a machine whose memory is distributed: how much work they do under the
//! fair class, with and without NUMA balancing, and under scx_vnuma, and how many pages travel meanwhile.
//!
//! `programs` are what runs, in teams that share; `arms` is the guest's part, with the arms that are compared; `report` puts its
//! record and the machine's counts of pages together.

pub mod arms;
mod programs;
mod record;
pub mod report;

pub use record::{Arm, Program, Turn};
