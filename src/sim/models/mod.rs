//! What can be simulated besides the thesis's model. All of it is off by default, and then costs nothing and changes no
//! figure. `docs/simulation.md` explains each model.

mod figures;
pub mod lc;

pub use figures::ModelFigures;
pub use lc::LcModel;

use super::error::SimError;

/// The models that are on.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Models {
    /// Latency-critical work; `None` if its latency is not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lc: Option<LcModel>,
}

impl Models {
    /// Return true if nothing but the thesis's model is simulated.
    pub fn is_off(&self) -> bool {
        *self == Models::default()
    }

    /// Check the settings. The error names the option.
    pub fn check(&self) -> Result<(), SimError> {
        self.lc.as_ref().map_or(Ok(()), LcModel::check)
    }
}
