//! Results as one HTML page with its figures drawn in it: nothing is fetched, and it prints.

mod chart;
mod figures;
mod heat;
mod page;
mod sweeps;

use std::path::Path;

use super::error::SimError;
use super::result::RunResult;
use super::sweep::SweepResult;

/// What a report shows.
#[derive(Default)]
pub struct Report {
    /// Runs to compare, in the order of the figures.
    pub runs: Vec<RunResult>,
    /// Sweeps.
    pub sweeps: Vec<SweepResult>,
}

impl Report {
    /// Draw it and write it.
    pub fn write(&self, path: &Path) -> Result<(), SimError> {
        let html = page::html(self).map_err(|error| SimError::Format {
            path: path.to_owned(),
            what: format!("a figure could not be drawn: {error}"),
        })?;
        std::fs::write(path, html).map_err(SimError::file(path))
    }
}

/// Drawing failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DrawError(String);

impl<E: std::error::Error + Send + Sync> From<plotters::drawing::DrawingAreaErrorKind<E>> for DrawError {
    fn from(error: plotters::drawing::DrawingAreaErrorKind<E>) -> Self {
        DrawError(error.to_string())
    }
}
