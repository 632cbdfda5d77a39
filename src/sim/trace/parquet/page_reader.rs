//! Refuses pages that aren't what a file of this schema can have. A page's header has no checksum, and the pages of an earlier
//! release have none either. The decoders of the `parquet` crate trust them: some panic at a page that is too short, or make room for
//! as many values as it claims to have.

use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescPtr;

use super::runs;

/// The pages of a column chunk with a known number of values.
pub(super) struct CheckedPages {
    pages: Box<dyn PageReader>,
    column: ColumnDescPtr,
    /// The values that further data pages may have.
    left: u64,
    has_dictionary: bool,
}

fn refused<T>(what: impl Into<String>) -> Result<T, ParquetError> {
    Err(ParquetError::General(what.into()))
}

impl CheckedPages {
    pub(super) fn new(pages: Box<dyn PageReader>, column: ColumnDescPtr, values: u64) -> Self {
        CheckedPages { pages, column, left: values, has_dictionary: false }
    }

    fn check(&mut self, page: &Page) -> Result<(), ParquetError> {
        let values = page.num_values().into();
        match page {
            Page::DictionaryPage { buf, encoding: Encoding::PLAIN | Encoding::PLAIN_DICTIONARY, .. } => {
                self.has_dictionary = true;
                self.check_plain(buf, values)
            }
            // The deprecated BIT_PACKED levels of old files are not read.
            Page::DataPage {
                buf,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                ..
            } => match self.left.checked_sub(values) {
                Some(left) => {
                    self.left = left;
                    self.check_data(buf, values, *encoding)
                }
                None => refused(format!("a page claims to have {values} values")),
            },
            // No release wrote pages of version 2.
            Page::DataPageV2 { .. } => refused("a page is of version 2, which is not read"),
            _ => refused(format!("a page or its levels are encoded in {}, which is not read", page.encoding())),
        }
    }

    /// Check that a page has as many levels and values as its header says.
    fn check_data(&self, page: &Bytes, values: u64, encoding: Encoding) -> Result<(), ParquetError> {
        let mut rest = &page[..];
        let mut present = values;
        // By the schema, levels are 0 or 1.
        for max_level in [self.column.max_rep_level(), self.column.max_def_level()] {
            if max_level > 0 {
                let ones = levels(&mut rest).and_then(|levels| runs::ones(levels, values));
                let Some(ones) = ones else {
                    return refused(format!("a page doesn't have the levels of its {values} values"));
                };
                present = ones;
            }
        }
        match encoding {
            // Both take the same bytes.
            Encoding::PLAIN | Encoding::BYTE_STREAM_SPLIT => self.check_plain(rest, present),
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY if !self.has_dictionary => {
                refused("a page needs a dictionary that isn't there")
            }
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => match runs::has_places(rest, present) {
                true => Ok(()),
                false => refused(format!("a page doesn't have its {present} values")),
            },
            _ => refused(format!("a page is encoded in {encoding}, which is not read")),
        }
    }

    fn check_plain(&self, bytes: &[u8], values: u64) -> Result<(), ParquetError> {
        let value_bytes = match self.column.physical_type() {
            Type::INT32 | Type::FLOAT => 4,
            Type::INT64 | Type::DOUBLE => 8,
            other => return refused(format!("values of type {other} are not read")),
        };
        match bytes.len() as u64 == values * value_bytes {
            true => Ok(()),
            false => refused(format!("a page has {} bytes for {values} values of {value_bytes}", bytes.len())),
        }
    }
}

/// Levels in front of a page's values, after the number of their bytes.
fn levels<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk()?;
    let (levels, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = after;
    Some(levels)
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.pages.get_next_page()?;
        page.as_ref().map_or(Ok(()), |page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool, ParquetError> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for CheckedPages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests;
