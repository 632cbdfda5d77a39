//! Tables as comma-separated values. Numbers have as many digits as it takes to read the same number back.

use std::io::Write;
use std::path::Path;

use super::{Table, Values};
use crate::sim::error::SimError;

/// Write a table, with the names of its columns at the top. A missing value is an empty field.
pub(super) fn write<W: Write>(table: &Table, path: &Path, file: W) -> Result<W, SimError> {
    let mut writer = csv::Writer::from_writer(file);
    rows(table, &mut writer).map_err(|error| SimError::file(path)(error.into()))?;
    writer.into_inner().map_err(|error| SimError::file(path)(error.into_error()))
}

fn rows(table: &Table, to: &mut csv::Writer<impl Write>) -> csv::Result<()> {
    to.write_record(table.columns.iter().map(|column| column.name))?;
    for row in 0..table.rows() {
        to.write_record(table.columns.iter().map(|column| match &column.values {
            Values::Whole(values) => values[row].to_string(),
            Values::Number(values) => values[row].to_string(),
            Values::Optional(values) => values[row].map(|value| value.to_string()).unwrap_or_default(),
        }))?;
    }
    Ok(())
}
