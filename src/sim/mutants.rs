//! Mutants of good files, for tests that no damage goes unnoticed. They are numbered, and a number always gives the same mutant.
//!
//! `VNUMA_MUTANTS=1000000` makes more of them than a test run has time for, and `VNUMA_MUTANTS_FROM` begins with another number:
//! docs/fuzzing.md says how.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

use super::placement::mix;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// It was refused with an error.
    Refused,
    /// It was read, and nothing that counts was different.
    Same,
    /// It was read, something was different, and that it may be was reported.
    Reported,
    /// It was read, and something was different.
    Changed,
}

/// The mutants to make.
fn numbers() -> Range<u64> {
    /// What takes about a second.
    const FEW: u64 = 2_000;

    let number = |name| std::env::var(name).ok().map(|text: String| text.parse().expect("a number of mutants"));
    let from = number("VNUMA_MUTANTS_FROM").unwrap_or(0);
    from..from + number("VNUMA_MUTANTS").unwrap_or(FEW)
}

/// Try mutants of these files, in turn, and print a table of their fates. Panics at one that changed, that panicked, or that took more
/// than ten seconds.
pub(crate) fn check(files: &[Vec<u8>], fate: impl Fn(usize, Vec<u8>) -> Fate) {
    let mut table: BTreeMap<&'static str, BTreeMap<Fate, u64>> = BTreeMap::new();
    let mut slowest = (Duration::ZERO, 0);
    for number in numbers() {
        let file = (number % files.len() as u64) as usize;
        let (kind, bytes) = mutant(&files[file], number);
        let began = Instant::now();
        let found = catch_unwind(AssertUnwindSafe(|| fate(file, bytes)));
        let took = began.elapsed();
        slowest = slowest.max((took, number));
        let Ok(found) = found else { panic!("mutant {number} ({kind}) of file {file} panicked") };
        assert!(found != Fate::Changed, "mutant {number} ({kind}) of file {file} changed unnoticed");
        assert!(took < Duration::from_secs(10), "mutant {number} ({kind}) of file {file} took {took:?}");
        *table.entry(kind).or_default().entry(found).or_default() += 1;
    }
    println!("{:?}, the slowest is {} and took {:?}", numbers(), slowest.1, slowest.0);
    for (kind, fates) in table {
        println!("{kind:<12} {fates:?}");
    }
}

/// Damage a file.
fn mutant(good: &[u8], number: u64) -> (&'static str, Vec<u8>) {
    let mut random = Random(mix(number));
    let mut bytes = good.to_vec();
    let len = bytes.len() as u64;
    let at = random.below(len) as usize;
    let end = at + 1 + random.below((len - at as u64).min(64)) as usize;
    let end = end.min(bytes.len());
    let kind = match random.below(10) {
        0 | 1 => {
            bytes[at] ^= 1 << random.below(8);
            "bit"
        }
        2 => {
            bytes[at] = random.next() as u8;
            "byte"
        }
        3 => {
            for _ in 0..2 + random.below(7) {
                let at = random.below(len) as usize;
                bytes[at] = random.next() as u8;
            }
            "bytes"
        }
        4 => {
            bytes.truncate(at);
            "truncated"
        }
        5 => {
            bytes.drain(at..end);
            "cut out"
        }
        6 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
            "doubled"
        }
        7 => {
            let fill = [0, 0xff, b'0', b'9'][random.below(4) as usize];
            bytes[at..end].fill(fill);
            "filled"
        }
        8 => {
            // Lengths and counts are little-endian, of four or eight bytes, or digits.
            let value = [0u64, 1, u64::MAX, 1 << 31, 1 << 40, i64::MAX as u64][random.below(6) as usize].to_le_bytes();
            let width = if random.below(2) == 0 { 4 } else { 8 };
            for (place, value) in bytes[at..].iter_mut().zip(&value[..width]) {
                *place = *value;
            }
            "number"
        }
        _ => {
            let other = random.below(len) as usize;
            bytes.swap(at, other);
            "swapped"
        }
    };
    (kind, bytes)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = mix(self.0);
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
