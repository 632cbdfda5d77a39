//! The running kernel's memory and symbols, of `/proc/kcore` and `/proc/kallsyms`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{ensure, Context, Result};

use super::symbols::Symbols;

/// The running kernel.
pub struct Kernel {
    memory: File,
    segments: Vec<Segment>,
    /// Its symbols.
    pub symbols: Symbols,
}

/// A part of the kernel's address space in `/proc/kcore`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    virtual_address: u64,
    /// `None` where addresses are not in one piece.
    physical_address: Option<u64>,
    bytes: u64,
    offset: u64,
}

/// From here on lies the kernel's image: text, data, bss.
const IMAGE_BASE: u64 = 0xffff_ffff_8000_0000;
/// Below, addresses of a kernel with five levels of page tables begin.
const FOUR_LEVELS_BASE: u64 = 0xffff_8000_0000_0000;

impl Kernel {
    /// Opens it. Needs root.
    pub fn open() -> Result<Self> {
        let memory = File::open("/proc/kcore").context("/proc/kcore can't be opened")?;
        let mut headers = vec![0; 64];
        memory.read_exact_at(&mut headers, 0).context("/proc/kcore can't be read")?;
        headers.resize(64 + 56 * usize::from(u16_at(&headers, 56)), 0);
        memory.read_exact_at(&mut headers, 0).context("the headers of /proc/kcore can't be read")?;
        let symbols = std::fs::read_to_string("/proc/kallsyms").context("/proc/kallsyms can't be read")?;
        Ok(Kernel { memory, segments: parse_segments(&headers)?, symbols: Symbols::parse(&symbols) })
    }

    /// Reads memory at a virtual address.
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<()> {
        let has =
            |segment: &&Segment| (segment.virtual_address..segment.virtual_address + segment.bytes).contains(&address);
        let segment = self.segments.iter().find(has).with_context(|| format!("/proc/kcore has no {address:#x}"))?;
        self.memory.read_exact_at(to, segment.offset + (address - segment.virtual_address))?;
        Ok(())
    }

    /// Reads a 64-bit word.
    pub fn read_u64(&self, address: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a string that ends with a zero byte.
    pub fn read_string(&self, address: u64) -> Result<String> {
        let mut bytes = [0; 64];
        self.read(address, &mut bytes)?;
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// Reads the 64-bit word of a kernel's variable.
    pub fn variable(&self, name: &str) -> Result<u64> {
        self.read_u64(self.symbols.address(name).with_context(|| format!("the kernel has no symbol {name}"))?)
    }

    /// The difference between virtual and physical addresses of the map of all memory.
    pub fn direct_map_base(&self) -> Result<u64> {
        let direct = |segment: &&Segment| segment.virtual_address < IMAGE_BASE && segment.physical_address.is_some();
        let segment = self.segments.iter().find(direct).context("/proc/kcore has no memory")?;
        Ok(segment.virtual_address - segment.physical_address.expect("BUG: only such segments were looked for"))
    }

    /// The kernel's image: virtual address and physical address of its beginning, and its size in bytes.
    pub fn image(&self) -> Result<(u64, u64, u64)> {
        let address =
            |name: &str| self.symbols.address(name).with_context(|| format!("the kernel has no symbol {name}"));
        let (from, to) = (address("_text")?, address("_end")?);
        let of_image = |segment: &&Segment| segment.virtual_address >= IMAGE_BASE && segment.physical_address.is_some();
        let segment = self.segments.iter().find(of_image).context("/proc/kcore has no kernel image")?;
        let physical = segment.physical_address.expect("BUG: only such segments were looked for");
        Ok((from, physical + (from - segment.virtual_address), to - from))
    }

    /// Levels of its page tables.
    pub fn page_table_levels(&self) -> Result<u32> {
        Ok(if self.direct_map_base()? < FOUR_LEVELS_BASE { 5 } else { 4 })
    }
}

/// The segments in the headers of an ELF file of 64 bits.
fn parse_segments(headers: &[u8]) -> Result<Vec<Segment>> {
    const LOADED: u16 = 1;
    ensure!(headers.starts_with(b"\x7fELF\x02\x01"), "/proc/kcore is no ELF file of 64 bits");
    let first = u64_at(headers, 32) as usize;
    let program_headers = headers[first..].chunks_exact(56).take(u16_at(headers, 56).into());
    let loaded = program_headers.filter(|header| u16_at(header, 0) == LOADED);
    let segment = |header: &[u8]| Segment {
        virtual_address: u64_at(header, 16),
        physical_address: Some(u64_at(header, 24)).filter(|address| *address != u64::MAX),
        bytes: u64_at(header, 32),
        offset: u64_at(header, 8),
    };
    Ok(loaded.map(segment).collect())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("BUG: a range of 8 bytes has 8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaded_segments_are_found_and_a_missing_physical_address_is_none() {
        let mut headers = b"\x7fELF\x02\x01".to_vec();
        headers.resize(64 + 2 * 56, 0);
        headers[32] = 64;
        headers[56] = 2;
        headers[64] = 4; // a note
        headers[120] = 1;
        headers[120 + 8..120 + 16].copy_from_slice(&0x5000_u64.to_le_bytes());
        headers[120 + 16..120 + 24].copy_from_slice(&IMAGE_BASE.to_le_bytes());
        headers[120 + 24..120 + 32].copy_from_slice(&u64::MAX.to_le_bytes());
        headers[120 + 32..120 + 40].copy_from_slice(&0x2000_u64.to_le_bytes());
        let segment = Segment { virtual_address: IMAGE_BASE, physical_address: None, bytes: 0x2000, offset: 0x5000 };
        assert_eq!(parse_segments(&headers).unwrap(), [segment]);
        assert!(parse_segments(b"no ELF file").is_err());
    }
}
