//! Rows of the published tables: split at commas, with numbers parsed in place.

use std::io::Read;
use std::path::Path;

use super::scan::{Cuts, Field};
use super::source::{parse_blocks, BlockParser};
use super::{Oddities, Oddity, OddityKind};
use crate::sim::error::SimError;

/// Maximum number of fields of any table's rows (task_usage has 20), plus one to notice when there are too many.
const MAX_FIELDS: usize = 21;

/// Maximum share of a machine. Larger values are damage, and sums of such numbers would not be exact.
pub(super) const MAX_SHARE: f64 = 1000.0;

/// The largest machine has this much of everything. More is possible, but nobody can have it.
pub(super) const LARGEST_MACHINE: f64 = 1.0;

/// Maximum ratio of counts. Some are wrong in the published trace, and only their order matters.
pub(super) const MAX_RATIO: f64 = 1e30;

/// U+FEFF in UTF-8, which spreadsheets write at the start of a file.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A table of the published format and its number of fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) min_fields: usize,
    pub(super) max_fields: usize,
}

/// Why a row is odd. Fields are counted from 1 in the text.
pub(super) struct RowError {
    pub(super) kind: OddityKind,
    pub(super) what: String,
}

impl RowError {
    /// A value above that of the largest machine.
    #[cold]
    pub(super) fn above_machine(field: usize, name: &str, value: impl std::fmt::Display) -> Self {
        RowError {
            kind: OddityKind::AboveMachine,
            what: format!("field {} ({name}) is {value}, and the largest machine has {LARGEST_MACHINE}", field + 1),
        }
    }

    #[cold]
    fn number(field: usize, name: &str, text: Field<'_>, wanted: &str) -> Self {
        let text = String::from_utf8_lossy(text.text());
        RowError {
            kind: OddityKind::Number,
            what: format!("field {} ({name}) is '{}', not {wanted}", field + 1, text.escape_debug()),
        }
    }
}

/// The fields of one row.
pub(super) struct Row<'a> {
    block: &'a [u8],
    start: usize,
    /// The end of each field.
    ends: [usize; MAX_FIELDS],
    len: usize,
}

impl<'a> Row<'a> {
    /// Split the row that starts at `start`. `cuts` are the positions of commas and newlines from there on.
    fn split(block: &'a [u8], start: usize, cuts: &mut Cuts<'_>) -> Self {
        let mut ends = [0; MAX_FIELDS];
        let mut len = 0;
        let end = loop {
            match cuts.next() {
                None => break block.len(),
                Some(cut) if block[cut] == b'\n' => break cut,
                Some(cut) => {
                    if len < MAX_FIELDS - 1 {
                        ends[len] = cut;
                        len += 1;
                    }
                }
            }
        };
        ends[len] = end;
        Row { block, start, ends, len: len + 1 }
    }

    fn end(&self) -> usize {
        self.ends[self.len - 1]
    }

    fn without_carriage_return(mut self) -> Self {
        if self.block[self.start..self.end()].ends_with(b"\r") {
            self.ends[self.len - 1] -= 1;
        }
        self
    }

    #[inline]
    fn field(&self, field: usize) -> Field<'a> {
        let start = if field == 0 { self.start } else { self.ends[field - 1] + 1 };
        Field::new(self.block, start..self.ends[field])
    }

    /// A mandatory whole number.
    #[inline]
    pub(super) fn integer(&self, field: usize, name: &str) -> Result<u64, RowError> {
        let text = self.field(field);
        text.integer().ok_or_else(|| RowError::number(field, name, text, "a whole number"))
    }

    /// An optional whole number.
    pub(super) fn optional_integer(&self, field: usize, name: &str) -> Result<Option<u64>, RowError> {
        if self.field(field).is_empty() {
            return Ok(None);
        }
        self.integer(field, name).map(Some)
    }

    /// A mandatory whole number of 32 bits.
    #[inline]
    pub(super) fn index(&self, field: usize, name: &str) -> Result<u32, RowError> {
        self.integer(field, name)?
            .try_into()
            .map_err(|_| RowError::number(field, name, self.field(field), "a whole number below 2^32"))
    }

    /// A time in microseconds. Times above 2^63 - 1 mean "after the trace", as 2^63 - 1 does.
    #[inline]
    pub(super) fn time_us(&self, field: usize, name: &str) -> Result<i64, RowError> {
        self.integer(field, name).map(|time| i64::try_from(time).unwrap_or(i64::MAX))
    }

    /// An optional share of the trace's largest machine.
    #[inline]
    pub(super) fn optional_share(&self, field: usize, name: &str) -> Result<Option<f64>, RowError> {
        self.optional_amount(field, name, MAX_SHARE)
    }

    /// A share with the precision of a [`super::UsageWindow`]; 0 if empty.
    #[inline]
    pub(super) fn share(&self, field: usize, name: &str) -> Result<f32, RowError> {
        Ok(self.optional_share(field, name)?.unwrap_or(0.0) as f32)
    }

    /// A ratio of counts with the precision of a [`super::UsageWindow`]; 0 if empty.
    #[inline]
    pub(super) fn ratio(&self, field: usize, name: &str) -> Result<f32, RowError> {
        Ok(self.optional_amount(field, name, MAX_RATIO)?.unwrap_or(0.0) as f32)
    }

    /// An optional number from 0 to `most`.
    #[inline]
    fn optional_amount(&self, field: usize, name: &str, most: f64) -> Result<Option<f64>, RowError> {
        let text = self.field(field);
        if text.is_empty() {
            return Ok(None);
        }
        match text.amount() {
            Some(value) if value <= most => Ok(Some(value)),
            _ => Err(RowError::number(field, name, text, &format!("a number from 0 to {most:?}"))),
        }
    }
}

/// Collects the rows of a table. There is one collector per part, so that parts can be read in parallel.
pub(super) trait Gather: Send {
    /// Process a row. `Ok(Some(oddity))` means that it is used although it is odd.
    fn row(&mut self, row: &Row<'_>) -> Result<Option<RowError>, RowError>;
}

/// Read one part of a table. A block is parsed while the next one is decompressed.
pub(super) fn read_part<G: Gather>(
    reader: impl Read + Send,
    path: &Path,
    table: Table,
    strict: bool,
    gather: &mut G,
) -> Result<Oddities, SimError> {
    let mut parser = Parser { path, table, strict, gather, line: 0, has_row: false, oddities: Oddities::default() };
    parse_blocks(reader, path, &mut parser)?;
    parser.check_not_empty()?;
    Ok(parser.oddities)
}

struct Parser<'a, G> {
    path: &'a Path,
    table: Table,
    strict: bool,
    gather: &'a mut G,
    /// Number of lines read so far.
    line: u64,
    /// Whether any line so far wasn't empty.
    has_row: bool,
    oddities: Oddities,
}

impl<G: Gather> BlockParser for Parser<'_, G> {
    fn parse(&mut self, block: &[u8]) -> Result<(), SimError> {
        let mut cuts = Cuts::new(block);
        let mut start = if self.line == 0 && block.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        while start < block.len() {
            let row = Row::split(block, start, &mut cuts);
            start = row.end() + 1;
            self.line += 1;
            let row = row.without_carriage_return();
            if row.end() == row.start {
                continue;
            }
            self.has_row = true;
            let result = if row.len < self.table.min_fields || row.len > self.table.max_fields {
                Err(self.field_count(&row))
            } else {
                self.gather.row(&row)
            };
            match result {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => self.odd(error)?,
            }
        }
        Ok(())
    }

    fn line(&self) -> u64 {
        self.line
    }
}

impl<G> Parser<'_, G> {
    fn field_count(&self, row: &Row<'_>) -> RowError {
        let Table { name, min_fields, max_fields } = self.table;
        let (seen, or_more) = (row.len.min(MAX_FIELDS), if row.len == MAX_FIELDS { " or more" } else { "" });
        let wanted =
            if min_fields == max_fields { max_fields.to_string() } else { format!("{min_fields} or {max_fields}") };
        RowError { kind: OddityKind::FieldCount, what: format!("{seen}{or_more} fields; a row of {name} has {wanted}") }
    }

    /// A part without a row is most likely one that was not fetched or not written.
    fn check_not_empty(&mut self) -> Result<(), SimError> {
        if self.has_row {
            return Ok(());
        }
        self.line = 0;
        self.odd(RowError { kind: OddityKind::EmptyPart, what: format!("no row of {}", self.table.name) })
    }

    fn odd(&mut self, error: RowError) -> Result<(), SimError> {
        let RowError { kind, what } = error;
        self.oddities.note(Oddity { kind, path: self.path.to_owned(), line: self.line, what }, self.strict)
    }
}
