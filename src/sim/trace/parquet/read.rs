//! Reads row groups in parallel, and of each only what is needed.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;

use parquet::column::reader::{get_column_reader, get_typed_column_reader, ColumnReaderImpl};
use parquet::data_type::{DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use rayon::prelude::*;

use super::page_reader::CheckedPages;
use super::positioned::Positioned;
use super::{check, checksum, failed, page_header, Head, FORMAT, FORMAT_1, HEAD_KEY};
use crate::sim::error::SimError;
use crate::sim::trace::{Oddity, OddityKind, TaskId, Trace, TracedTask, UsageWindow};

/// Why a file is refused at which the reader panicked. None is known.
pub(super) const STOPPED: &str = "it is damaged in a way that stopped the reader";

/// Read the tasks that `keep` accepts. `read` is called after each row group.
pub fn read(path: &Path, keep: &(dyn Fn(TaskId) -> bool + Sync), read: &(dyn Fn() + Sync)) -> Result<Trace, SimError> {
    read_from(path, Positioned::open(path)?, keep, read)
}

/// The same from an open file, whose path is for messages only.
pub(in crate::sim::trace) fn read_from<R: ChunkReader + Clone + 'static>(
    path: &Path,
    file: R,
    keep: &(dyn Fn(TaskId) -> bool + Sync),
    read: &(dyn Fn() + Sync),
) -> Result<Trace, SimError> {
    let options = ReadOptionsBuilder::new().with_page_index().build();
    let reader = SerializedFileReader::new_with_options(file.clone(), options).map_err(failed(path))?;
    let head = head(path, reader.metadata())?;
    check::metadata(&head, reader.metadata()).map_err(failed(path))?;
    let mut trace = Trace {
        tasks: Vec::new(),
        windows: Vec::new(),
        first_us: head.first_us,
        last_us: head.last_us,
        inputs: head.inputs.clone(),
        oddities: head.oddities.clone(),
        provenance: head.provenance.clone(),
        lacks_memory_requests: !head.has_memory_requests(),
    };
    if head.sums.is_none() {
        trace.oddities.count(OddityKind::Unsummed, || Oddity {
            kind: OddityKind::Unsummed,
            path: path.to_owned(),
            line: 0,
            what: "an earlier release wrote it, so a change of it goes unnoticed; create it again with `prepare`"
                .to_owned(),
        });
    }
    // A few groups at a time, so that of a large file only the kept tasks are in memory.
    let groups: Vec<usize> = (0..reader.num_row_groups()).collect();
    for batch in groups.chunks(8 * rayon::current_num_threads()) {
        let batch: Vec<(Vec<TracedTask>, Vec<UsageWindow>)> = batch
            .par_iter()
            .map(|&group| {
                let group = Group { file: &file, reader: &reader, group, head: &head };
                // The crate checks less than a damaged file takes, and a panic says less than an error.
                let group = catch_unwind(AssertUnwindSafe(|| group.read(keep)))
                    .unwrap_or_else(|_| Err(ParquetError::General(STOPPED.into())));
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
    match trace.tasks.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some(pair) => Err(failed(path)(ParquetError::General(format!("task {} is in it twice", pair[0].id)))),
        None => Ok(trace),
    }
}

/// As many values as a row group of our own has. Room for more is made as they are read.
const TRUSTED_LEN: usize = 1 << 17;

/// Number of row groups in a file.
pub fn nr_row_groups(path: &Path) -> Result<u64, SimError> {
    let reader = SerializedFileReader::new(Positioned::open(path)?).map_err(failed(path))?;
    Ok(reader.num_row_groups() as u64)
}

fn head(path: &Path, metadata: &ParquetMetaData) -> Result<Head, SimError> {
    let entries = metadata.file_metadata().key_value_metadata();
    let text = entries.into_iter().flatten().find(|entry| entry.key == HEAD_KEY).and_then(|entry| entry.value.as_ref());
    let head: Option<Head> = text.and_then(|text| serde_json::from_str(text).ok());
    let head = head.filter(|head| [FORMAT, FORMAT_1].contains(&head.format.as_str())).ok_or_else(|| {
        SimError::Format { path: path.to_owned(), what: format!("not a '{FORMAT}' file; create one with `prepare`") }
    })?;
    match head.is_whole() {
        true => Ok(head),
        false => Err(failed(path)(ParquetError::General("its metadata was changed or is damaged".to_owned()))),
    }
}

/// One row group of a file.
struct Group<'a, R: ChunkReader> {
    file: &'a R,
    reader: &'a SerializedFileReader<R>,
    group: usize,
    head: &'a Head,
}

impl<R: ChunkReader + 'static> Group<'_, R> {
    fn read(
        &self,
        keep: &(dyn Fn(TaskId) -> bool + Sync),
    ) -> Result<(Vec<TracedTask>, Vec<UsageWindow>), ParquetError> {
        let mut tasks = self.tasks()?;
        let runs = Runs::of(&tasks, keep);
        let sums = match self.head.sums {
            Some(_) if runs.kept_windows > 0 => Some(self.required::<Int32Type>(13)?),
            _ => None,
        };
        if runs.kept_windows == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut sums = sums.map(|sums| {
            let kept = tasks.iter().zip(sums).filter(|(task, _)| keep(task.id));
            kept.map(|(_, sum)| sum as u32).collect::<Vec<_>>().into_iter()
        });
        tasks.retain(|task| keep(task.id));
        let mut next = 0;
        for task in &mut tasks {
            let len = task.windows.len();
            task.windows = next..next + len;
            next += len;
        }
        // Memory is taken for what was read, not for what the file claims to have.
        let starts = self.windows::<Int64Type>(8, &runs)?;
        let mut windows: Vec<UsageWindow> =
            starts.into_iter().map(|start_us| UsageWindow { start_us, ..UsageWindow::default() }).collect();
        let mut set = |column: usize, set: fn(&mut UsageWindow, f32)| {
            let values = self.windows::<FloatType>(column, &runs)?;
            windows.iter_mut().zip(values).for_each(|(window, value)| set(window, value));
            Ok::<(), ParquetError>(())
        };
        set(9, |window, cpu| window.cpu_mean = cpu)?;
        set(10, |window, cpu| window.cpu_max = cpu)?;
        set(11, |window, memory| window.memory = memory)?;
        set(12, |window, mai| window.accesses_per_instruction = mai)?;
        let mut bytes = Vec::new();
        for task in &tasks {
            let windows = &windows[task.windows.clone()];
            check::task(task, windows, self.head)?;
            let sum = sums.as_mut().and_then(Iterator::next);
            if sum
                .is_some_and(|sum| sum != checksum::of_task(task, self.head.has_memory_requests(), windows, &mut bytes))
            {
                return Err(ParquetError::General(format!("task {} does not have its checksum", task.id)));
            }
        }
        Ok((tasks, windows))
    }

    fn column<T: DataType>(&self, column: usize) -> Result<ColumnReaderImpl<T>, ParquetError> {
        let group = self.reader.get_row_group(self.group)?;
        let index = self.reader.metadata().offset_index().and_then(|index| index.get(self.group)?.get(column));
        let index = index.map(|index| index.page_locations.as_slice()).unwrap_or_default();
        page_header::check(self.file, group.metadata().column(column), index)?;
        let values = group.metadata().column(column).num_values().max(0) as u64;
        let described = group.metadata().column(column).column_descr_ptr();
        let pages = CheckedPages::new(group.get_column_page_reader(column)?, described.clone(), values);
        Ok(get_typed_column_reader(get_column_reader(described, Box::new(pages))))
    }

    fn nr_rows(&self) -> usize {
        self.reader.metadata().row_group(self.group).num_rows().max(0) as usize
    }

    fn required<T: DataType>(&self, column: usize) -> Result<Vec<T::T>, ParquetError> {
        let mut values = Vec::with_capacity(self.nr_rows().min(TRUSTED_LEN));
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
        let memory = match self.head.has_memory_requests() {
            true => self.required::<DoubleType>(14)?,
            false => vec![0.0; jobs.len()],
        };
        let nr_windows: u64 = lens.iter().map(|&len| u64::from(len as u32)).sum();
        let group_windows = self.reader.metadata().row_group(self.group).column(8).num_values();
        if lens.contains(&0) || Ok(nr_windows) != group_windows.try_into() {
            return Err(ParquetError::General(format!(
                "nr_windows says that row group {} has {nr_windows} windows, not {group_windows}, or none for a task",
                self.group
            )));
        }
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
                request_memory: memory[row],
                priority: priorities[row] as u32,
                windows: start..next,
            }
        });
        Ok(tasks.collect())
    }

    /// Read a column of the kept tasks' windows. Pages of other tasks are skipped without reading.
    fn windows<T: DataType>(&self, column: usize, runs: &Runs) -> Result<Vec<T::T>, ParquetError> {
        let short = || ParquetError::General(format!("column {column} is short"));
        let mut reader = self.column::<T>(column)?;
        let mut values = Vec::with_capacity(runs.kept_windows.min(TRUSTED_LEN));
        let (mut definition, mut repetition) = (Vec::new(), Vec::new());
        for run in &runs.runs {
            if !run.kept {
                reader.skip_records(run.lens.len())?;
                continue;
            }
            let mut left = run.lens.len();
            while left > 0 {
                let (rows, _, _) =
                    reader.read_records(left, Some(&mut definition), Some(&mut repetition), &mut values)?;
                if rows == 0 {
                    return Err(short());
                }
                left -= rows;
            }
            if definition.iter().any(|&level| level != 1) || !begins_rows(&repetition, &run.lens) {
                return Err(ParquetError::General(format!("the lists of column {column} are not of nr_windows")));
            }
            definition.clear();
            repetition.clear();
        }
        match values.len() == runs.kept_windows {
            true => Ok(values),
            false => Err(short()),
        }
    }
}

/// Return true if the repetition levels are those of lists with these lengths: 0 at the beginning of each, and only there.
fn begins_rows(repetition: &[i16], lens: &[u32]) -> bool {
    let mut start = 0;
    for &len in lens {
        if repetition.get(start) != Some(&0) {
            return false;
        }
        start += len as usize;
    }
    start == repetition.len() && repetition.iter().filter(|&&level| level == 0).count() == lens.len()
}

/// Consecutive rows that are all kept or all skipped.
struct Run {
    kept: bool,
    /// The number of windows of each row.
    lens: Vec<u32>,
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
            let (kept, len) = (keep(task.id), task.windows.len());
            kept_windows += if kept { len } else { 0 };
            match runs.last_mut() {
                Some(run) if run.kept == kept => run.lens.push(len as u32),
                _ => runs.push(Run { kept, lens: vec![len as u32] }),
            }
        }
        Runs { runs, kept_windows }
    }
}
