//! Pages of processes, of `/proc/PID/maps` and `/proc/PID/pagemap`.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

/// A part of a process's address space.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    from: u64,
    to: u64,
    name: String,
}

/// The processes whose name is one of these.
pub fn find(names: &[String]) -> Result<Vec<(i32, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("/proc can't be read")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended.
        let Ok(comm) = std::fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
        if names.iter().any(|name| name == comm.trim_end()) {
            found.push((pid, comm.trim_end().to_string()));
        }
    }
    Ok(found)
}

/// Adds the pages of a process, by physical page number: the process's name and what is mapped there.
pub fn add_pages(pid: i32, name: &str, pages: &mut HashMap<u64, String>) -> Result<()> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
    for mapping in maps.lines().filter_map(parse_mapping) {
        let mut entries = vec![0; ((mapping.to - mapping.from) / 4096 * 8) as usize];
        if pagemap.read_exact_at(&mut entries, mapping.from / 4096 * 8).is_err() {
            continue;
        }
        for entry in entries.chunks_exact(8) {
            if let Some(page) = present(u64::from_le_bytes(entry.try_into().expect("BUG: chunks have 8 bytes"))) {
                pages.entry(page).or_insert_with(|| format!("{name}: {}", mapping.name));
            }
        }
    }
    Ok(())
}

fn parse_mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let address = |word| u64::from_str_radix(word, 16).ok();
    let rights = words.next()?;
    let name = words.nth(3).unwrap_or("anonymous memory");
    let name = format!("{} {rights}", name.rsplit('/').next().unwrap_or(name));
    Some(Mapping { from: address(from)?, to: address(to)?, name })
}

/// The physical page of an entry of pagemap. Without privilege the kernel shows page 0.
fn present(entry: u64) -> Option<u64> {
    const PRESENT: u64 = 1 << 63;
    let page = entry & ((1 << 55) - 1);
    (entry & PRESENT != 0 && page != 0).then_some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_named_by_file_or_kind() {
        let name = |line| parse_mapping(line).unwrap().name;
        assert_eq!(name("55d0-55d1 r-xp 00000000 00:1a 42 /usr/bin/scx_vnuma"), "scx_vnuma r-xp");
        assert_eq!(name("7ffe1000-7ffe2000 rw-p 00000000 00:00 0 [stack]"), "[stack] rw-p");
        assert_eq!(name("7f001000-7f002000 rw-p 00000000 00:00 0 "), "anonymous memory rw-p");
    }

    #[test]
    fn only_present_pages_with_a_number_count() {
        assert_eq!(present(1 << 63 | 1 << 61 | 77), Some(77));
        assert_eq!(present(77), None);
        assert_eq!(present(1 << 63), None);
    }
}
