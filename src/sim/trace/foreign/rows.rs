//! Reads parts as rows: lines of CSV or of JSON, plain or gzipped, a block at a time.

use std::io::Read;
use std::path::Path;

use csv::ByteRecord;

use crate::sim::error::SimError;
use crate::sim::trace::csv::{RowError, BYTE_ORDER_MARK};
use crate::sim::trace::source::{parse_blocks, BlockParser};
use crate::sim::trace::{Oddities, Oddity, OddityKind};

/// What became of a row. `Ok(Some(oddity))` means that it is used although it is odd, an error that it is skipped.
pub(super) type RowResult = Result<Option<RowError>, RowError>;

/// One row of a table.
pub(super) enum Row<'a> {
    /// Fields, and the line of names at the top of the part if that is what its first line is.
    Csv(&'a ByteRecord, Option<&'a ByteRecord>),
    /// A JSON object.
    Json(&'a [u8]),
}

/// An error of a field that is not what it should be.
pub(super) fn not(name: &str, text: &[u8], wanted: &str) -> RowError {
    let text = String::from_utf8_lossy(text);
    RowError { kind: OddityKind::Number, what: format!("{name} is '{}', not {wanted}", text.escape_debug()) }
}

/// An error of a row with fields of which the format has none.
pub(super) fn fields(found: usize, wanted: &str) -> RowError {
    RowError { kind: OddityKind::FieldCount, what: format!("{found} fields; {wanted}") }
}

/// A number from 0 to `most`; `None` if the field is empty or isn't there.
pub(super) fn amount(record: &ByteRecord, at: usize, name: &str, most: f64) -> Result<Option<f64>, RowError> {
    let text = record.get(at).unwrap_or_default().trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    match fast_float2::parse::<f64, _>(text) {
        Ok(value) if (0.0..=most).contains(&value) => Ok(Some(value)),
        _ => Err(not(name, text, &format!("a number from 0 to {most:?}"))),
    }
}

/// Seconds as microseconds.
pub(super) fn seconds_us(record: &ByteRecord, at: usize, name: &str) -> Result<Option<i64>, RowError> {
    /// A century, in which any trace has room.
    const MOST_S: f64 = 3.2e9;

    Ok(amount(record, at, name, MOST_S)?.map(|seconds| (seconds * 1e6).round() as i64))
}

/// Read one part. A block is parsed while the next one is decompressed.
pub(super) fn read_rows(
    reader: impl Read + Send,
    path: &Path,
    strict: bool,
    each: &mut (dyn FnMut(&Row<'_>) -> RowResult + Send),
) -> Result<Oddities, SimError> {
    let mut parser = Parser {
        path,
        strict,
        each,
        line: 0,
        is_json: None,
        names: None,
        has_row: false,
        oddities: Oddities::default(),
    };
    parse_blocks(reader, path, &mut parser)?;
    if !parser.has_row {
        parser.note(0, Err(RowError { kind: OddityKind::EmptyPart, what: "no row".to_owned() }))?;
    }
    Ok(parser.oddities)
}

struct Parser<'a> {
    path: &'a Path,
    strict: bool,
    each: &'a mut (dyn FnMut(&Row<'_>) -> RowResult + Send),
    /// Number of lines in the blocks so far.
    line: u64,
    /// Known once there was a row.
    is_json: Option<bool>,
    names: Option<ByteRecord>,
    has_row: bool,
    oddities: Oddities,
}

impl BlockParser for Parser<'_> {
    fn parse(&mut self, block: &[u8]) -> Result<(), SimError> {
        let text = if self.line == 0 { block.strip_prefix(BYTE_ORDER_MARK).unwrap_or(block) } else { block };
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        if let (None, Some(first)) = (self.is_json, first) {
            self.is_json = Some(*first == b'{');
        }
        match self.is_json {
            Some(true) => self.json(text),
            Some(false) => self.csv(text),
            None => Ok(()),
        }?;
        self.line += memchr::memchr_iter(b'\n', block).count() as u64;
        Ok(())
    }

    fn line(&self) -> u64 {
        self.line
    }
}

impl Parser<'_> {
    fn json(&mut self, text: &[u8]) -> Result<(), SimError> {
        for (line, at) in text.split(|&byte| byte == b'\n').zip(1..) {
            if !line.trim_ascii().is_empty() {
                self.has_row = true;
                let result = (self.each)(&Row::Json(line));
                self.note(self.line + at, result)?;
            }
        }
        Ok(())
    }

    fn csv(&mut self, text: &[u8]) -> Result<(), SimError> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|error| self.failed(error))? {
            let line = self.line + record.position().map_or(0, csv::Position::line);
            // No table has a name where a number would be, and all have a number, an id with a digit, or nothing.
            let is_names =
                record.iter().all(|field| !field.is_empty() && field.iter().all(|byte| !byte.is_ascii_digit()));
            if line == 1 && is_names {
                self.names = Some(record.clone());
                continue;
            }
            self.has_row = true;
            let result = (self.each)(&Row::Csv(&record, self.names.as_ref()));
            self.note(line, result)?;
        }
        Ok(())
    }

    fn failed(&self, error: csv::Error) -> SimError {
        SimError::Format { path: self.path.to_owned(), what: error.to_string() }
    }

    fn note(&mut self, line: u64, result: RowResult) -> Result<(), SimError> {
        let (Ok(Some(error)) | Err(error)) = result else { return Ok(()) };
        let RowError { kind, what } = error;
        self.oddities.note(Oddity { kind, path: self.path.to_owned(), line, what }, self.strict)
    }
}
