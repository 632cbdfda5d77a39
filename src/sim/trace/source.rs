//! Reads parts, compressed or not, in blocks of CSV lines.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::gzip::Members;
use crate::sim::error::SimError;

/// Size of a block. It is parsed while the next one is decompressed, so handing it over should cost little in
/// comparison.
const BLOCK_BYTES: usize = 1 << 20;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Input {
    /// The table that it is a part of.
    pub table: String,
    /// File name without its directory, which differs from machine to machine.
    pub name: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Input {
    /// Compute the checksum of a file.
    pub fn of_file(table: &str, path: &Path) -> Result<Input, SimError> {
        let mut file = File::open(path).map_err(SimError::file(path))?;
        let mut hasher = Sha256::new();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            match file.read(&mut block).map_err(SimError::file(path))? {
                0 => break,
                len => hasher.update(&block[..len]),
            }
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Input { table: table.to_owned(), name, sha256: hex(&hasher.finalize()) })
    }

    /// Compute the checksum of bundled bytes.
    pub fn of_bytes(table: &str, name: &str, bytes: &[u8]) -> Input {
        Input { table: table.to_owned(), name: name.to_owned(), sha256: hex(&Sha256::digest(bytes)) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Open a part. Compression is detected by its first two bytes. The name counts only for a part that is too short to have
/// them: as a `.gz` it ends early.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, SimError> {
    let mut file = File::open(path).map_err(SimError::file(path))?;
    let mut magic = [0; 2];
    let len = file.read(&mut magic).map_err(SimError::file(path))?;
    if len < magic.len() && path.extension().is_some_and(|ext| ext == "gz") {
        return Err(SimError::Damaged { path: path.to_owned(), line: 0, source: io::ErrorKind::UnexpectedEof.into() });
    }
    let whole = io::Cursor::new(magic[..len].to_vec()).chain(file);
    Ok(decompressed(magic[..len] == [0x1f, 0x8b], whole))
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
