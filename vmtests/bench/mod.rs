//! What scheduling costs: `measure` takes samples inside a guest, `report` reads them afterwards.

pub mod measure;
pub mod report;
mod sample;
