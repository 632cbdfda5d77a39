//! Memory that machines have little of.

use crate::sim::error::SimError;

/// Machines whose memory is limited, too.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MemoryModel {
    /// Memory of a machine whose shape says nothing of it, as a share of the trace's largest machine.
    pub capacity: f64,
}

impl MemoryModel {
    /// Check the settings. The error names the option.
    pub fn check(&self) -> Result<(), SimError> {
        match self.capacity > 0.0 && self.capacity <= 1000.0 {
            true => Ok(()),
            false => {
                Err(SimError::Parameters(format!("--memory {}: must be above 0, and at most 1000", self.capacity)))
            }
        }
    }
}

/// Check the share of a moved task's memory that the move takes along.
pub(super) fn check_working_set(share: Option<f64>) -> Result<(), SimError> {
    match share.filter(|&share| !(share > 0.0 && share <= 1.0)) {
        None => Ok(()),
        Some(share) => Err(SimError::Parameters(format!("--working-set {share}: must be above 0, and at most 1"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for capacity in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(MemoryModel { capacity }.check().unwrap_err().to_string().contains("--memory"));
        }
        for share in [0.0, 1.5, f64::NAN] {
            assert!(check_working_set(Some(share)).unwrap_err().to_string().contains("--working-set"));
        }
        assert!(check_working_set(Some(1.0)).is_ok() && check_working_set(None).is_ok());
        assert!(MemoryModel { capacity: 0.5 }.check().is_ok());
    }
}
