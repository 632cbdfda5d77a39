//! Refuses pages whose headers, which have no checksum, claim what a file of this schema can't have: the decoders of the
//! `parquet` crate trust them, and some panic.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;

/// The pages of a column chunk with a known number of values.
pub(super) struct CheckedPages {
    pages: Box<dyn PageReader>,
    /// The values that further data pages may have.
    left: u64,
    has_dictionary: bool,
}

impl CheckedPages {
    pub(super) fn new(pages: Box<dyn PageReader>, values: u64) -> Self {
        CheckedPages { pages, left: values, has_dictionary: false }
    }

    fn check(&mut self, page: &Page) -> Result<(), ParquetError> {
        // The deprecated BIT_PACKED levels of old files are not among them.
        let (is_known, of_levels) = match page {
            Page::DataPage { encoding, def_level_encoding, rep_level_encoding, .. } => {
                (is_of_values(*encoding), [*def_level_encoding, *rep_level_encoding])
            }
            Page::DataPageV2 { encoding, .. } => (is_of_values(*encoding), [Encoding::RLE; 2]),
            Page::DictionaryPage { encoding, .. } => {
                (matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY), [Encoding::RLE; 2])
            }
        };
        if !is_known || of_levels != [Encoding::RLE; 2] {
            return Err(ParquetError::General(format!("a page is encoded in {}, which is not read", page.encoding())));
        }
        self.has_dictionary |= page.is_dictionary_page();
        let of_dictionary = matches!(page.encoding(), Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY);
        if of_dictionary && !self.has_dictionary {
            return Err(ParquetError::General("a page needs a dictionary that isn't there".into()));
        }
        let values = u64::from(page.num_values());
        let left = if page.is_data_page() { self.left.checked_sub(values) } else { Some(self.left) };
        match left {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(ParquetError::General(format!("a page claims to have {values} values"))),
        }
    }
}

fn is_of_values(encoding: Encoding) -> bool {
    matches!(
        encoding,
        Encoding::PLAIN
            | Encoding::PLAIN_DICTIONARY
            | Encoding::RLE_DICTIONARY
            | Encoding::DELTA_BINARY_PACKED
            | Encoding::BYTE_STREAM_SPLIT
    )
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
