//! Shared mappings: which processes have the same memory mapped, writable by all of them.

use std::collections::{HashMap, VecDeque};

use procfs::process::{MMPermissions, MemoryMap, Process};
use procfs::ProcResult;

/// Processes with less shared memory than this are not looked at closer: a mapping of few pages costs little if it travels.
const SHMEM_MIN_BYTES: u64 = 1 << 20;

/// With more processes than this at one mapping not each pair is a link, as there would be too many: each process is linked with the
/// one that has the lowest id.
const ALL_PAIRS_MAX: usize = 16;

/// A file or piece of shared memory: device (major and minor) and inode.
type Inode = ((i32, i32), u64);

/// A scan of the shared mappings of many processes, one by one.
#[derive(Debug, Default)]
pub(super) struct Scan {
    left: VecDeque<u32>,
    found: HashMap<Inode, Vec<(u32, u64)>>,
}

impl Scan {
    pub(super) fn of(processes: &[u32]) -> Self {
        Scan { left: processes.iter().copied().collect(), ..Scan::default() }
    }

    /// Look at one more process. Returns false if none is left.
    pub(super) fn next(&mut self) -> bool {
        let Some(tgid) = self.left.pop_front() else { return false };
        // What can't be read has ended.
        for (inode, bytes) in large_shared_mappings(tgid).unwrap_or_default() {
            self.found.entry(inode).or_default().push((tgid, bytes));
        }
        true
    }

    /// The pairs of processes that were found to share memory, by ids in order, and how much.
    pub(super) fn shared(&self) -> HashMap<(u32, u32), u64> {
        let mut shared = HashMap::new();
        for sharers in self.found.values() {
            let mut sharers = sharers.clone();
            sharers.sort_unstable();
            let nr_firsts = if sharers.len() <= ALL_PAIRS_MAX { sharers.len() } else { 1 };
            for (nr, (a, a_bytes)) in sharers.iter().take(nr_firsts).enumerate() {
                for (b, b_bytes) in &sharers[nr + 1..] {
                    *shared.entry((*a, *b)).or_insert(0) += a_bytes.min(b_bytes);
                }
            }
        }
        shared
    }
}

/// The writable shared mappings of a process by inode, each at most its resident shared memory: System V, POSIX, memfd, tmpfs and
/// anonymous shared pages. None if that is little.
fn large_shared_mappings(tgid: u32) -> ProcResult<HashMap<Inode, u64>> {
    let process = Process::new(tgid as i32)?;
    let resident_bytes = process.status()?.rssshmem.unwrap_or(0).saturating_mul(1024);
    if resident_bytes <= SHMEM_MIN_BYTES {
        return Ok(HashMap::new());
    }
    let mut mappings = shared_mappings(process.maps()?);
    mappings.values_mut().for_each(|bytes| *bytes = resident_bytes.min(*bytes));
    Ok(mappings)
}

/// The writable shared ones of these mappings, summed by inode.
fn shared_mappings(maps: impl IntoIterator<Item = MemoryMap>) -> HashMap<Inode, u64> {
    let mut mappings = HashMap::new();
    for map in maps.into_iter().filter(|map| map.perms.contains(MMPermissions::WRITE | MMPermissions::SHARED)) {
        let (start, end) = map.address;
        let sum: &mut u64 = mappings.entry((map.dev, map.inode)).or_default();
        *sum = sum.saturating_add(end.saturating_sub(start));
    }
    mappings
}

#[cfg(test)]
mod tests {
    use procfs::process::MemoryMaps;
    use procfs::FromRead;

    use super::*;

    const MAPS: &str = "\
55e5c0a00000-55e5c0a21000 r-xp 00000000 08:01 1234                       /usr/bin/postgres
7f0000000000-7f0008000000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
7f0010000000-7f0010001000 rw-s 00001000 00:01 77                         /dev/zero (deleted)
7f0020000000-7f0020200000 r--s 00000000 00:19 88                         /dev/shm/read only
7f0030000000-7f0030200000 rw-s 00000000 00:1a 99                         /dev/shm/with a space
7f0040000000-7f0040200000 rw-p 00000000 00:00 0 
";

    #[test]
    fn shared_writable_mappings_are_summed_by_inode() {
        let mappings = shared_mappings(MemoryMaps::from_read(MAPS.as_bytes()).unwrap());
        assert_eq!(mappings, [(((0, 1), 77), 0x800_1000), (((0, 0x1a), 99), 0x20_0000)].into());
    }

    #[test]
    fn few_processes_at_a_mapping_are_linked_in_pairs_and_many_with_the_first() {
        let sharers = |nr: u32| (1..=nr).map(|pid| (pid, u64::from(100 + pid))).collect::<Vec<_>>();
        let scan = Scan { found: [(((0, 1), 7), sharers(3))].into(), ..Scan::default() };
        assert_eq!(scan.shared(), [((1, 2), 101), ((1, 3), 101), ((2, 3), 102)].into());
        let scan = Scan { found: [(((0, 1), 7), sharers(100))].into(), ..Scan::default() };
        assert_eq!(scan.shared().len(), 99);
        assert!(scan.shared().keys().all(|(a, _)| *a == 1));
    }

    #[test]
    fn a_scan_finds_what_this_process_maps_and_skips_one_that_has_ended() {
        let own = std::process::id();
        // SAFETY: a new mapping, checked, written inside its bounds, and unmapped before anything else refers to it.
        let scan = unsafe {
            const LEN: usize = 4 << 20;
            let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
            let memory = libc::mmap(std::ptr::null_mut(), LEN, libc::PROT_READ | libc::PROT_WRITE, kind, -1, 0);
            assert_ne!(memory, libc::MAP_FAILED);
            // Process ids are below 2^22.
            let mut scan = Scan::of(&[1 << 23, own]);
            while scan.next() {}
            libc::munmap(memory, LEN);
            scan
        };
        let found: Vec<_> = scan.found.values().flatten().collect();
        assert!(found.iter().any(|(tgid, bytes)| *tgid == own && *bytes >= 4 << 20), "{found:?}");
        assert!(found.iter().all(|(tgid, _)| *tgid == own));
    }
}
