//! A trace in one Parquet file: parsed once, then read by every command, and by a shard only where its tasks are.
//!
//! One row a task, its usage windows as a list in the row. Row groups are of bounded size, read side by side.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::reader::{get_typed_column_reader, ColumnReaderImpl};
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;

use super::{Input, Oddities, TaskId, Trace, TracedTask, Window};
use crate::sim::error::SimError;

const SCHEMA: &str = "
message trace {
    required int64 job (INTEGER(64, false));
    required int32 index (INTEGER(32, false));
    optional int64 submit_us;
    optional int64 schedule_us;
    optional int64 end_us;
    required double request_cpus;
    required int32 priority (INTEGER(32, false));
    required int32 nr_windows (INTEGER(32, false));
    required group windows (LIST) {
        repeated group list {
            required group element {
                required int64 start_us;
                required float cpu_mean;
                required float cpu_max;
                required float memory;
                required float accesses_per_instruction;
            }
        }
    }
}";

/// Raised when a reader of older files would misread newer ones.
const FORMAT: &str = "vnuma-sim trace 1";
/// The file's key for what isn't a row.
const HEAD_KEY: &str = "vnuma-sim";
/// Enough windows to make a row group worth its overhead, few enough to give every core one.
const ROW_GROUP_WINDOWS: usize = 1 << 17;

/// What a file says of its trace besides the tasks.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Head {
    format: String,
    first_us: i64,
    last_us: i64,
    inputs: Vec<Input>,
    oddities: Oddities,
    provenance: Option<String>,
}

fn failed(path: &Path) -> impl Fn(ParquetError) -> SimError + '_ {
    move |error| SimError::Format { path: path.to_owned(), what: format!("{error}; make it again with `prepare`") }
}

/// Writes a trace part by part.
pub struct ParquetWriter<'a> {
    path: &'a Path,
    writer: SerializedFileWriter<File>,
}

impl<'a> ParquetWriter<'a> {
    /// Begin a file.
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

    /// Add these tasks of a trace.
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

    /// End the file with what `trace` says of the whole.
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

/// The windows of a row group. Lists are never empty: every value is there (definition 1), and begins a row (repetition
/// 0) or goes on with it (1).
struct WindowColumns<'a> {
    windows: Vec<&'a Window>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl<'a> WindowColumns<'a> {
    fn new(trace: &'a Trace, tasks: &'a [TracedTask]) -> Self {
        let windows: Vec<&Window> = tasks.iter().flat_map(|task| trace.windows_of(task)).collect();
        let repetition = tasks.iter().flat_map(|task| (0..task.windows.len()).map(|at| i16::from(at > 0))).collect();
        WindowColumns { definition: vec![1; windows.len()], repetition, windows }
    }

    fn write<T: DataType>(
        &mut self,
        group: &mut GroupWriter<'_>,
        value: fn(&Window) -> T::T,
    ) -> Result<(), ParquetError> {
        let values: Vec<T::T> = self.windows.iter().map(|window| value(window)).collect();
        let mut column = column(group)?;
        let writer: &mut ColumnWriterImpl<'_, T> = column.typed();
        writer.write_batch(&values, Some(&self.definition), Some(&self.repetition))?;
        column.close()
    }
}

/// A file that many threads read at once: each read names its place, as they share one file offset.
struct Positioned {
    file: Arc<File>,
    len: u64,
}

/// Reads on from a place.
struct ReadFrom {
    file: Arc<File>,
    at: u64,
}

impl Read for ReadFrom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(buffer, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Positioned {
    fn open(path: &Path) -> Result<Positioned, SimError> {
        let file = File::open(path).map_err(SimError::file(path))?;
        let len = file.metadata().map_err(SimError::file(path))?.len();
        Ok(Positioned { file: Arc::new(file), len })
    }
}

impl Length for Positioned {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Positioned {
    type T = BufReader<ReadFrom>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(ReadFrom { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Read the tasks that `keep` wants. `read` is told of each row group.
pub fn read(path: &Path, keep: &(dyn Fn(TaskId) -> bool + Sync), read: &(dyn Fn() + Sync)) -> Result<Trace, SimError> {
    let file = Positioned::open(path)?;
    let options = ReadOptionsBuilder::new().with_page_index().build();
    let reader = SerializedFileReader::new_with_options(file, options).map_err(failed(path))?;
    let head = head(path, reader.metadata())?;
    let mut trace = Trace {
        tasks: Vec::new(),
        windows: Vec::new(),
        first_us: head.first_us,
        last_us: head.last_us,
        inputs: head.inputs,
        oddities: head.oddities,
        provenance: head.provenance,
    };
    // A few groups at a time: of a large file, only what is kept is ever in memory.
    let groups: Vec<usize> = (0..reader.num_row_groups()).collect();
    for batch in groups.chunks(8 * rayon::current_num_threads()) {
        let batch: Vec<(Vec<TracedTask>, Vec<Window>)> = batch
            .par_iter()
            .map(|&group| {
                let group = Group { reader: &reader, group }.read(keep);
                read();
                group
            })
            .collect::<Result<_, ParquetError>>()
            .map_err(failed(path))?;
        for (tasks, windows) in batch {
            let offset = trace.windows.len();
            trace.tasks.extend(tasks.into_iter().map(|mut task| {
                task.windows = task.windows.start + offset..task.windows.end + offset;
                task
            }));
            trace.windows.extend(windows);
        }
    }
    trace.tasks.par_sort_unstable_by_key(|task| task.id);
    Ok(trace)
}

/// How many row groups a file has.
pub fn nr_row_groups(path: &Path) -> Result<u64, SimError> {
    let reader = SerializedFileReader::new(Positioned::open(path)?).map_err(failed(path))?;
    Ok(reader.num_row_groups() as u64)
}

fn head(path: &Path, metadata: &ParquetMetaData) -> Result<Head, SimError> {
    let entries = metadata.file_metadata().key_value_metadata();
    let text = entries.into_iter().flatten().find(|entry| entry.key == HEAD_KEY).and_then(|entry| entry.value.as_ref());
    let head: Option<Head> = text.and_then(|text| serde_json::from_str(text).ok());
    head.filter(|head| head.format == FORMAT).ok_or_else(|| SimError::Format {
        path: path.to_owned(),
        what: format!("not a '{FORMAT}'; make one with `prepare`"),
    })
}

/// One row group of a file.
struct Group<'a> {
    reader: &'a SerializedFileReader<Positioned>,
    group: usize,
}

impl Group<'_> {
    fn read(&self, keep: &(dyn Fn(TaskId) -> bool + Sync)) -> Result<(Vec<TracedTask>, Vec<Window>), ParquetError> {
        let mut tasks = self.tasks()?;
        let runs = Runs::of(&tasks, keep);
        if runs.kept_windows == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        tasks.retain(|task| keep(task.id));
        let mut next = 0;
        for task in &mut tasks {
            let len = task.windows.len();
            task.windows = next..next + len;
            next += len;
        }
        let mut windows = vec![Window::default(); runs.kept_windows];
        self.windows::<Int64Type>(8, &runs, &mut windows, |window, start_us| window.start_us = start_us)?;
        self.windows::<FloatType>(9, &runs, &mut windows, |window, cpu| window.cpu_mean = cpu)?;
        self.windows::<FloatType>(10, &runs, &mut windows, |window, cpu| window.cpu_max = cpu)?;
        self.windows::<FloatType>(11, &runs, &mut windows, |window, memory| window.memory = memory)?;
        self.windows::<FloatType>(12, &runs, &mut windows, |window, mai| window.accesses_per_instruction = mai)?;
        Ok((tasks, windows))
    }

    fn column<T: DataType>(&self, column: usize) -> Result<ColumnReaderImpl<T>, ParquetError> {
        Ok(get_typed_column_reader(self.reader.get_row_group(self.group)?.get_column_reader(column)?))
    }

    fn nr_rows(&self) -> usize {
        self.reader.metadata().row_group(self.group).num_rows().max(0) as usize
    }

    fn required<T: DataType>(&self, column: usize) -> Result<Vec<T::T>, ParquetError> {
        let mut values = Vec::with_capacity(self.nr_rows());
        self.column::<T>(column)?.read_records(self.nr_rows(), None, None, &mut values)?;
        if values.len() != self.nr_rows() {
            return Err(ParquetError::General(format!("column {column} is short")));
        }
        Ok(values)
    }

    fn optional_times(&self, column: usize) -> Result<Vec<Option<i64>>, ParquetError> {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        self.column::<Int64Type>(column)?.read_records(self.nr_rows(), Some(&mut levels), None, &mut values)?;
        let mut values = values.into_iter();
        let times: Vec<Option<i64>> = levels.into_iter().map(|level| (level > 0).then(|| values.next())?).collect();
        if times.len() != self.nr_rows() {
            return Err(ParquetError::General(format!("column {column} is short")));
        }
        Ok(times)
    }

    /// All tasks of the group; their window ranges count from the group's first window.
    fn tasks(&self) -> Result<Vec<TracedTask>, ParquetError> {
        let jobs = self.required::<Int64Type>(0)?;
        let indices = self.required::<Int32Type>(1)?;
        let submits = self.optional_times(2)?;
        let schedules = self.optional_times(3)?;
        let ends = self.optional_times(4)?;
        let requests = self.required::<DoubleType>(5)?;
        let priorities = self.required::<Int32Type>(6)?;
        let lens = self.required::<Int32Type>(7)?;
        let mut next = 0;
        let tasks = (0..jobs.len()).map(|row| {
            let start = next;
            next += lens[row] as u32 as usize;
            TracedTask {
                id: TaskId { job: jobs[row] as u64, index: indices[row] as u32 },
                submit_us: submits[row],
                schedule_us: schedules[row],
                end_us: ends[row],
                request_cpus: requests[row],
                priority: priorities[row] as u32,
                windows: start..next,
            }
        });
        Ok(tasks.collect())
    }

    /// Read a column of the windows of the kept tasks, skipping pages of others unread.
    fn windows<T: DataType>(
        &self,
        column: usize,
        runs: &Runs,
        windows: &mut [Window],
        set: impl Fn(&mut Window, T::T),
    ) -> Result<(), ParquetError> {
        let mut reader = self.column::<T>(column)?;
        let mut values = Vec::with_capacity(runs.kept_windows);
        let (mut definition, mut repetition) = (Vec::new(), Vec::new());
        for run in &runs.runs {
            if run.kept {
                let (mut left, levels) = (run.rows, (&mut definition, &mut repetition));
                while left > 0 {
                    let (rows, _, _) =
                        reader.read_records(left, Some(&mut *levels.0), Some(&mut *levels.1), &mut values)?;
                    if rows == 0 {
                        break;
                    }
                    left -= rows;
                }
                definition.clear();
                repetition.clear();
            } else {
                reader.skip_records(run.rows)?;
            }
        }
        if values.len() != windows.len() {
            return Err(ParquetError::General(format!("column {column} is short")));
        }
        windows.iter_mut().zip(values).for_each(|(window, value)| set(window, value));
        Ok(())
    }
}

/// Neighbouring rows that are all wanted, or all not.
struct Run {
    kept: bool,
    rows: usize,
}

struct Runs {
    runs: Vec<Run>,
    kept_windows: usize,
}

impl Runs {
    fn of(tasks: &[TracedTask], keep: &(dyn Fn(TaskId) -> bool + Sync)) -> Runs {
        let mut runs: Vec<Run> = Vec::new();
        let mut kept_windows = 0;
        for task in tasks {
            let kept = keep(task.id);
            kept_windows += if kept { task.windows.len() } else { 0 };
            match runs.last_mut() {
                Some(run) if run.kept == kept => run.rows += 1,
                _ => runs.push(Run { kept, rows: 1 }),
            }
        }
        Runs { runs, kept_windows }
    }
}
