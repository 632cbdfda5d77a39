//! Pages that are too short, or that claim to be others.

use std::collections::VecDeque;
use std::sync::Arc;

use parquet::column::reader::{get_column_reader, get_typed_column_reader};
use parquet::data_type::{DataType, FloatType, Int64Type};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

use super::super::SCHEMA;
use super::*;
use crate::sim::placement::mix;

/// Pages in memory.
struct Pages(VecDeque<Page>);

impl Iterator for Pages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.pop_front().map(Ok)
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        Ok(self.0.pop_front())
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        // As the crate has it of a file without an index.
        Ok(self.0.front().map(|page| PageMetadata {
            num_rows: None,
            num_levels: page.is_data_page().then_some(page.num_values() as usize),
            is_dict: page.is_dictionary_page(),
        }))
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.0.pop_front();
        Ok(())
    }

    fn at_record_boundary(&mut self) -> Result<bool, ParquetError> {
        Ok(self.0.is_empty())
    }
}

/// The columns job, submit_us and windows.cpu_mean: without levels, of values that may be missing, and of lists.
const COLUMNS: [usize; 3] = [0, 2, 9];

/// Read pages of a column, after `skipped` rows. Panics if the `parquet` crate does.
fn read(column: usize, pages: &[Page], skipped: usize) -> Result<Vec<u64>, ParquetError> {
    fn typed<T: DataType>(
        column: ColumnDescPtr,
        pages: Box<CheckedPages>,
        skipped: usize,
        bits: fn(&T::T) -> u64,
    ) -> Result<Vec<u64>, ParquetError> {
        let mut reader = get_typed_column_reader::<T>(get_column_reader(column, pages));
        reader.skip_records(skipped)?;
        let mut values = Vec::new();
        loop {
            let (mut definition, mut repetition) = (Vec::new(), Vec::new());
            let (rows, ..) = reader.read_records(100, Some(&mut definition), Some(&mut repetition), &mut values)?;
            if rows == 0 {
                return Ok(values.iter().map(bits).collect());
            }
        }
    }

    let schema = SchemaDescriptor::new(Arc::new(parse_message_type(SCHEMA).unwrap()));
    let column = schema.column(column);
    let in_memory = Box::new(Pages(pages.to_vec().into()));
    let pages = Box::new(CheckedPages::new(in_memory, column.clone(), 1000));
    match column.physical_type() {
        Type::INT64 => typed::<Int64Type>(column, pages, skipped, |&value| value as u64),
        _ => typed::<FloatType>(column, pages, skipped, |value| value.to_bits().into()),
    }
}

fn dictionary(values: u32, bytes: Vec<u8>) -> Page {
    Page::DictionaryPage { buf: bytes.into(), num_values: values, encoding: Encoding::PLAIN, is_sorted: false }
}

fn data(values: u32, encoding: Encoding, bytes: Vec<u8>) -> Page {
    Page::DataPage {
        buf: bytes.into(),
        num_values: values,
        encoding,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    }
}

/// Levels with the number of their bytes, as pages have them.
fn levels(runs: &[u8]) -> Vec<u8> {
    [&(runs.len() as u32).to_le_bytes(), runs].concat()
}

/// Four values of each column, one of the optional ones missing, and of the lists three rows.
fn levels_of(column: usize) -> Vec<u8> {
    let four = [0x08, 1];
    match column {
        0 => Vec::new(),
        2 => levels(&[0x03, 0b1101]),
        _ => [levels(&[0x03, 0b0100]), levels(&four)].concat(),
    }
}

/// Number of values that are not missing, and bytes of each.
fn plain_of(column: usize) -> (u32, usize) {
    match column {
        0 => (4, 8),
        2 => (3, 8),
        _ => (4, 4),
    }
}

/// A good page of each kind, with its dictionary if it needs one.
fn good(column: usize, encoding: Encoding) -> Vec<Page> {
    let (values, value_bytes) = plain_of(column);
    let bytes: Vec<u8> = (0..values as u8 * value_bytes as u8).collect();
    match encoding {
        Encoding::RLE_DICTIONARY => {
            let places = [levels_of(column), vec![1, 0x03, 0b0101]].concat();
            vec![dictionary(values, bytes), data(4, encoding, places)]
        }
        _ => vec![data(4, encoding, [levels_of(column), bytes].concat())],
    }
}

const ENCODINGS: [Encoding; 3] = [Encoding::PLAIN, Encoding::BYTE_STREAM_SPLIT, Encoding::RLE_DICTIONARY];

#[test]
fn good_pages_are_read() {
    for column in COLUMNS {
        for encoding in ENCODINGS {
            let values = read(column, &good(column, encoding), 0).unwrap();
            assert_eq!(values.len(), plain_of(column).0 as usize, "{column} {encoding}");
            let skipped = read(column, &good(column, encoding), 1).unwrap();
            assert_eq!(skipped, values[1..], "{column} {encoding}");
        }
    }
    let plain = read(0, &good(0, Encoding::PLAIN), 0).unwrap();
    assert_eq!(plain[1], u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15]));
    let split = read(0, &good(0, Encoding::BYTE_STREAM_SPLIT), 0).unwrap();
    assert_eq!(split[1], u64::from_le_bytes([1, 5, 9, 13, 17, 21, 25, 29]));
}

#[test]
fn pages_that_are_shorter_or_longer_are_refused() {
    for column in COLUMNS {
        for encoding in ENCODINGS {
            let good = good(column, encoding);
            for at in 0..good.len() {
                let bytes = good[at].buffer();
                for len in (0..bytes.len()).chain([bytes.len() + 1]) {
                    let bytes: Vec<u8> = bytes.iter().copied().chain([0xff]).take(len).collect();
                    let mut pages = good.clone();
                    pages[at] = match &good[at] {
                        Page::DictionaryPage { num_values, .. } => dictionary(*num_values, bytes),
                        page => data(page.num_values(), encoding, bytes),
                    };
                    for skipped in 0..3 {
                        let read = read(column, &pages, skipped);
                        assert!(read.is_err(), "column {column}, {encoding}, page {at} of {len} bytes: {read:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn pages_that_claim_other_numbers_of_values_are_refused() {
    for column in COLUMNS {
        for encoding in ENCODINGS {
            let good = good(column, encoding);
            let last = good.len() - 1;
            for values in [3, 5, 9, 100, u32::MAX] {
                let mut pages = good.clone();
                pages[last] = data(values, encoding, good[last].buffer().to_vec());
                // Bits are filled up to eight, and don't say how many count: more values are missing, or more places are there.
                let may_be = match (column, encoding) {
                    (0 | 2, Encoding::RLE_DICTIONARY) => values <= 8,
                    (2, _) => (4..=8).contains(&values),
                    _ => false,
                };
                assert_eq!(read(column, &pages, 0).is_ok(), may_be, "column {column}, {encoding}: {values}");
                if last > 0 && values != plain_of(column).0 {
                    let mut pages = good.clone();
                    pages[0] = dictionary(values, good[0].buffer().to_vec());
                    // Room for as many values is not made.
                    assert!(read(column, &pages, 0).is_err(), "column {column}: {values}");
                }
            }
        }
    }
}

#[test]
fn pages_of_other_kinds_are_refused() {
    let bytes = good(0, Encoding::PLAIN)[0].buffer().to_vec();
    for encoding in [Encoding::DELTA_BINARY_PACKED, Encoding::DELTA_BYTE_ARRAY, Encoding::RLE] {
        assert!(read(0, &[data(4, encoding, bytes.clone())], 0).unwrap_err().to_string().contains("not read"));
    }
    let without = &good(0, Encoding::RLE_DICTIONARY)[1..];
    assert!(read(0, without, 0).unwrap_err().to_string().contains("a dictionary that isn't there"));
    let version_2 = Page::DataPageV2 {
        buf: bytes.into(),
        num_values: 4,
        encoding: Encoding::PLAIN,
        num_nulls: 0,
        num_rows: 4,
        def_levels_byte_len: 0,
        rep_levels_byte_len: 0,
        is_compressed: false,
        statistics: None,
    };
    assert!(read(0, &[version_2], 0).unwrap_err().to_string().contains("version 2"));
}

#[test]
fn no_page_makes_the_crate_panic_or_loop() {
    const PAGES: u64 = 100_000;

    let mut was_read = 0;
    for number in 0..PAGES {
        let mut random = mix(number);
        let mut below = |bound: u64| {
            random = mix(random);
            random % bound
        };
        let column = COLUMNS[below(3) as usize];
        let encoding = ENCODINGS[below(3) as usize];
        let mut pages = good(column, encoding);
        let at = below(pages.len() as u64) as usize;
        let values = if below(4) > 0 { pages[at].num_values() } else { below(20) as u32 };
        let mut bytes = pages[at].buffer().to_vec();
        for _ in 0..below(4) {
            // Many of them, so that numbers of any length arise.
            let from = below(bytes.len() as u64 + 1) as usize;
            let byte = if below(2) > 0 { below(256) as u8 } else { 0xff };
            match below(3) {
                0 => bytes.truncate(from),
                1 => bytes[from..].iter_mut().take(1).for_each(|it| *it = byte),
                _ => bytes.splice(from..from, vec![byte; below(12) as usize]).for_each(drop),
            }
        }
        pages[at] = match pages[at] {
            Page::DictionaryPage { .. } => dictionary(values, bytes),
            _ => data(values, encoding, bytes),
        };
        was_read += u64::from(read(column, &pages, below(3) as usize).is_ok());
    }
    // Those that were hardly changed.
    assert!((PAGES / 20..PAGES / 2).contains(&was_read), "{was_read}");
}
