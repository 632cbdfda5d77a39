//! Reads parts, compressed or not, in blocks of CSV lines.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::gzip::Members;
use super::input::{Checksum, Summed};
use crate::sim::error::SimError;

/// The first bytes of a gzip file, RFC 1952.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Size of a block. It is parsed while the next one is decompressed, so handing it over should cost little in
/// comparison.
const BLOCK_BYTES: usize = 1 << 20;

/// Open a part, which may be a pipe, and compute the checksum of its bytes if `sum` is given.
///
/// Compression is detected by the first two bytes. The name counts only for a part that is too short to have them: as a
/// `.gz` it ends early.
pub(super) fn open(path: &Path, sum: Option<&Checksum>) -> Result<Box<dyn Read + Send>, SimError> {
    let file = File::open(path).map_err(SimError::file(path))?;
    let mut bytes: Box<dyn Read + Send> = match sum {
        Some(sum) => Box::new(Summed::new(file, sum.clone())),
        None => Box::new(file),
    };
    let mut magic = Vec::new();
    bytes.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic).map_err(SimError::file(path))?;
    if magic.len() < GZIP_MAGIC.len() && path.extension().is_some_and(|ext| ext == "gz") {
        return Err(SimError::Damaged { path: path.to_owned(), line: 0, source: io::ErrorKind::UnexpectedEof.into() });
    }
    Ok(decompressed(magic == GZIP_MAGIC, io::Cursor::new(magic).chain(bytes)))
}

/// Open a file, decompressed if it is gzipped.
pub fn open_file(path: &Path) -> Result<Box<dyn Read + Send>, SimError> {
    open(path, None)
}

/// A reader of the decompressed bytes.
pub(super) fn decompressed<'a>(gzip: bool, bytes: impl Read + Send + 'a) -> Box<dyn Read + Send + 'a> {
    if gzip {
        Box::new(Members::new(BufReader::with_capacity(1 << 16, bytes)))
    } else {
        Box::new(bytes)
    }
}

/// Why a stream can't be read any further.
pub(super) struct Damage {
    /// Number of whole lines after the last block that could still be read.
    pub(super) lines: u64,
    /// The error after them.
    pub(super) source: io::Error,
}

/// Maximum length of a line: far more than a row of any table, and far less than memory.
const MAX_LINE_BYTES: usize = 1 << 24;

/// Cuts a stream into blocks of whole lines.
pub(super) struct Blocks<R> {
    reader: R,
    /// The start of a line whose end hasn't been read yet.
    rest: Vec<u8>,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    pub(super) fn new(reader: R) -> Self {
        Blocks { reader, rest: Vec::new(), ended: false }
    }

    /// Read the next block into the start of `buffer`, which grows as needed and should be reused. Returns the length
    /// of the block, 0 at the end. The last line needs no newline.
    pub(super) fn next_into(&mut self, buffer: &mut Vec<u8>) -> Result<usize, Damage> {
        let mut len = self.rest.len();
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        buffer[..len].copy_from_slice(&self.rest);
        self.rest.clear();
        while !self.ended {
            let old_len = len;
            if buffer.len() < old_len + BLOCK_BYTES {
                buffer.resize(old_len + BLOCK_BYTES, 0);
            }
            while len < old_len + BLOCK_BYTES {
                match self.reader.read(&mut buffer[len..old_len + BLOCK_BYTES]) {
                    Ok(0) => {
                        self.ended = true;
                        return Ok(len);
                    }
                    Ok(read) => len += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(source) => {
                        let lines = memchr::memchr_iter(b'\n', &buffer[..len]).count() as u64;
                        return Err(Damage { lines, source });
                    }
                }
            }
            if let Some(newline) = memchr::memrchr(b'\n', &buffer[old_len..len]) {
                let lines_len = old_len + newline + 1;
                self.rest.extend_from_slice(&buffer[lines_len..len]);
                return Ok(lines_len);
            }
            // A line longer than a block: continue until it ends, but not indefinitely.
            if len > MAX_LINE_BYTES {
                let source = io::Error::new(io::ErrorKind::InvalidData, "a line of more than 16 MB");
                return Err(Damage { lines: 0, source });
            }
        }
        Ok(len)
    }
}
/// Takes in a table's text, block by block.
pub(super) trait BlockParser: Send {
    /// Take in whole lines.
    fn parse(&mut self, block: &[u8]) -> Result<(), SimError>;

    /// Number of lines so far.
    fn line(&self) -> u64;
}

/// Parse all of a part's text. A block is parsed while the next one is decompressed.
pub(super) fn parse_blocks(
    reader: impl Read + Send,
    path: &Path,
    parser: &mut impl BlockParser,
) -> Result<(), SimError> {
    let mut blocks = Blocks::new(reader);
    let (mut block, mut next) = (Vec::new(), Vec::new());
    let damaged = |line: u64, damage: Damage| SimError::Damaged {
        path: path.to_owned(),
        line: line + damage.lines,
        source: damage.source,
    };
    let mut len = blocks.next_into(&mut block).map_err(|damage| damaged(0, damage))?;
    while len > 0 {
        let (parsed, read) = rayon::join(|| parser.parse(&block[..len]), || blocks.next_into(&mut next));
        parsed?;
        len = read.map_err(|damage| damaged(parser.line(), damage))?;
        std::mem::swap(&mut block, &mut next);
    }
    Ok(())
}
