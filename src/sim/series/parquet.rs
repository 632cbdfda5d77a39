//! Tables as Parquet, in pages with checksums.

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::{Table, Values};
use crate::sim::error::SimError;
use crate::sim::trace::{not_written, EncodedColumn, ParquetColumn};

/// Number of rows in a row group.
const GROUP_ROWS: usize = 1 << 20;

/// Write a table.
pub(super) fn write<W: Write + Send>(table: &Table, path: &Path, file: W) -> Result<W, SimError> {
    groups(table, file).map_err(not_written(path))
}

fn groups<W: Write + Send>(table: &Table, file: W) -> Result<W, ParquetError> {
    let fields = table.columns.iter().map(|column| match column.values {
        Values::Whole(_) => format!("required int64 {} (INTEGER(64, false));", column.name),
        Values::Number(_) => format!("required double {};", column.name),
        Values::Optional(_) => format!("optional double {};", column.name),
    });
    let schema = format!("message {} {{ {} }}", table.name, fields.collect::<String>());
    let schema = Arc::new(parse_message_type(&schema).expect("BUG: the schema is valid"));
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(file, schema, properties.clone())?;
    let described: Vec<_> = writer.schema_descr().columns().to_vec();
    for start in (0..table.rows()).step_by(GROUP_ROWS) {
        let rows = start..table.rows().min(start + GROUP_ROWS);
        let mut group = writer.next_row_group()?;
        for (column, described) in table.columns.iter().zip(&described) {
            let to = ParquetColumn { described: described.clone(), properties: properties.clone() };
            encoded(&column.values, rows.clone(), to)?.append(&mut group)?;
        }
        group.close()?;
    }
    writer.into_inner()
}

fn encoded(values: &Values, rows: Range<usize>, to: ParquetColumn) -> Result<EncodedColumn, ParquetError> {
    match values {
        Values::Whole(values) => {
            let values: Vec<i64> = values[rows].iter().map(|&value| value as i64).collect();
            to.encode::<Int64Type>(&values, None, None)
        }
        Values::Number(values) => to.encode::<DoubleType>(&values[rows], None, None),
        Values::Optional(values) => {
            let levels: Vec<i16> = values[rows.clone()].iter().map(|value| i16::from(value.is_some())).collect();
            let values: Vec<f64> = values[rows].iter().copied().flatten().collect();
            to.encode::<DoubleType>(&values, Some(&levels), None)
        }
    }
}
