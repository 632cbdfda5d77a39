//! One measured value, which the guest prints as a line of JSON and the report reads.

use serde::{Deserialize, Serialize};

/// One value of one arm. Arms of a measurement that have the same pair were run one right after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// What was measured.
    pub measurement: String,
    /// The scheduler or method that was measured.
    pub arm: String,
    /// Which repetition.
    pub pair: u32,
    /// Less is better.
    pub value: f64,
    /// The unit of the value.
    pub unit: String,
}
