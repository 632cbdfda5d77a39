//! Which code touches which pages: faults by instruction and page, in a table of a fixed size that many threads fill.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Entries of the table: 4 MiB. A quiet machine fills some thousands.
const ENTRIES: usize = 1 << 18;
/// Entries that are tried for a pair before its faults are only counted as lost.
const PROBES: usize = 32;

const PAGE_BITS: u32 = 22;
const CODE_BITS: u32 = 64 - PAGE_BITS;
/// Pages that a key can tell apart.
pub const MAX_PAGES: u64 = 1 << PAGE_BITS;

/// Code and page in one word that isn't 0. Code of the kernel has the low 42 bits of its address, which are enough to restore it
/// (its text and modules are in the topmost 2 GiB); programs are all one code, 1, as their addresses overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// The code of programs. The kernel has none at this address.
const PROGRAMS: u64 = 1;

impl Key {
    /// The key of an instruction's virtual address and a page's number.
    pub fn new(code: u64, page: u64) -> Self {
        let is_kernel = code >> 63 == 1;
        let code = if is_kernel { code & ((1 << CODE_BITS) - 1) } else { PROGRAMS };
        Key(page << CODE_BITS | code)
    }

    /// The page's number.
    pub fn page(self) -> u64 {
        self.0 >> CODE_BITS
    }

    /// The instruction's virtual address; `None` for programs.
    pub fn code(self) -> Option<u64> {
        let low = self.0 & ((1 << CODE_BITS) - 1);
        (low != PROGRAMS).then_some(low | u64::MAX << CODE_BITS)
    }

    fn slot(self) -> usize {
        // Fibonacci hashing: the topmost bits depend on all of the word's.
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - ENTRIES.trailing_zeros())) as usize
    }
}

/// Faults by instruction and page.
pub struct Sites {
    keys: Vec<AtomicU64>,
    faults: Vec<AtomicU32>,
    /// Where in the page the last fault was.
    offsets: Vec<AtomicU32>,
    lost: AtomicU64,
}

impl Sites {
    pub fn new() -> Self {
        Sites {
            keys: (0..ENTRIES).map(|_| AtomicU64::new(0)).collect(),
            faults: (0..ENTRIES).map(|_| AtomicU32::new(0)).collect(),
            offsets: (0..ENTRIES).map(|_| AtomicU32::new(0)).collect(),
            lost: AtomicU64::new(0),
        }
    }

    /// Counts a fault at this offset in the page. An entry that is taken stays taken by the same pair.
    pub fn count(&self, key: Key, offset: u32) {
        for probe in 0..PROBES {
            let slot = (key.slot() + probe) % ENTRIES;
            let found = match self.keys[slot].load(Relaxed) {
                0 => self.keys[slot].compare_exchange(0, key.0, Relaxed, Relaxed).map_or_else(|other| other, |_| key.0),
                taken => taken,
            };
            if found == key.0 {
                self.faults[slot].fetch_add(1, Relaxed);
                self.offsets[slot].store(offset, Relaxed);
                return;
            }
        }
        self.lost.fetch_add(1, Relaxed);
    }

    /// Faults of pairs that found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// The counts of all entries, to be given to [`Sites::since`] later.
    pub fn snapshot(&self) -> Vec<u32> {
        self.faults.iter().map(|faults| faults.load(Relaxed)).collect()
    }

    /// The pairs that had faults between two snapshots, with the number of faults and the offset of the last fault up to now.
    pub fn between(&self, earlier: &[u32], later: &[u32]) -> Vec<(Key, u32, u32)> {
        let pair = |(slot, (then, now)): (usize, (&u32, &u32))| {
            let faults = now.wrapping_sub(*then);
            (faults > 0).then(|| (Key(self.keys[slot].load(Relaxed)), faults, self.offsets[slot].load(Relaxed)))
        };
        earlier.iter().zip(later).enumerate().filter_map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_back_the_kernels_code_and_the_page() {
        let key = Key::new(0xffff_ffff_8123_4567, MAX_PAGES - 1);
        assert_eq!((key.code(), key.page()), (Some(0xffff_ffff_8123_4567), MAX_PAGES - 1));
        let program = Key::new(0x5555_5555_1234, 7);
        assert_eq!((program.code(), program.page()), (None, 7));
        assert_eq!(program, Key::new(0x7fff_f7dd_0000, 7), "the code of programs is not told apart");
    }

    #[test]
    fn faults_of_a_pair_add_up_from_several_threads_and_a_snapshot_divides_them() {
        let sites = Sites::new();
        let count = |times: u64| {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        (0..times).for_each(|n| sites.count(Key::new(u64::MAX - n % 8, n % 4), n as u32 % 8))
                    });
                }
            });
        };
        count(800);
        let before = sites.snapshot();
        count(80);
        let found = sites.between(&before, &sites.snapshot());
        // n % 8 determines n % 4.
        assert_eq!(found.len(), 8);
        assert!(
            found.iter().all(|(key, faults, offset)| *faults == 40 && u64::from(*offset) % 4 == key.page()),
            "{found:?}"
        );
        assert_eq!(sites.lost(), 0);
    }

    #[test]
    fn a_full_table_loses_counts_and_says_so() {
        let sites = Sites::new();
        let pairs = 2 * ENTRIES as u64;
        (0..pairs).for_each(|n| sites.count(Key::new(u64::MAX - n, n % 97), 0));
        let kept: u64 = sites.snapshot().iter().map(|faults| u64::from(*faults)).sum();
        assert_eq!(kept + sites.lost(), pairs);
        assert!(sites.lost() > 0);
    }
}
