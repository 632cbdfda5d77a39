//! What scx_vnuma costs, measured inside a guest: `vnuma-scenarios bench [--short]`.
//!
//! Each sample is a line of JSON as soon as it is there, so that nothing is lost when the guest is.

mod callbacks;
mod retarget;
#[path = "sample.rs"]
mod sample;
mod switches;
mod wakeups;

use anyhow::Result;
use sample::Sample;

/// How often everything is measured.
#[derive(Clone, Copy)]
pub struct Extent {
    pairs: u32,
    /// Task counts of the retarget's measurement.
    crowds: &'static [usize],
}

impl Extent {
    /// Only whether each measurement works.
    pub const SHORT: Extent = Extent { pairs: 1, crowds: &[10, 100] };
    /// For medians.
    pub const FULL: Extent = Extent { pairs: 10, crowds: &[10, 100, 1000, 2000, 10000] };
}

/// Measures everything.
pub fn run(extent: Extent) -> Result<()> {
    switches::measure(extent.pairs)?;
    wakeups::measure(extent.pairs)?;
    callbacks::measure()?;
    retarget::measure(extent.crowds)
}

fn print(measurement: &str, arm: &str, pair: u32, value: f64, unit: &str) -> Result<()> {
    let sample = Sample { measurement: measurement.into(), arm: arm.into(), pair, value, unit: unit.into() };
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}
