//! Tables as comma-separated values. Numbers have as many digits as it takes to read the same number back.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::{Table, Values};
use crate::sim::error::SimError;

/// Write a table, with the names of its columns at the top. A missing value is an empty field.
pub(super) fn write<W: Write>(table: &Table, path: &Path, file: W) -> Result<W, SimError> {
    let mut writer = BufWriter::new(file);
    rows(table, &mut writer).map_err(SimError::file(path))?;
    writer.into_inner().map_err(|error| SimError::file(path)(error.into_error()))
}

fn rows(table: &Table, to: &mut impl Write) -> io::Result<()> {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    writeln!(to, "{}", names.join(","))?;
    for row in 0..table.rows() {
        for (at, column) in table.columns.iter().enumerate() {
            if at > 0 {
                to.write_all(b",")?;
            }
            match &column.values {
                Values::Whole(values) => write!(to, "{}", values[row])?,
                Values::Number(values) => write!(to, "{}", values[row])?,
                Values::Optional(values) => values[row].map_or(Ok(()), |value| write!(to, "{value}"))?,
            }
        }
        to.write_all(b"\n")?;
    }
    Ok(())
}
