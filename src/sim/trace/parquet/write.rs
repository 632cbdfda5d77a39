//! Writes row groups, column by column.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::data_type::{DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;

use super::check::TASK_WINDOWS_MAX;
use super::page::{Column, Encoded};
use super::{checksum, not_written, Head, FORMAT, HEAD_KEY, ROW_GROUP_WINDOWS, SCHEMA};
use crate::sim::error::SimError;
use crate::sim::output::NewFile;
use crate::sim::trace::{Trace, TracedTask, UsageWindow};

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
        let mut properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        // CPU has so many values that a dictionary of them takes more time than all else, and saves little space.
        for column in ["windows.list.element.cpu_mean", "windows.list.element.cpu_max"].map(column_path) {
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT);
        }
        let properties = properties.build();
        let properties = Arc::new(properties);
        let writer =
            SerializedFileWriter::new(file, Arc::new(schema), properties.clone()).map_err(not_written(path))?;
        let columns = writer.schema_descr().columns().iter();
        let columns =
            columns.map(|column| Column { described: column.clone(), properties: properties.clone() }).collect();
        Ok(ParquetWriter { path, writer, columns, tasks: 0, windows: 0 })
    }

    /// Add `tasks` of a trace.
    pub fn add(&mut self, trace: &Trace, tasks: &[TracedTask]) -> Result<(), SimError> {
        if let Some(task) = tasks.iter().find(|task| task.windows.len() > TASK_WINDOWS_MAX) {
            let what =
                format!("task {} has more than {TASK_WINDOWS_MAX} windows, which could not be read again", task.id);
            return Err(SimError::Format { path: self.path.to_owned(), what });
        }
        self.tasks += tasks.len() as u64;
        self.windows += tasks.iter().map(|task| task.windows.len() as u64).sum::<u64>();
        // As many groups at a time as there are threads, since encoding takes most of the time, and memory.
        for groups in groups(tasks).chunks(rayon::current_num_threads()) {
            let encoded = groups.par_iter().map(|group| encode(&self.columns, trace, group));
            for columns in encoded.collect::<Vec<_>>() {
                self.append(columns).map_err(not_written(self.path))?;
            }
        }
        Ok(())
    }

    fn append(&mut self, columns: Result<Vec<Encoded>, ParquetError>) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        columns?.into_iter().try_for_each(|column| column.append(&mut group))?;
        group.close()?;
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
        self.writer.into_inner().map_err(not_written(self.path))
    }
}

/// A column by its name with dots: the path of the schema has one part for each of them.
fn column_path(name: &str) -> ColumnPath {
    ColumnPath::new(name.split('.').map(str::to_owned).collect())
}

/// The tasks of each row group.
fn groups(tasks: &[TracedTask]) -> Vec<&[TracedTask]> {
    let mut groups = Vec::new();
    let mut rest = tasks;
    while !rest.is_empty() {
        let mut windows = 0;
        let fits = |task: &&TracedTask| {
            let fits = windows == 0 || windows + task.windows.len() <= ROW_GROUP_WINDOWS;
            windows += task.windows.len();
            fits
        };
        let (group, left) = rest.split_at(rest.iter().take_while(fits).count());
        groups.push(group);
        rest = left;
    }
    groups
}

/// Encode the columns of a row group.
fn encode(columns: &[Column], trace: &Trace, tasks: &[TracedTask]) -> Result<Vec<Encoded>, ParquetError> {
    let mut group = GroupEncoder { columns: columns.iter(), encoded: Vec::with_capacity(columns.len()) };
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
    let sums = tasks.iter().map(|task| checksum::of_task(task, true, trace.windows_of(task), &mut bytes) as i32);
    group.required::<Int32Type>(sums)?;
    group.required::<DoubleType>(tasks.iter().map(|task| task.request_memory))?;
    Ok(group.encoded)
}

/// Encodes a row group's columns in their order.
struct GroupEncoder<'a> {
    columns: std::slice::Iter<'a, Column>,
    encoded: Vec<Encoded>,
}

impl GroupEncoder<'_> {
    fn add<T: DataType>(
        &mut self,
        values: &[T::T],
        definition: Option<&[i16]>,
        repetition: Option<&[i16]>,
    ) -> Result<(), ParquetError> {
        let column = self.columns.next().expect("BUG: fewer columns in the schema than are written").clone();
        self.encoded.push(column.encode::<T>(values, definition, repetition)?);
        Ok(())
    }

    fn required<T: DataType>(&mut self, values: impl Iterator<Item = T::T>) -> Result<(), ParquetError> {
        self.add::<T>(&values.collect::<Vec<_>>(), None, None)
    }

    fn optional_times(&mut self, values: impl Iterator<Item = Option<i64>> + Clone) -> Result<(), ParquetError> {
        let levels: Vec<i16> = values.clone().map(|value| i16::from(value.is_some())).collect();
        let values: Vec<i64> = values.flatten().collect();
        self.add::<Int64Type>(&values, Some(&levels), None)
    }

    fn windows<T: DataType>(
        &mut self,
        windows: &WindowColumns<'_>,
        value: fn(&UsageWindow) -> T::T,
    ) -> Result<(), ParquetError> {
        let values: Vec<T::T> = windows.windows.iter().map(|window| value(window)).collect();
        self.add::<T>(&values, Some(&windows.definition), Some(&windows.repetition))
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
