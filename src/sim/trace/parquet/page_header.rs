//! What pages claim of their sizes. The `parquet` crate makes room for as many bytes as a page's header says, which has no
//! checksum: a damaged one would take gigabytes.

use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::ChunkReader;

/// A header has some numbers and two values of at most eight bytes each.
const HEADER_BYTES_MAX: usize = 1024;

/// Check the sizes of all pages of a column, by their headers alone, and that the file's index, if it has one, names such pages: the
/// crate reads a header wherever the index says that there is one.
pub(super) fn check(
    file: &impl ChunkReader,
    column: &ColumnChunkMetaData,
    index: &[PageLocation],
) -> Result<(), ParquetError> {
    /// Levels and a value take less than this.
    const VALUE_BYTES_MAX: i64 = 16;

    let refused = |what: &str| Err(ParquetError::General(format!("column {}: {what}", column.column_path())));
    let most = HEADER_BYTES_MAX as i64 + VALUE_BYTES_MAX * column.num_values();
    let (mut at, len) = column.byte_range();
    let end = at + len;
    // Where each page begins and ends.
    let mut pages = Vec::new();
    while at < end {
        let bytes = file.get_bytes(at, HEADER_BYTES_MAX.min((end - at) as usize))?;
        let Some(header) = PageHeader::read(&bytes) else { return refused("a page's header is damaged") };
        if !(0..=most).contains(&header.uncompressed_bytes.into()) {
            return refused(&format!("a page claims to have {} bytes", header.uncompressed_bytes));
        }
        let page_end = u64::try_from(header.compressed_bytes).ok().map(|bytes| at + header.len as u64 + bytes);
        match page_end.filter(|&page_end| page_end <= end) {
            Some(page_end) => {
                pages.push((at, page_end));
                at = page_end;
            }
            None => return refused("a page ends after its column"),
        }
    }
    let is_page = |page: &PageLocation| {
        let (start, len) = (u64::try_from(page.offset), u64::try_from(page.compressed_page_size));
        start.ok().zip(len.ok()).is_some_and(|(start, len)| pages.binary_search(&(start, start + len)).is_ok())
    };
    match index.iter().all(is_page) {
        true => Ok(()),
        false => refused("the index of its pages is damaged"),
    }
}

/// The sizes in a `PageHeader` of parquet.thrift.
struct PageHeader {
    uncompressed_bytes: i32,
    compressed_bytes: i32,
    /// Bytes of the header itself.
    len: usize,
}

impl PageHeader {
    fn read(bytes: &[u8]) -> Option<PageHeader> {
        let mut thrift = Compact { bytes, at: 0 };
        let (mut uncompressed_bytes, mut compressed_bytes) = (None, None);
        let mut last = 0;
        while let Some((number, kind)) = thrift.field(&mut last)? {
            match (number, kind) {
                (2, Compact::I32) => uncompressed_bytes = Some(thrift.int()?),
                (3, Compact::I32) => compressed_bytes = Some(thrift.int()?),
                _ => thrift.skip(kind, 0)?,
            }
        }
        Some(PageHeader {
            uncompressed_bytes: i32::try_from(uncompressed_bytes?).ok()?,
            compressed_bytes: i32::try_from(compressed_bytes?).ok()?,
            len: thrift.at,
        })
    }
}

/// Reads Thrift's compact protocol (doc/specs/thrift-compact-protocol.md of Apache Thrift). `None` where it ends or is damaged.
struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Compact<'_> {
    const I32: u8 = 5;
    /// Structs in structs: a header has three levels.
    const DEPTH_MAX: u32 = 8;

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn int(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn advance(&mut self, len: u64) -> Option<()> {
        self.at = self.at.checked_add(usize::try_from(len).ok()?).filter(|&at| at <= self.bytes.len())?;
        Some(())
    }

    /// Number and type of the next field; `Some(None)` at the end of the struct.
    fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *last = match head >> 4 {
            0 => self.int()?,
            delta => *last + i64::from(delta),
        };
        Some(Some((*last, head & 0xf)))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        if depth > Self::DEPTH_MAX {
            return None;
        }
        match kind {
            // Booleans are in the field's head.
            1 | 2 => Some(()),
            3 => self.advance(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.advance(8),
            8 => {
                let len = self.varint()?;
                self.advance(len)
            }
            9 | 10 => {
                let head = self.byte()?;
                let len = if head >> 4 == 0xf { self.varint()? } else { u64::from(head >> 4) };
                let of = head & 0xf;
                // In a list a boolean takes a byte, so each item takes one at least.
                if len > self.bytes.len() as u64 {
                    return None;
                }
                (0..len).try_for_each(|_| if of <= 2 { self.advance(1) } else { self.skip(of, depth + 1) })
            }
            12 => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::serialized_reader::ReadOptionsBuilder;

    use super::super::tests::{trace, written};
    use super::*;

    #[test]
    fn an_index_that_names_other_pages_is_refused() {
        let file = Bytes::from(written(&trace()));
        let options = ReadOptionsBuilder::new().with_page_index().build();
        let reader = SerializedFileReader::new_with_options(file.clone(), options).unwrap();
        let metadata = reader.metadata();
        for (at, column) in metadata.row_group(0).columns().iter().enumerate() {
            let index = metadata.offset_index().unwrap()[0][at].page_locations.as_slice();
            assert!(!index.is_empty());
            check(&file, column, index).unwrap();
            for (offset, len) in [(1, 0), (0, 1), (0, -1), (1, -1), (i64::MIN, 0), (0, i32::MIN)] {
                let mut index = index.to_vec();
                index[0].offset = index[0].offset.wrapping_add(offset);
                index[0].compressed_page_size = index[0].compressed_page_size.wrapping_add(len);
                let message = check(&file, column, &index).unwrap_err().to_string();
                assert!(message.contains("index of its pages is damaged"), "{message}");
            }
        }
    }

    #[test]
    fn sizes_are_read_past_what_is_skipped() {
        // Type 0, sizes 300 and 100, a checksum, a struct with an int, a binary, a list of two ints, a bool; and what follows.
        let header = [
            0x15, 0x00, 0x15, 0xd8, 0x04, 0x15, 0xc8, 0x01, 0x15, 0x02, 0x1c, 0x15, 0x02, 0x18, 0x02, b'a', b'b', 0x19,
            0x25, 0x02, 0x04, 0x11, 0x00, 0x00, 0xff,
        ];
        let read = PageHeader::read(&header).unwrap();
        assert_eq!((read.uncompressed_bytes, read.compressed_bytes, read.len), (300, 100, header.len() - 1));
        for len in 0..header.len() - 1 {
            assert!(PageHeader::read(&header[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn what_would_nest_or_count_without_end_is_refused() {
        assert!(PageHeader::read(&[0x1c; 64]).is_none());
        assert!(PageHeader::read(&[0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_none());
        assert!(PageHeader::read(&[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_none());
    }
}
