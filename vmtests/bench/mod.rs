//! The cost of scheduling: `measure` takes samples inside a guest, `report` evaluates them afterwards.

pub mod measure;
pub mod report;
mod sample;
