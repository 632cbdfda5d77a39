//! Writes pages with checksums, which the `parquet` crate verifies but doesn't write.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::basic::PageType;
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::{get_column_writer, get_typed_column_writer, ColumnCloseResult, ColumnWriterImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnDescPtr;

/// A column of a row group, as it is written.
#[derive(Clone)]
pub(in crate::sim) struct Column {
    pub(in crate::sim) described: ColumnDescPtr,
    pub(in crate::sim) properties: WriterPropertiesPtr,
}

/// The pages of a column so far. The column's writer owns the page writer, so both share the bytes.
#[derive(Clone, Default)]
struct Pages(Arc<Mutex<Vec<u8>>>);

impl Column {
    /// Encode values, with their levels where the column has levels.
    pub(in crate::sim) fn encode<T: DataType>(
        self,
        values: &[T::T],
        definition: Option<&[i16]>,
        repetition: Option<&[i16]>,
    ) -> Result<Encoded, ParquetError> {
        let pages = Pages::default();
        let writer = get_column_writer(self.described, self.properties, Box::new(pages.clone()));
        let mut writer: ColumnWriterImpl<'_, T> = get_typed_column_writer(writer);
        writer.write_batch(values, definition, repetition)?;
        let closed = writer.close()?;
        let bytes = std::mem::take(&mut *pages.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Encoded { bytes: bytes.into(), closed })
    }
}

/// The pages of a column of a row group, and what the file says of them.
pub(in crate::sim) struct Encoded {
    bytes: Bytes,
    closed: ColumnCloseResult,
}

impl Encoded {
    /// Append the column to a row group whose next column this is.
    pub(in crate::sim) fn append<W: Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        group.append_column(&self.bytes, self.closed)
    }
}

impl PageWriter for Pages {
    fn write_page(&mut self, page: CompressedPage) -> Result<PageWriteSpec, ParquetError> {
        let header = header(&page)?;
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spec = PageWriteSpec::new();
        spec.page_type = page.page_type();
        spec.uncompressed_size = page.uncompressed_size() + header.len();
        spec.compressed_size = page.compressed_size() + header.len();
        spec.num_values = page.num_values();
        spec.offset = bytes.len() as u64;
        spec.bytes_written = (header.len() + page.compressed_size()) as u64;
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(page.data());
        Ok(spec)
    }

    fn close(&mut self) -> Result<(), ParquetError> {
        Ok(())
    }
}

/// The struct `PageHeader` of parquet.thrift, with the CRC-32 of what follows it.
fn header(page: &CompressedPage) -> Result<Vec<u8>, ParquetError> {
    let int = |value: usize| i32::try_from(value).map_err(|_| ParquetError::General("a page is too large".into()));
    let mut thrift = Compact::default();
    thrift.int(1, page.page_type() as i32);
    thrift.int(2, int(page.uncompressed_size())?);
    thrift.int(3, int(page.compressed_size())?);
    thrift.int(4, crc32fast::hash(page.data()) as i32);
    let nr_values = int(page.num_values() as usize)?;
    match page.compressed_page() {
        Page::DataPage { def_level_encoding, rep_level_encoding, .. } => {
            thrift.begin(5);
            thrift.int(1, nr_values);
            thrift.int(2, page.encoding() as i32);
            thrift.int(3, *def_level_encoding as i32);
            thrift.int(4, *rep_level_encoding as i32);
        }
        Page::DictionaryPage { is_sorted, .. } => {
            thrift.begin(7);
            thrift.int(1, nr_values);
            thrift.int(2, page.encoding() as i32);
            thrift.bool(3, *is_sorted);
        }
        Page::DataPageV2 { .. } => {
            return Err(ParquetError::NYI(format!("a page of type {}", PageType::DATA_PAGE_V2)));
        }
    }
    thrift.end();
    thrift.end();
    Ok(thrift.bytes)
}

/// Thrift's compact protocol (doc/specs/thrift-compact-protocol.md of Apache Thrift): structs of ints, bools and structs.
#[derive(Default)]
struct Compact {
    bytes: Vec<u8>,
    /// The number of the last field in the open struct, and of those in the structs around it.
    last: u8,
    around: Vec<u8>,
}

impl Compact {
    const TRUE: u8 = 1;
    const FALSE: u8 = 2;
    const I32: u8 = 5;
    const STRUCT: u8 = 12;

    /// The head of a field: by how much its number exceeds the last one, at most 15, and its type.
    fn field(&mut self, number: u8, kind: u8) {
        self.bytes.push((number - self.last) << 4 | kind);
        self.last = number;
    }

    fn int(&mut self, number: u8, value: i32) {
        self.field(number, Self::I32);
        let mut zigzag = (value << 1 ^ value >> 31) as u32;
        while zigzag >= 0x80 {
            self.bytes.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        self.bytes.push(zigzag as u8);
    }

    fn bool(&mut self, number: u8, value: bool) {
        self.field(number, if value { Self::TRUE } else { Self::FALSE });
    }

    fn begin(&mut self, number: u8) {
        self.field(number, Self::STRUCT);
        self.around.push(std::mem::take(&mut self.last));
    }

    fn end(&mut self) {
        self.bytes.push(0);
        self.last = self.around.pop().unwrap_or(0);
    }
}
