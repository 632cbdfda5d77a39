//! Reads row groups in parallel, and of each only what is needed.

use std::path::Path;

use parquet::column::reader::{get_typed_column_reader, ColumnReaderImpl};
use parquet::data_type::{DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use rayon::prelude::*;

use super::positioned::Positioned;
use super::{failed, Head, FORMAT, HEAD_KEY};
use crate::sim::error::SimError;
use crate::sim::trace::{TaskId, Trace, TracedTask, UsageWindow};

/// Read the tasks that `keep` accepts. `read` is called after each row group.
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
    // A few groups at a time, so that of a large file only the kept tasks are in memory.
    let groups: Vec<usize> = (0..reader.num_row_groups()).collect();
    for batch in groups.chunks(8 * rayon::current_num_threads()) {
        let batch: Vec<(Vec<TracedTask>, Vec<UsageWindow>)> = batch
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

/// Number of row groups in a file.
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
        what: format!("not a '{FORMAT}' file; create one with `prepare`"),
    })
}

/// One row group of a file.
struct Group<'a> {
    reader: &'a SerializedFileReader<Positioned>,
    group: usize,
}

impl Group<'_> {
    fn read(
        &self,
        keep: &(dyn Fn(TaskId) -> bool + Sync),
    ) -> Result<(Vec<TracedTask>, Vec<UsageWindow>), ParquetError> {
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
        let mut windows = vec![UsageWindow::default(); runs.kept_windows];
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

    /// All tasks of the group. Their window ranges start at the group's first window.
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

    /// Read a column of the kept tasks' windows. Pages of other tasks are skipped without reading.
    fn windows<T: DataType>(
        &self,
        column: usize,
        runs: &Runs,
        windows: &mut [UsageWindow],
        set: impl Fn(&mut UsageWindow, T::T),
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

/// Consecutive rows that are all kept or all skipped.
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
