//! Checks that a file is a trace of this program, and its values like those of the CSV tables.

use std::ops::RangeInclusive;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

use super::{Head, NR_COLUMNS, NR_COLUMNS_UNSUMMED, ROW_GROUP_WINDOWS, SCHEMA};
use crate::sim::trace::csv::{MAX_RATIO, MAX_SHARE};
use crate::sim::trace::{TracedTask, UsageWindow};

/// Maximum number of windows of a row group of one task, which are read at once: a month of one window a second has fewer. A
/// damaged file of a few bytes could claim to have any number of equal ones.
pub(super) const TASK_WINDOWS_MAX: usize = 1 << 22;

fn refused<T>(what: impl Into<String>) -> Result<T, ParquetError> {
    Err(ParquetError::General(what.into()))
}

/// Check all that the file says of itself before anything is read that depends on it.
pub(super) fn metadata(head: &Head, metadata: &ParquetMetaData) -> Result<(), ParquetError> {
    let nr_columns = head.nr_columns();
    if head.has_memory_requests() && head.sums.is_none() {
        return refused("it has no checksums");
    }
    schema(metadata.file_metadata().schema_descr(), nr_columns)?;
    let (mut tasks, mut windows) = (0, 0);
    for (nr, group) in metadata.row_groups().iter().enumerate() {
        row_group(group)?;
        for (at, column) in group.columns().iter().enumerate().take(nr_columns) {
            let pages = metadata.offset_index().and_then(|index| index.get(nr)?.get(at));
            let pages = pages.map(|index| index.page_locations.as_slice());
            if !is_in_place(column, pages.unwrap_or_default(), group.num_rows()) {
                return refused(format!("column {} or one of its pages is not where it can be", column.column_path()));
            }
        }
        tasks += group.num_rows() as u64;
        windows += group.column(FIRST_WINDOW_COLUMN).num_values() as u64;
    }
    if head.sums.is_some_and(|sums| (sums.tasks, sums.windows) != (tasks, windows)) {
        return refused(format!("{tasks} tasks with {windows} windows are not all that were written"));
    }
    match tasks > 0 && !(0..=head.last_us).contains(&head.first_us) {
        true => refused(format!("its windows begin at {} and end at {} µs", head.first_us, head.last_us)),
        false => Ok(()),
    }
}

/// The columns of the windows begin here.
const FIRST_WINDOW_COLUMN: usize = 8;

fn schema(found: &SchemaDescriptor, nr_columns: usize) -> Result<(), ParquetError> {
    let wanted = parse_message_type(SCHEMA).expect("BUG: the schema is valid");
    let wanted = SchemaDescriptor::new(Arc::new(wanted));
    if found.num_columns() < nr_columns {
        return refused(format!("it has {} columns, not {nr_columns}", found.num_columns()));
    }
    for (found, wanted) in found.columns().iter().zip(wanted.columns()).take(nr_columns) {
        let shape = |column: &parquet::schema::types::ColumnDescPtr| {
            (column.path().string(), column.physical_type(), column.max_def_level(), column.max_rep_level())
        };
        if shape(found) != shape(wanted) {
            return refused(format!("its column {} is not the column {} of a trace", found.path(), wanted.path()));
        }
    }
    Ok(())
}

fn row_group(group: &RowGroupMetaData) -> Result<(), ParquetError> {
    let rows = group.num_rows();
    let windows = group.column(FIRST_WINDOW_COLUMN).num_values();
    for (at, column) in group.columns().iter().enumerate().take(NR_COLUMNS) {
        let name = column.column_path();
        match column.compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY => {}
            other => {
                // Without the level.
                let other = other.to_string();
                let codec = other.split('(').next().unwrap_or_default();
                return refused(format!("column {name} is compressed with {codec}, which is not read; SNAPPY is"));
            }
        }
        let is_window = (FIRST_WINDOW_COLUMN..NR_COLUMNS_UNSUMMED).contains(&at);
        let wanted = if is_window { windows } else { rows };
        let values = column.num_values();
        let most = if rows == 1 { TASK_WINDOWS_MAX } else { ROW_GROUP_WINDOWS };
        if values != wanted || !(0..=most as i64).contains(&values) {
            return refused(format!(
                "column {name} has {values} values in a row group of {rows} tasks, {windows} windows"
            ));
        }
    }
    Ok(())
}

/// Return true if no sum or difference of a column's offsets and lengths overflows: the `parquet` crate doesn't look.
fn is_in_place(column: &ColumnChunkMetaData, pages: &[PageLocation], rows: i64) -> bool {
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let len = column.compressed_size();
    let Some(end) = start.checked_add(len).filter(|_| start >= 0 && len >= 0) else { return false };
    let is_inside = |page: &PageLocation| {
        let page_end = page.offset.checked_add(page.compressed_page_size.into());
        page.offset >= start && page.compressed_page_size >= 0 && page_end.is_some_and(|page_end| page_end <= end)
    };
    let are_rows = pages.iter().all(|page| (0..=rows).contains(&page.first_row_index));
    are_rows && pages.is_sorted_by_key(|page| page.first_row_index) && pages.iter().all(is_inside)
}

/// Check a task and its windows.
pub(super) fn task(task: &TracedTask, windows: &[UsageWindow], head: &Head) -> Result<(), ParquetError> {
    let id = task.id;
    for (name, time_us) in [("submit_us", task.submit_us), ("schedule_us", task.schedule_us), ("end_us", task.end_us)] {
        if let Some(time_us) = time_us.filter(|&time_us| time_us < 0) {
            return refused(format!("task {id}: {name} is {time_us}, before the trace"));
        }
    }
    amount(task.request_cpus, MAX_SHARE, || format!("task {id}: request_cpus"))?;
    amount(task.request_memory, MAX_SHARE, || format!("task {id}: request_memory"))?;
    let span_us: RangeInclusive<i64> = head.first_us..=head.last_us;
    if are_good(windows, &span_us) {
        return Ok(());
    }
    let mut before_us = i64::MIN;
    for (nr, window) in windows.iter().enumerate() {
        let start_us = window.start_us;
        if !span_us.contains(&start_us) {
            return refused(format!("task {id}, window {nr}: start_us is {start_us}, outside {span_us:?}"));
        }
        if start_us < before_us {
            return refused(format!("task {id}, window {nr}: start_us goes back from {before_us} to {start_us}"));
        }
        before_us = start_us;
        let name = |name| move || format!("task {id}, window {nr}: {name}");
        amount(window.cpu_mean.into(), MAX_SHARE, name("cpu_mean"))?;
        amount(window.cpu_max.into(), MAX_SHARE, name("cpu_max"))?;
        amount(window.memory.into(), MAX_SHARE, name("memory"))?;
        amount(window.accesses_per_instruction.into(), MAX_RATIO_F32, name("accesses_per_instruction"))?;
    }
    Ok(())
}

/// Return true if nothing is wrong with the windows, which is told faster than what is.
fn are_good(windows: &[UsageWindow], span_us: &RangeInclusive<i64>) -> bool {
    let is_share = |value: f32| (0.0..=MAX_SHARE as f32).contains(&value);
    let are_shares = |window: &UsageWindow| {
        is_share(window.cpu_mean)
            && is_share(window.cpu_max)
            && is_share(window.memory)
            && (0.0..=MAX_RATIO as f32).contains(&window.accesses_per_instruction)
    };
    windows.iter().all(are_shares)
        && windows.is_sorted_by_key(|window| window.start_us)
        && windows.first().is_none_or(|window| span_us.contains(&window.start_us))
        && windows.last().is_none_or(|window| span_us.contains(&window.start_us))
}

/// The largest ratio, rounded as windows are.
const MAX_RATIO_F32: f64 = MAX_RATIO as f32 as f64;

fn amount(value: f64, most: f64, name: impl Fn() -> String) -> Result<(), ParquetError> {
    // Not a number is in no range.
    match (0.0..=most).contains(&value) {
        true => Ok(()),
        false => refused(format!("{} is {value}, not a number from 0 to {most:?}", name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_codec_is_refused_by_its_name() {
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(parse_message_type(SCHEMA).unwrap())));
        let chunk = |column: &parquet::schema::types::ColumnDescPtr| {
            let codec = Compression::ZSTD(Default::default());
            ColumnChunkMetaData::builder(column.clone()).set_compression_codec(codec.into()).build().unwrap()
        };
        let columns = schema.columns().iter().map(chunk).collect();
        let group = RowGroupMetaData::builder(schema).set_column_metadata(columns).build().unwrap();
        let message = row_group(&group).unwrap_err().to_string();
        assert!(message.contains("compressed with ZSTD, which is not read"), "{message}");
    }

    #[test]
    fn a_page_outside_its_column_is_refused() {
        let schema = SchemaDescriptor::new(Arc::new(parse_message_type(SCHEMA).unwrap()));
        let column = ColumnChunkMetaData::builder(schema.column(0)).set_data_page_offset(100);
        let column = column.set_total_compressed_size(50).build().unwrap();
        let page = |offset, compressed_page_size, first_row_index| PageLocation {
            offset,
            compressed_page_size,
            first_row_index,
        };
        assert!(is_in_place(&column, &[], 8));
        assert!(is_in_place(&column, &[page(100, 20, 0), page(120, 30, 4)], 8));
        for wrong in [
            page(99, 20, 4),
            page(120, 31, 4),
            page(i64::MAX, 30, 4),
            page(-1, 30, 4),
            page(120, -1, 4),
            page(120, 30, 9),
            page(120, 30, -1),
        ] {
            assert!(!is_in_place(&column, &[page(100, 20, 0), wrong.clone()], 8), "{wrong:?}");
        }
        let beyond = ColumnChunkMetaData::builder(schema.column(0)).set_data_page_offset(-1).build().unwrap();
        assert!(!is_in_place(&beyond, &[], 8));
    }
}
