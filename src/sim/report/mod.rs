//! Reports: results as one self-contained HTML page with embedded figures, also suitable for printing.

mod chart;
mod comparison;
mod dots;
mod figures;
mod heat;
mod inputs;
mod page;
mod sweeps;

use std::path::Path;

use super::error::SimError;
use super::output;
use super::result::RunResult;
use super::sweep::SweepResult;

/// The contents of a report.
#[derive(Default)]
pub struct Report {
    /// Runs to compare, in the order in which figures show them.
    pub runs: Vec<RunResult>,
    /// Sweeps and comparisons to draw.
    pub sweeps: Vec<SweepResult>,
}

impl Report {
    /// Draw the report and write it to a file.
    pub fn write(&self, path: &Path) -> Result<(), SimError> {
        let html = self.html().map_err(|error| SimError::Format {
            path: path.to_owned(),
            what: format!("a figure could not be drawn: {error}"),
        })?;
        output::write(path, html.as_bytes())
    }

    /// Draw the report.
    pub fn html(&self) -> Result<String, DrawError> {
        page::html(self)
    }
}

/// A figure can't be drawn.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DrawError(String);

impl<E: std::error::Error + Send + Sync> From<plotters::drawing::DrawingAreaErrorKind<E>> for DrawError {
    fn from(error: plotters::drawing::DrawingAreaErrorKind<E>) -> Self {
        DrawError(error.to_string())
    }
}
