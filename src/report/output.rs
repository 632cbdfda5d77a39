//! Prints on standard output, which may be a pipe that nobody reads any more, or a full file system.

use std::io::{self, Write};

/// Standard output can't be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output can't be written: {0}")]
pub struct OutputError(io::Error);

impl OutputError {
    /// Return true if the reader needs no more, as `head` after ten lines, which is no failure.
    pub fn is_reader_gone(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Print a text, to the last byte. `println!` would panic where this fails.
pub fn print(out: &mut impl Write, text: impl AsRef<[u8]>) -> Result<(), OutputError> {
    out.write_all(text.as_ref()).and_then(|()| out.flush()).map_err(OutputError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_gone_is_told_from_a_full_disk() {
        let (reader, mut writer) = io::pipe().unwrap();
        print(&mut writer, "read").unwrap();
        drop(reader);
        assert!(print(&mut writer, "not read").unwrap_err().is_reader_gone());
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = print(&mut full, "lost").unwrap_err();
        assert!(!error.is_reader_gone());
        assert!(error.to_string().starts_with("standard output can't be written: No space left"), "{error}");
    }
}
