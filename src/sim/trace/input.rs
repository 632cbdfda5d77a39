//! The files that a trace was read from, with checksums that are computed while they are read: a pipe can be read only
//! once.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use crate::sim::error::SimError;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Input {
    /// The table that it is a part of.
    pub table: String,
    /// File name without its directory, which differs from machine to machine; `pipe` for what is no file.
    pub name: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Input {
    /// A part whose checksum was computed while it was read.
    pub(super) fn of_part(table: &str, path: &Path, sum: &Checksum) -> Input {
        let name = if path.is_file() { path.file_name().unwrap_or(path.as_os_str()) } else { "pipe".as_ref() };
        let sha256 = sum.0.get().cloned().expect("BUG: a part was not read to its end");
        Input { table: table.to_owned(), name: name.to_string_lossy().into_owned(), sha256 }
    }

    /// Read a file for its checksum.
    pub fn of_file(table: &str, path: &Path) -> Result<Input, SimError> {
        let sum = Checksum::default();
        let file = File::open(path).map_err(SimError::file(path))?;
        io::copy(&mut Summed::new(file, sum.clone()), &mut io::sink()).map_err(SimError::file(path))?;
        Ok(Input::of_part(table, path, &sum))
    }

    /// Compute the checksum of bundled bytes.
    pub fn of_bytes(table: &str, name: &str, bytes: &[u8]) -> Input {
        Input { table: table.to_owned(), name: name.to_owned(), sha256: hex(&Sha256::digest(bytes)) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a file, in hexadecimal, once it has been read to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Checksum(Arc<OnceLock<String>>);

/// Computes the checksum of what is read through it.
pub(super) struct Summed<R> {
    reader: R,
    hasher: Sha256,
    sum: Checksum,
}

impl<R> Summed<R> {
    /// `sum` is set when the reader ends.
    pub(super) fn new(reader: R, sum: Checksum) -> Self {
        Summed { reader, hasher: Sha256::new(), sum }
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..len]);
        if len == 0 && !buffer.is_empty() {
            self.sum.0.get_or_init(|| hex(&self.hasher.clone().finalize()));
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_all_that_was_read() {
        let sum = Checksum::default();
        let mut reader = Summed::new(&b"abc"[..], sum.clone());
        let mut byte = [0; 1];
        assert_eq!(reader.read(&mut byte).unwrap(), 1);
        assert_eq!(sum.0.get(), None);
        reader.read_to_end(&mut Vec::new()).unwrap();
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sum.0.get().map(String::as_str), Some(expected));
    }
}
