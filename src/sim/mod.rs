//! A simulated cluster driven by a trace.
//!
//! The data flow is trace -> tasks -> placement -> engine -> figures -> result. The engine builds a
//! [`crate::cell::CellView`] of each cell, calls the same policies as the live daemon and carries out their
//! [`crate::cell::Plan`]s. `docs/simulation.md` explains the model.
//!
//! A policy of your own next to a built-in one, on the bundled sample:
//!
//! ```
#![doc = include_str!("../../examples/own_policy.rs")]
//! ```

pub mod advise;
pub mod cli;
pub mod engine;
mod error;
pub mod figures;
#[cfg(any(all(test, feature = "daemon"), feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod models;
#[cfg(test)]
mod mutants;
pub mod output;
pub mod params;
pub mod pieces;
pub mod placement;
mod progress;
pub mod quantity;
mod random;
pub mod ranking;
pub mod repeat;
pub mod replay;
pub mod report;
pub mod result;
pub mod sample;
pub mod series;
pub mod spread;
pub mod sweep;
pub mod synthesise;
pub mod tasks;
pub mod trace;
pub mod what_if;

pub use error::SimError;
