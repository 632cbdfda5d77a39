//! Writes row groups, column by column.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::data_type::{DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::page::Column;
use super::{checksum, failed, Head, FORMAT, HEAD_KEY, SCHEMA};
use crate::sim::error::SimError;
use crate::sim::output::NewFile;
use crate::sim::trace::{Trace, TracedTask, UsageWindow};

/// Enough windows to make a row group worth its overhead, and few enough to give every core one.
const ROW_GROUP_WINDOWS: usize = 1 << 17;

/// Writes a trace in parts.
pub struct ParquetWriter<'a, W: Write + Send = NewFile> {
    path: &'a Path,
    writer: SerializedFileWriter<W>,
    columns: Vec<Column>,
    tasks: u64,
    windows: u64,
}

impl<'a> ParquetWriter<'a> {
    /// Create the file, which is in its place once it is finished.
    pub fn create(path: &'a Path) -> Result<Self, SimError> {
        ParquetWriter::to(path, NewFile::create(path)?)
    }

    /// Finish the file with the metadata of the whole trace.
    pub fn finish(self, trace: &Trace) -> Result<(), SimError> {
        self.end(trace)?.finish()
    }
}

impl<'a, W: Write + Send> ParquetWriter<'a, W> {
    /// Write to `file`, whose path is for messages only.
    pub(in crate::sim::trace) fn to(path: &'a Path, file: W) -> Result<Self, SimError> {
        let schema = parse_message_type(SCHEMA).expect("BUG: the schema is valid");
        let start = ColumnPath::from("windows.list.element.start_us");
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_column_dictionary_enabled(start.clone(), false)
            .set_column_encoding(start, Encoding::DELTA_BINARY_PACKED)
            .build();
        let properties = Arc::new(properties);
        let writer = SerializedFileWriter::new(file, Arc::new(schema), properties.clone()).map_err(failed(path))?;
        let columns = writer.schema_descr().columns().iter();
        let columns =
            columns.map(|column| Column { described: column.clone(), properties: properties.clone() }).collect();
        Ok(ParquetWriter { path, writer, columns, tasks: 0, windows: 0 })
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
        self.tasks += tasks.len() as u64;
        self.windows += tasks.iter().map(|task| task.windows.len() as u64).sum::<u64>();
        let mut group = GroupWriter { group: self.writer.next_row_group()?, columns: self.columns.iter() };
        group.required::<Int64Type>(tasks.iter().map(|task| task.id.job as i64))?;
        group.required::<Int32Type>(tasks.iter().map(|task| task.id.index as i32))?;
        group.optional_times(tasks.iter().map(|task| task.submit_us))?;
        group.optional_times(tasks.iter().map(|task| task.schedule_us))?;
        group.optional_times(tasks.iter().map(|task| task.end_us))?;
        group.required::<DoubleType>(tasks.iter().map(|task| task.request_cpus))?;
        group.required::<Int32Type>(tasks.iter().map(|task| task.priority as i32))?;
        group.required::<Int32Type>(tasks.iter().map(|task| task.windows.len() as i32))?;
        let windows = WindowColumns::new(trace, tasks);
        group.windows::<Int64Type>(&windows, |window| window.start_us)?;
        group.windows::<FloatType>(&windows, |window| window.cpu_mean)?;
        group.windows::<FloatType>(&windows, |window| window.cpu_max)?;
        group.windows::<FloatType>(&windows, |window| window.memory)?;
        group.windows::<FloatType>(&windows, |window| window.accesses_per_instruction)?;
        let mut bytes = Vec::new();
        let sums = tasks.iter().map(|task| checksum::of_task(task, trace.windows_of(task), &mut bytes) as i32);
        group.required::<Int32Type>(sums)?;
        group.group.close()?;
        Ok(())
    }

    /// Write the metadata of the whole trace, and return the file.
    pub(in crate::sim::trace) fn end(mut self, trace: &Trace) -> Result<W, SimError> {
        let mut head = Head {
            format: FORMAT.to_owned(),
            first_us: trace.first_us,
            last_us: trace.last_us,
            inputs: trace.inputs.clone(),
            oddities: trace.oddities.clone(),
            provenance: trace.provenance.clone(),
            sums: None,
        };
        head.seal(self.tasks, self.windows);
        let head = serde_json::to_string(&head).expect("BUG: a head is plain data");
        self.writer.append_key_value_metadata(KeyValue::new(HEAD_KEY.to_owned(), head));
        self.writer.into_inner().map_err(failed(self.path))
    }
}

/// Writes a row group's columns in their order.
struct GroupWriter<'a, W: Write + Send> {
    group: SerializedRowGroupWriter<'a, W>,
    columns: std::slice::Iter<'a, Column>,
}

impl<W: Write + Send> GroupWriter<'_, W> {
    fn next_column(&mut self) -> Column {
        self.columns.next().expect("BUG: fewer columns in the schema than are written").clone()
    }

    fn required<T: DataType>(&mut self, values: impl Iterator<Item = T::T>) -> Result<(), ParquetError> {
        self.next_column().write::<T, W>(&mut self.group, &values.collect::<Vec<_>>(), None, None)
    }

    fn optional_times(&mut self, values: impl Iterator<Item = Option<i64>> + Clone) -> Result<(), ParquetError> {
        let levels: Vec<i16> = values.clone().map(|value| i16::from(value.is_some())).collect();
        let values: Vec<i64> = values.flatten().collect();
        self.next_column().write::<Int64Type, W>(&mut self.group, &values, Some(&levels), None)
    }

    fn windows<T: DataType>(
        &mut self,
        windows: &WindowColumns<'_>,
        value: fn(&UsageWindow) -> T::T,
    ) -> Result<(), ParquetError> {
        let values: Vec<T::T> = windows.windows.iter().map(|window| value(window)).collect();
        let WindowColumns { definition, repetition, .. } = windows;
        self.next_column().write::<T, W>(&mut self.group, &values, Some(definition), Some(repetition))
    }
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
}
