//! Shared mappings: which processes have the same memory mapped, writable by all of them.

use std::collections::{HashMap, VecDeque};

/// Processes with less shared memory than this are not looked at closer: a mapping of few pages costs little if it travels.
const SHMEM_MIN_BYTES: u64 = 1 << 20;

/// With more processes than this at one mapping not each pair is a link, as there would be too many: each process is linked with the
/// one that has the lowest id.
const ALL_PAIRS_MAX: usize = 16;

/// A file or piece of shared memory: device and inode, as /proc/PID/maps has them.
type Inode = (u32, u32, u64);

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
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{tgid}/{file}")).unwrap_or_default();
        let rss_shmem = rss_shmem_bytes(&read("status"));
        if rss_shmem > SHMEM_MIN_BYTES {
            for (inode, bytes) in shared_mappings(&read("maps")) {
                self.found.entry(inode).or_default().push((tgid, bytes.min(rss_shmem)));
            }
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

/// Resident shared memory by /proc/PID/status: System V, POSIX, memfd, tmpfs and anonymous shared pages. 0 if it doesn't say.
fn rss_shmem_bytes(status: &str) -> u64 {
    let kib = status.lines().find_map(|line| line.strip_prefix("RssShmem:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0u64).saturating_mul(1024)
}

/// The writable shared mappings in /proc/PID/maps, summed by inode. Lines of another form are skipped.
fn shared_mappings(maps: &str) -> HashMap<Inode, u64> {
    let mut mappings = HashMap::new();
    for (inode, bytes) in maps.lines().filter_map(shared_mapping) {
        let sum: &mut u64 = mappings.entry(inode).or_default();
        *sum = sum.saturating_add(bytes);
    }
    mappings
}

/// `7f00-7f10 rw-s 00000000 00:01 1234 /dev/zero (deleted)`.
fn shared_mapping(line: &str) -> Option<(Inode, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, access, _offset) = (fields.next()?, fields.next()?, fields.next()?);
    if !(access.as_bytes().get(1) == Some(&b'w') && access.ends_with('s')) {
        return None;
    }
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode: u64 = fields.next()?.parse().ok()?;
    let inode = (u32::try_from(hex(major)?).ok()?, u32::try_from(hex(minor)?).ok()?, inode);
    Some((inode, hex(end)?.checked_sub(hex(start)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55e5c0a00000-55e5c0a21000 r-xp 00000000 08:01 1234                       /usr/bin/postgres
7f0000000000-7f0008000000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
7f0010000000-7f0010001000 rw-s 00001000 00:01 77                         /dev/zero (deleted)
7f0020000000-7f0020200000 r--s 00000000 00:19 88                         /dev/shm/read only
7f0030000000-7f0030200000 rw-s 00000000 00:1a 99                         /dev/shm/with a space
7f0040000000-7f0040200000 rw-p 00000000 00:00 0
damaged line rw-s
7f00-zz rw-s 0 00:01 1 x
";

    #[test]
    fn shared_writable_mappings_are_summed_by_inode() {
        let mappings = shared_mappings(MAPS);
        assert_eq!(mappings, [((0, 1, 77), 0x800_1000), ((0, 0x1a, 99), 0x20_0000)].into());
    }

    #[test]
    fn resident_shared_memory_is_in_the_status() {
        assert_eq!(rss_shmem_bytes("Name:\tx\nVmRSS:\t  9 kB\nRssShmem:\t    2048 kB\nThreads:\t1\n"), 2 << 20);
        assert_eq!(rss_shmem_bytes("Name:\tx\n"), 0);
    }

    #[test]
    fn few_processes_at_a_mapping_are_linked_in_pairs_and_many_with_the_first() {
        let sharers = |nr: u32| (1..=nr).map(|pid| (pid, u64::from(100 + pid))).collect::<Vec<_>>();
        let scan = Scan { found: [((0, 1, 7), sharers(3))].into(), ..Scan::default() };
        assert_eq!(scan.shared(), [((1, 2), 101), ((1, 3), 101), ((2, 3), 102)].into());
        let scan = Scan { found: [((0, 1, 7), sharers(100))].into(), ..Scan::default() };
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
