//! What can be simulated besides the thesis's model. All of it is off by default, and then costs nothing and changes no
//! figure. `docs/simulation.md` explains each model.

mod figures;
pub mod lc;
mod memory;
mod pages;
mod sensing;
mod shapes;

pub use figures::ModelFigures;
pub use lc::LcModel;
pub use memory::MemoryModel;
pub use pages::Pages;
pub use sensing::Sensing;
pub(in crate::sim) use sensing::Sensors;
pub use shapes::{CellShape, Shape, Shapes};

use super::error::SimError;

/// The models that are on.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Models {
    /// Latency-critical work; `None` if its latency is not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lc: Option<LcModel>,
    /// The machines; `None` if they are identical.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shapes: Option<Shapes>,
    /// Memory of machines; `None` if it is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryModel>,
    /// Share of a moved task's memory that the move takes along; all of it if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_set: Option<f64>,
    /// What policies see of machines.
    #[serde(skip_serializing_if = "Sensing::is_exact")]
    pub sensing: Sensing,
    /// What waits for memory; `None` if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
}

impl Models {
    /// Return true if nothing but the thesis's model is simulated.
    pub fn is_off(&self) -> bool {
        *self == Models::default()
    }

    /// Check the settings, for a cluster of this many machines. The error names the option.
    pub fn check(&self, machines: u32) -> Result<(), SimError> {
        self.lc.as_ref().map_or(Ok(()), LcModel::check)?;
        self.shapes.as_ref().map_or(Ok(()), |shapes| shapes.check(machines))?;
        self.memory.as_ref().map_or(Ok(()), MemoryModel::check)?;
        memory::check_working_set(self.working_set)?;
        self.pages.as_ref().map_or(Ok(()), Pages::check)?;
        self.sensing.check()
    }
}
