//! Files that were damaged, or written by something else.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::data_type::{DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::*;
use crate::sim::trace::{OddityKind, TaskId, Trace, TracedTask, UsageWindow};

const LAST_US: i64 = 900_000_000;

fn window(start_s: i64, cpu: f32) -> UsageWindow {
    UsageWindow { start_us: start_s * 1_000_000, cpu_mean: cpu, cpu_max: 2.0 * cpu, memory: 0.1, ..Default::default() }
}

/// Two tasks, of two windows and one.
pub(super) fn trace() -> Trace {
    let task = |index, windows| TracedTask {
        id: TaskId { job: 7, index },
        submit_us: Some(0),
        schedule_us: Some(5),
        end_us: None,
        request_cpus: 0.25,
        request_memory: 0.125,
        priority: 1,
        windows,
    };
    Trace {
        tasks: vec![task(0, 0..2), task(1, 2..3)],
        windows: vec![window(0, 0.1), window(300, 0.2), window(300, 0.3)],
        last_us: LAST_US,
        provenance: Some("made up".to_owned()),
        ..Trace::default()
    }
}

pub(super) fn written(trace: &Trace) -> Vec<u8> {
    let mut writer = ParquetWriter::to(Path::new("t.parquet"), Vec::new()).unwrap();
    writer.add(trace, &trace.tasks).unwrap();
    writer.end(trace).unwrap()
}

fn loaded(bytes: Vec<u8>) -> Result<Trace, String> {
    read_from(Path::new("t.parquet"), Bytes::from(bytes), &|_| true, &|| {}).map_err(|error| error.to_string())
}

pub(super) fn is_same(a: &Trace, b: &Trace) -> bool {
    let of = |trace: &Trace| {
        let Trace { tasks, windows, first_us, last_us, inputs, oddities, provenance, lacks_memory_requests } =
            trace.clone();
        (tasks, windows, first_us, last_us, inputs, oddities, provenance, lacks_memory_requests)
    };
    of(a) == of(b)
}

#[test]
fn only_columns_of_many_values_have_no_dictionary() {
    let bytes = Bytes::from(written(&trace()));
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let has_none = |column: &parquet::file::metadata::ColumnChunkMetaData| {
        column.encodings().any(|encoding| encoding == parquet::basic::Encoding::BYTE_STREAM_SPLIT)
    };
    let columns = metadata.row_group(0).columns().iter().filter(|column| has_none(column));
    let names: Vec<String> = columns.map(|column| column.column_path().string()).collect();
    assert_eq!(names, ["windows.list.element.cpu_mean", "windows.list.element.cpu_max"]);
}

#[test]
fn what_is_written_is_read() {
    assert!(is_same(&loaded(written(&trace())).unwrap(), &trace()));
}

#[test]
fn any_flipped_bit_is_noticed_or_changes_nothing() {
    let bytes = written(&trace());
    let mut noticed = 0;
    for bit in 0..8 * bytes.len() {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match loaded(bytes) {
            Err(_) => noticed += 1,
            Ok(other) => assert!(is_same(&other, &trace()), "bit {} of byte {}", bit % 8, bit / 8),
        }
    }
    // The others are in statistics, names and offsets that aren't used.
    assert!(noticed > 4 * bytes.len(), "{noticed} of {} bits", 8 * bytes.len());
}

#[test]
fn pages_have_the_checksums_of_the_format() {
    let bytes = written(&trace());
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(bytes.clone()));
    for column in metadata.unwrap().row_group(0).columns() {
        let (start, len) = column.byte_range();
        let mut bytes = bytes.clone();
        bytes[(start + len) as usize - 1] ^= 0x10;
        let message = loaded(bytes).unwrap_err();
        assert!(message.contains("CRC"), "{}: {message}", column.column_path());
    }
}

#[test]
fn values_that_the_tables_could_not_have_are_refused_with_their_place() {
    type Change = fn(&mut Trace);
    let cases: [(Change, &str); 14] = [
        (|trace| trace.windows[1].cpu_mean = f32::NAN, "task 7:0, window 1: cpu_mean is NaN"),
        (|trace| trace.windows[1].cpu_mean = f32::INFINITY, "cpu_mean is inf"),
        (|trace| trace.windows[1].cpu_mean = -0.1, "cpu_mean is -0.1"),
        (|trace| trace.windows[1].cpu_mean = 1e30, "not a number from 0 to 1000.0"),
        (|trace| trace.windows[2].cpu_max = f32::NAN, "task 7:1, window 0: cpu_max is NaN"),
        (|trace| trace.windows[2].memory = -1.0, "memory is -1"),
        (|trace| trace.windows[2].accesses_per_instruction = 2e30, "accesses_per_instruction is 2"),
        (|trace| trace.tasks[0].request_cpus = f64::NAN, "task 7:0: request_cpus is NaN"),
        (|trace| trace.tasks[1].request_memory = -0.5, "task 7:1: request_memory is -0.5"),
        (|trace| trace.tasks[0].end_us = Some(-1), "end_us is -1"),
        (|trace| trace.windows.swap(0, 1), "start_us goes back from 300000000 to 0"),
        (|trace| trace.windows[1].start_us = LAST_US + 1, "outside 0..=900000000"),
        (|trace| trace.tasks[1].id.index = 0, "task 7:0 is in it twice"),
        (|trace| trace.last_us = -1, "end at -1"),
    ];
    for (change, place) in cases {
        let mut trace = trace();
        change(&mut trace);
        let message = loaded(written(&trace)).unwrap_err();
        assert!(message.contains(place) && message.contains("t.parquet: "), "{message}");
    }
}

/// The trace as files of earlier releases have it.
pub(super) fn earlier_trace() -> Trace {
    let mut trace = trace();
    trace.lacks_memory_requests = true;
    trace.tasks.iter_mut().for_each(|task| task.request_memory = 0.0);
    trace
}

/// A file as the first release wrote it, without checksums, and with lists that may not be of `lens`.
pub(super) fn earlier(lens: [i32; 2], repetition: [i16; 3], definition: [i16; 3]) -> Vec<u8> {
    earlier_with(false, lens, repetition, definition)
}

/// A file as an earlier release wrote it, with or without checksums, and with lists that may not be of `lens`.
pub(super) fn earlier_with(summed: bool, lens: [i32; 2], repetition: [i16; 3], definition: [i16; 3]) -> Vec<u8> {
    fn column<T: DataType>(
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        values: &[T::T],
        definition: Option<&[i16]>,
        repetition: Option<&[i16]>,
    ) {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<T>().write_batch(values, definition, repetition).unwrap();
        column.close().unwrap();
    }

    let mut schema = SCHEMA.replace("required double request_memory;", "");
    if !summed {
        schema = schema.replace("required int32 crc32 (INTEGER(32, false));", "");
    }
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    column::<Int64Type>(&mut group, &[7, 7], None, None);
    column::<Int32Type>(&mut group, &[0, 1], None, None);
    column::<Int64Type>(&mut group, &[0, 0], Some(&[1, 1]), None);
    column::<Int64Type>(&mut group, &[5, 5], Some(&[1, 1]), None);
    column::<Int64Type>(&mut group, &[], Some(&[0, 0]), None);
    column::<DoubleType>(&mut group, &[0.25, 0.25], None, None);
    column::<Int32Type>(&mut group, &[1, 1], None, None);
    column::<Int32Type>(&mut group, &lens, None, None);
    let values = definition.iter().filter(|&&level| level == 1).count();
    let levels = (Some(&definition[..]), Some(&repetition[..]));
    let trace = earlier_trace();
    let floats = |value: fn(&UsageWindow) -> f32| trace.windows[..values].iter().map(value).collect::<Vec<_>>();
    let starts: Vec<i64> = trace.windows[..values].iter().map(|window| window.start_us).collect();
    column::<Int64Type>(&mut group, &starts, levels.0, levels.1);
    column::<FloatType>(&mut group, &floats(|window| window.cpu_mean), levels.0, levels.1);
    column::<FloatType>(&mut group, &floats(|window| window.cpu_max), levels.0, levels.1);
    column::<FloatType>(&mut group, &floats(|window| window.memory), levels.0, levels.1);
    column::<FloatType>(&mut group, &floats(|window| window.accesses_per_instruction), levels.0, levels.1);
    if summed {
        let sum = |task| checksum::of_task(task, false, trace.windows_of(task), &mut Vec::new()) as i32;
        column::<Int32Type>(&mut group, &trace.tasks.iter().map(sum).collect::<Vec<_>>(), None, None);
    }
    group.close().unwrap();
    let head = format!(
        r#"{{"format":"{FORMAT_1}","first_us":0,"last_us":{LAST_US},"inputs":[],"oddities":[],"provenance":"made up"}}"#
    );
    let mut head: Head = serde_json::from_str(&head).unwrap();
    if summed {
        head.seal(2, 3);
    }
    let head = serde_json::to_string(&head).unwrap();
    writer.append_key_value_metadata(KeyValue::new(HEAD_KEY.to_owned(), head));
    writer.into_inner().unwrap()
}

#[test]
fn a_file_of_an_earlier_release_is_read() {
    let mut read = loaded(earlier([2, 1], [0, 1, 0], [1; 3])).unwrap();
    assert_eq!(read.oddities.counts().collect::<Vec<_>>(), [(OddityKind::Unsummed, 1)]);
    read.oddities = trace().oddities;
    assert!(is_same(&read, &earlier_trace()));
    assert!(is_same(&loaded(earlier_with(true, [2, 1], [0, 1, 0], [1; 3])).unwrap(), &earlier_trace()));
}

#[test]
fn lists_of_other_lengths_than_the_file_says_are_refused() {
    for (lens, repetition, definition, place) in [
        ([2, i32::MAX], [0, 1, 0], [1; 3], "has 2147483649 windows, not 3"),
        ([-1, 1], [0, 1, 0], [1; 3], "has 4294967296 windows, not 3"),
        ([3, 0], [0, 1, 0], [1; 3], "or none for a task"),
        ([1, 2], [0, 1, 0], [1; 3], "not of nr_windows"),
        ([2, 1], [0, 1, 0], [1, 1, 0], "not of nr_windows"),
    ] {
        let message = loaded(earlier(lens, repetition, definition)).unwrap_err();
        assert!(message.contains(place), "{message}");
    }
}

#[test]
fn a_file_of_something_else_is_refused() {
    for bytes in [&b""[..], b"PAR1", b"PAR1 no metadata PAR1", &[0; 4096]] {
        assert!(loaded(bytes.to_vec()).is_err());
    }
    let bytes = written(&trace());
    for len in 0..bytes.len() {
        assert!(loaded(bytes[..len].to_vec()).is_err(), "its first {len} bytes");
    }
}
