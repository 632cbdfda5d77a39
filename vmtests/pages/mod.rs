//! Pages that travelled, told by use: what runs in the machine to name them, and what shows them afterwards.
//!
//! - [`naming`]: in the machine, finds what the pages of the record are used for, and which code touched them.
//! - [`measure`]: in the machine, the work that shows which pages scheduling makes travel.
//! - [`report`]: joins the record with the names, and prints the hottest.
//! - [`picture`]: transfers over time and between nodes.
//! - [`serve`]: in the machine, serves the counts as hosts would.
//!
//! The record itself is made by QEMU's plugin: the crates `vnuma-dsm` and `vnuma-dsm-plugin`.

mod kernel;
pub mod measure;
pub mod naming;
mod object;
pub mod picture;
mod process;
pub mod report;
pub mod serve;
mod symbols;
mod vmalloc;
