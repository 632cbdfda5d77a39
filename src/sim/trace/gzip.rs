//! Decompresses gzip files as gzip(1) does: member after member, and zero bytes after a member are padding.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Reads the decompressed bytes of all members. Padding comes from tapes and from tools that write whole blocks.
pub(super) struct Members<R> {
    /// `None` only while a member is replaced, and after an error there.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(compressed: R) -> Self {
        Members { member: Some(GzDecoder::new(compressed)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let len = member.read(buffer)?;
            if len > 0 || buffer.is_empty() {
                return Ok(len);
            }
            let Some(ended) = self.member.take() else { break };
            let mut rest = ended.into_inner();
            if skip_zeros(&mut rest)? {
                self.member = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// Skip zero bytes. Returns whether another byte follows them.
fn skip_zeros(reader: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        let (len, zeros) = (bytes.len(), bytes.iter().take_while(|&&byte| byte == 0).count());
        reader.consume(zeros);
        if zeros < len || len == 0 {
            return Ok(len > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::write::GzEncoder;
    use flate2::Compression;

    use super::*;

    fn gz(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// The text of these bytes, read through a buffer smaller than the padding.
    fn text(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        Members::new(BufReader::with_capacity(64, bytes)).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn zero_bytes_after_a_member_are_padding() {
        let (a, b, zeros) = (gz(b"a\n"), gz(b"b\n"), vec![0; 512]);
        assert_eq!(text(&[&a[..], &b[..]].concat()).unwrap(), "a\nb\n");
        assert_eq!(text(&[&a[..], &zeros[..1]].concat()).unwrap(), "a\n");
        assert_eq!(text(&[&a[..], &zeros[..]].concat()).unwrap(), "a\n");
        assert_eq!(text(&[&a[..], &zeros[..], &b[..], &zeros[..]].concat()).unwrap(), "a\nb\n");
        assert_eq!(text(&[&gz(b"")[..], &b[..]].concat()).unwrap(), "b\n");
    }

    #[test]
    fn other_bytes_after_a_member_are_damage() {
        let (a, zeros) = (gz(b"a\n"), vec![0; 512]);
        assert!(text(&[&a[..], b"garbage after it"].concat()).is_err());
        assert!(text(&[&a[..], &zeros[..], b"garbage after it"].concat()).is_err());
        assert!(text(&[&a[..], &a[..7]].concat()).is_err());
        assert!(text(&a[..a.len() - 1]).is_err());
    }
}
