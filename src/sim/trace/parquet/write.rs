//! Writes row groups, column by column.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::{failed, Head, FORMAT, HEAD_KEY, SCHEMA};
use crate::sim::error::SimError;
use crate::sim::trace::{Trace, TracedTask, UsageWindow};

/// Enough windows to make a row group worth its overhead, and few enough to give every core one.
const ROW_GROUP_WINDOWS: usize = 1 << 17;

/// Writes a trace in parts.
pub struct ParquetWriter<'a> {
    path: &'a Path,
    writer: SerializedFileWriter<File>,
}

impl<'a> ParquetWriter<'a> {
    /// Create the file.
    pub fn create(path: &'a Path) -> Result<Self, SimError> {
        let file = File::create(path).map_err(SimError::file(path))?;
        let schema = parse_message_type(SCHEMA).expect("BUG: the schema is valid");
        let start = ColumnPath::from("windows.list.element.start_us");
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_column_dictionary_enabled(start.clone(), false)
            .set_column_encoding(start, Encoding::DELTA_BINARY_PACKED)
            .build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(failed(path))?;
        Ok(ParquetWriter { path, writer })
    }

    /// Add `tasks` of a trace.
    pub fn add(&mut self, trace: &Trace, tasks: &[TracedTask]) -> Result<(), SimError> {
        let mut rest = tasks;
        while !rest.is_empty() {
            let mut windows = 0;
            let len = rest
                .iter()
                .take_while(|task| {
                    let fits = windows == 0 || windows + task.windows.len() <= ROW_GROUP_WINDOWS;
                    windows += task.windows.len();
                    fits
                })
                .count();
            let (group, left) = rest.split_at(len);
            self.add_group(trace, group).map_err(failed(self.path))?;
            rest = left;
        }
        Ok(())
    }

    fn add_group(&mut self, trace: &Trace, tasks: &[TracedTask]) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        required::<Int64Type>(&mut group, tasks.iter().map(|task| task.id.job as i64))?;
        required::<Int32Type>(&mut group, tasks.iter().map(|task| task.id.index as i32))?;
        optional_times(&mut group, tasks.iter().map(|task| task.submit_us))?;
        optional_times(&mut group, tasks.iter().map(|task| task.schedule_us))?;
        optional_times(&mut group, tasks.iter().map(|task| task.end_us))?;
        required::<DoubleType>(&mut group, tasks.iter().map(|task| task.request_cpus))?;
        required::<Int32Type>(&mut group, tasks.iter().map(|task| task.priority as i32))?;
        required::<Int32Type>(&mut group, tasks.iter().map(|task| task.windows.len() as i32))?;
        let mut windows = WindowColumns::new(trace, tasks);
        windows.write::<Int64Type>(&mut group, |window| window.start_us)?;
        windows.write::<FloatType>(&mut group, |window| window.cpu_mean)?;
        windows.write::<FloatType>(&mut group, |window| window.cpu_max)?;
        windows.write::<FloatType>(&mut group, |window| window.memory)?;
        windows.write::<FloatType>(&mut group, |window| window.accesses_per_instruction)?;
        group.close()?;
        Ok(())
    }

    /// Finish the file with the metadata of the whole trace.
    pub fn finish(mut self, trace: &Trace) -> Result<(), SimError> {
        let head = Head {
            format: FORMAT.to_owned(),
            first_us: trace.first_us,
            last_us: trace.last_us,
            inputs: trace.inputs.clone(),
            oddities: trace.oddities.clone(),
            provenance: trace.provenance.clone(),
        };
        let head = serde_json::to_string(&head).expect("BUG: a head is plain data");
        self.writer.append_key_value_metadata(KeyValue::new(HEAD_KEY.to_owned(), head));
        self.writer.close().map_err(failed(self.path))?;
        Ok(())
    }
}

type GroupWriter<'a> = SerializedRowGroupWriter<'a, File>;

fn column<'g>(group: &'g mut GroupWriter<'_>) -> Result<SerializedColumnWriter<'g>, ParquetError> {
    Ok(group.next_column()?.expect("BUG: fewer columns in the schema than are written"))
}

fn required<T: DataType>(group: &mut GroupWriter<'_>, values: impl Iterator<Item = T::T>) -> Result<(), ParquetError> {
    let mut column = column(group)?;
    let writer: &mut ColumnWriterImpl<'_, T> = column.typed();
    writer.write_batch(&values.collect::<Vec<_>>(), None, None)?;
    column.close()
}

fn optional_times(
    group: &mut GroupWriter<'_>,
    values: impl Iterator<Item = Option<i64>> + Clone,
) -> Result<(), ParquetError> {
    let mut column = column(group)?;
    let levels: Vec<i16> = values.clone().map(|value| i16::from(value.is_some())).collect();
    let writer: &mut ColumnWriterImpl<'_, Int64Type> = column.typed();
    writer.write_batch(&values.flatten().collect::<Vec<_>>(), Some(&levels), None)?;
    column.close()
}

/// The windows of a row group. Lists are never empty, so every value exists (definition level 1) and either begins a
/// row (repetition level 0) or continues it (1).
struct WindowColumns<'a> {
    windows: Vec<&'a UsageWindow>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl<'a> WindowColumns<'a> {
    fn new(trace: &'a Trace, tasks: &'a [TracedTask]) -> Self {
        let windows: Vec<&UsageWindow> = tasks.iter().flat_map(|task| trace.windows_of(task)).collect();
        let repetition = tasks.iter().flat_map(|task| (0..task.windows.len()).map(|at| i16::from(at > 0))).collect();
        WindowColumns { definition: vec![1; windows.len()], repetition, windows }
    }

    fn write<T: DataType>(
        &mut self,
        group: &mut GroupWriter<'_>,
        value: fn(&UsageWindow) -> T::T,
    ) -> Result<(), ParquetError> {
        let values: Vec<T::T> = self.windows.iter().map(|window| value(window)).collect();
        let mut column = column(group)?;
        let writer: &mut ColumnWriterImpl<'_, T> = column.typed();
        writer.write_batch(&values, Some(&self.definition), Some(&self.repetition))?;
        column.close()
    }
}
