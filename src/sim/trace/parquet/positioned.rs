//! A file whose row groups can be read in parallel.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::sim::error::SimError;

/// A file that many threads read at once. Threads would share its file offset, so each read has its own.
#[derive(Clone)]
pub(super) struct Positioned {
    file: Arc<File>,
    len: u64,
}

/// Reads on from a position.
pub(super) struct ReadFrom {
    file: Arc<File>,
    at: u64,
}

impl Read for ReadFrom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(buffer, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Positioned {
    pub(super) fn open(path: &Path) -> Result<Positioned, SimError> {
        // Not opened first: the open of a FIFO waits for a writer.
        if !path.metadata().map_err(SimError::file(path))?.is_file() {
            return Err(SimError::OnlyOnce { path: path.to_owned(), why: "a prepared trace is read piece by piece" });
        }
        let file = File::open(path).map_err(SimError::file(path))?;
        let len = file.metadata().map_err(SimError::file(path))?.len();
        Ok(Positioned { file: Arc::new(file), len })
    }
}

impl Length for Positioned {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Positioned {
    type T = BufReader<ReadFrom>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(ReadFrom { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // The file itself says how long its pieces are, and a damaged one may say terabytes.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are beyond the file's end")));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}
