//! Pages of processes.

use std::collections::HashMap;

use anyhow::{Context, Result};
use procfs::process::{all_processes, MMPermissions, MMapPath, MemoryMap, MemoryPageFlags, PageInfo, Process};

/// The processes whose name is one of these.
pub fn find(names: &[String]) -> Result<Vec<(Process, String)>> {
    // One that can't be read has ended.
    let processes = all_processes().context("/proc can't be read")?.flatten();
    let named = processes.filter_map(|process| process.stat().ok().map(|stat| (process, stat.comm)));
    Ok(named.filter(|(_, comm)| names.contains(comm)).collect())
}

/// Adds the pages of a process, by physical page number: the process's name and what is mapped there.
pub fn add_pages(process: &Process, name: &str, pages: &mut HashMap<u64, String>) -> Result<()> {
    let mut pagemap = process.pagemap()?;
    for mapping in process.maps()? {
        let (from, to) = mapping.address;
        // The vsyscall page has no entries.
        let Ok(entries) = pagemap.get_range_info((from / 4096) as usize..(to / 4096) as usize) else { continue };
        for page in entries.into_iter().filter_map(present) {
            pages.entry(page).or_insert_with(|| format!("{name}: {}", name_of(&mapping)));
        }
    }
    Ok(())
}

fn name_of(mapping: &MemoryMap) -> String {
    let what = match &mapping.pathname {
        MMapPath::Path(path) => {
            path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().trim_end_matches(" (deleted)").to_string()
        }
        MMapPath::Anonymous => "anonymous memory".to_string(),
        MMapPath::Other(name) => format!("[{}]", name.trim_matches(['[', ']'])),
        other => format!("[{}]", format!("{other:?}").to_lowercase()),
    };
    format!("{what} {}", rights(mapping.perms))
}

fn rights(perms: MMPermissions) -> String {
    let letter = |flag, letter| if perms.contains(flag) { letter } else { '-' };
    let kind = if perms.contains(MMPermissions::SHARED) { 's' } else { 'p' };
    let access = [(MMPermissions::READ, 'r'), (MMPermissions::WRITE, 'w'), (MMPermissions::EXECUTE, 'x')];
    access.into_iter().map(|(flag, name)| letter(flag, name)).chain([kind]).collect()
}

/// The physical page of an entry of pagemap. Without privilege the kernel shows page 0.
fn present(entry: PageInfo) -> Option<u64> {
    let PageInfo::MemoryPage(flags) = entry else { return None };
    let page = flags.get_page_frame_number().0;
    (flags.contains(MemoryPageFlags::PRESENT) && page != 0).then_some(page)
}

#[cfg(test)]
mod tests {
    use procfs::process::MemoryMaps;
    use procfs::FromRead;

    use super::*;

    #[test]
    fn mappings_are_named_by_file_or_kind() {
        let name = |line: &str| {
            let maps = MemoryMaps::from_read(line.as_bytes()).expect("a line of maps");
            name_of(maps.iter().next().expect("one mapping"))
        };
        assert_eq!(name("55d0-55d1 r-xp 00000000 00:1a 42 /usr/bin/scx_vnuma"), "scx_vnuma r-xp");
        assert_eq!(name("55d0-55d1 rw-s 00000000 00:1a 42 /dev/zero (deleted)"), "zero rw-s");
        assert_eq!(name("7ffe1000-7ffe2000 rw-p 00000000 00:00 0 [stack]"), "[stack] rw-p");
        assert_eq!(name("7ffe1000-7ffe2000 r--p 00000000 00:00 0 [vvar]"), "[vvar] r--p");
        assert_eq!(name("7f001000-7f002000 rw-p 00000000 00:00 0 "), "anonymous memory rw-p");
    }

    #[test]
    fn only_present_pages_with_a_number_count() {
        let page = |entry| present(PageInfo::parse_info(entry));
        assert_eq!(page(1 << 63 | 1 << 61 | 77), Some(77));
        assert_eq!(page(1 << 62 | 77), None, "swapped out");
        assert_eq!(page(77), None);
        assert_eq!(page(1 << 63), None);
    }
}
