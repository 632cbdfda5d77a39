//! A set of CPUs, in the text forms of the kernel's files and in the binary form of its system calls.

use std::collections::{btree_set, BTreeSet};
use std::fmt;
use std::iter::Copied;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A word of the mask that system calls take.
pub(super) type MaskWord = libc::c_ulong;

/// The largest id that is read from text. No kernel has as many CPUs, and a set of this id still takes little memory.
const CPU_ID_MAX: u32 = 99_999;

/// CPUs by id, in ascending order. Ids may have gaps. Displayed as a list, such as `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct CpuSet(BTreeSet<u32>);

/// Text that is not a set of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuSetError {
    /// The text is not a list.
    #[error("'{0}' is not a list of CPUs such as 0-7,16")]
    List(String),
    /// The text is not a mask.
    #[error("'{0}' is not a mask of CPUs such as ff,ffffffff")]
    Mask(String),
}

impl CpuSet {
    /// Parse a list such as `0-3,8`, the form of `smp_affinity_list`. Empty text is the empty set.
    pub fn from_list(text: &str) -> Result<Self, CpuSetError> {
        let text = text.trim_end_matches('\n');
        let mut cpus = BTreeSet::new();
        if text.is_empty() {
            return Ok(CpuSet(cpus));
        }
        let ranges: Option<Vec<(u32, u32)>> = text.split(',').map(parse_range).collect();
        let mut ranges = ranges.ok_or_else(|| CpuSetError::List(text.to_string()))?;
        // In order, each CPU is inserted once, though a list may repeat large ranges.
        ranges.sort_unstable();
        let mut next = 0;
        for (first, last) in ranges {
            cpus.extend(first.max(next)..=last);
            next = next.max(last + 1);
        }
        Ok(CpuSet(cpus))
    }

    /// Parse a mask such as `ff,ffffffff`: hexadecimal words of 32 CPUs, the highest first.
    pub fn from_mask(text: &str) -> Result<Self, CpuSetError> {
        let text = text.trim();
        let mut cpus = BTreeSet::new();
        for (nr, word) in (0..).zip(text.split(',').rev()) {
            let refused = || CpuSetError::Mask(text.to_string());
            let word = Some(word).filter(|_| nr <= CPU_ID_MAX / u32::BITS);
            let word = word.and_then(|word| u32::from_str_radix(word, 16).ok()).ok_or_else(refused)?;
            cpus.extend((0..u32::BITS).filter(|bit| word >> bit & 1 == 1).map(|bit| u32::BITS * nr + bit));
            if cpus.last().is_some_and(|&cpu| cpu > CPU_ID_MAX) {
                return Err(refused());
            }
        }
        Ok(CpuSet(cpus))
    }

    /// Format the mask that [`CpuSet::from_mask`] parses.
    pub fn to_mask(&self) -> String {
        let nr_words = self.0.last().map_or(0, |cpu| cpu / u32::BITS) + 1;
        let word = |nr: u32| {
            let cpus = self.0.range(u32::BITS * nr..=u32::BITS * nr + (u32::BITS - 1));
            cpus.fold(0u32, |word, cpu| word | 1 << (cpu % u32::BITS))
        };
        let words: Vec<String> = (0..nr_words).rev().map(|nr| format!("{:08x}", word(nr))).collect();
        words.join(",")
    }

    /// Return true if the set has no CPU.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of CPUs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Return true if the set has this CPU.
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// The CPUs that are in both sets.
    pub fn and(&self, other: &CpuSet) -> CpuSet {
        CpuSet(self.0.intersection(&other.0).copied().collect())
    }

    /// The CPUs of this set that are not in the other.
    pub fn without(&self, other: &CpuSet) -> CpuSet {
        CpuSet(self.0.difference(&other.0).copied().collect())
    }

    /// The CPUs in ascending order.
    pub fn iter(&self) -> Copied<btree_set::Iter<'_, u32>> {
        self.0.iter().copied()
    }

    /// As the mask of a system call: a bit for each CPU, lowest first. It has as many words as the highest CPU needs, and
    /// at least one.
    pub(super) fn to_words(&self) -> Vec<MaskWord> {
        let nr_words = self.0.last().map_or(0, |cpu| cpu / MaskWord::BITS) as usize + 1;
        let mut words = vec![0; nr_words];
        for cpu in self.iter() {
            words[(cpu / MaskWord::BITS) as usize] |= 1 << (cpu % MaskWord::BITS);
        }
        words
    }

    /// From the mask of a system call.
    pub(super) fn from_words(words: &[MaskWord]) -> Self {
        let cpus = (0..).zip(words).flat_map(|(nr, word)| {
            (0..MaskWord::BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| MaskWord::BITS * nr + bit)
        });
        cpus.collect()
    }
}

/// Parse `8` or `0-3`.
fn parse_range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse_id(first)?, parse_id(last)?);
    (first <= last).then_some((first, last))
}

fn parse_id(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    // Larger ids are typing errors, and a range of them would exhaust memory.
    text.parse().ok().filter(|&id| is_number && id <= CPU_ID_MAX)
}

impl<'de> Deserialize<'de> for CpuSet {
    /// From an array of ids, each of which a kernel can have.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ids;

        impl<'de> Visitor<'de> for Ids {
            type Value = CpuSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of ids of CPUs, each at most {CPU_ID_MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut ids: A) -> Result<CpuSet, A::Error> {
                let mut cpus = BTreeSet::new();
                while let Some(cpu) = ids.next_element::<u32>()? {
                    if cpu > CPU_ID_MAX {
                        return Err(A::Error::invalid_value(serde::de::Unexpected::Unsigned(cpu.into()), &self));
                    }
                    cpus.insert(cpu);
                }
                Ok(CpuSet(cpus))
            }
        }

        deserializer.deserialize_seq(Ids)
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        CpuSet(cpus.into_iter().collect())
    }
}

impl<const N: usize> From<[u32; N]> for CpuSet {
    fn from(cpus: [u32; N]) -> Self {
        CpuSet(cpus.into())
    }
}

impl<'a> IntoIterator for &'a CpuSet {
    type Item = u32;
    type IntoIter = Copied<btree_set::Iter<'a, u32>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = last.checked_add(1).and_then(|next| rest.next_if_eq(&next)) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_are_parsed_as_the_kernel_formats_them() {
        for (list, mask) in [("0-3", "f\n"), ("0,2-3,33", "00000002,0000000d"), ("", "0"), ("31-32", "1,80000000")] {
            let set = CpuSet::from_list(list).unwrap();
            assert_eq!(CpuSet::from_mask(mask), Ok(set.clone()), "{list}");
            assert_eq!(CpuSet::from_mask(&set.to_mask()), Ok(set.clone()), "{}", set.to_mask());
            assert_eq!(set.to_string(), list);
        }
        assert_eq!(CpuSet::from_list("0-1\n"), Ok(CpuSet::from([0, 1])));
        assert_eq!(CpuSet::from_list("\n"), Ok(CpuSet::default()));
    }

    #[test]
    fn a_mask_has_all_ids_that_a_list_has() {
        let all: CpuSet = (0..=CPU_ID_MAX).collect();
        assert_eq!(CpuSet::from_mask(&all.to_mask()).as_ref(), Ok(&all));
        let beyond = CpuSet(BTreeSet::from([CPU_ID_MAX + 1])).to_mask();
        assert!(CpuSet::from_mask(&beyond).is_err() && CpuSet::from_mask(&format!("0,{beyond}")).is_err());
    }

    #[test]
    fn ranges_may_overlap_and_a_long_list_of_them_takes_no_time() {
        assert_eq!(CpuSet::from_list("5,0-3,2-6,1"), Ok((0..=6).collect()));
        let began = std::time::Instant::now();
        assert_eq!(CpuSet::from_list(&vec!["0-99999"; 2000].join(",")).unwrap().len(), 100_000);
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }

    #[test]
    fn other_text_is_refused_and_named() {
        for text in ["0-", "-3", "all", "3-1", "0,3-1", "0,", "0 1", " 0", "+1", "0-999999", "18446744073709551615"] {
            let message = CpuSet::from_list(text).unwrap_err().to_string();
            assert_eq!(message, format!("'{text}' is not a list of CPUs such as 0-7,16"));
        }
        for text in ["f,", "0-3", "", "fffffffff"] {
            assert_eq!(CpuSet::from_mask(text), Err(CpuSetError::Mask(text.into())));
        }
    }

    #[test]
    fn words_have_a_bit_for_each_cpu_whatever_its_id() {
        let set = CpuSet::from([0, 63, 64, 1023, 1024, 5000]);
        let words = set.to_words();
        assert_eq!(words.len(), 5000 / MaskWord::BITS as usize + 1);
        assert_eq!((words[0], words[16]), (1 << 63 | 1, 1));
        assert_eq!(CpuSet::from_words(&words), set);
        assert_eq!(CpuSet::default().to_words(), [0]);
    }

    #[test]
    fn a_set_is_stored_as_an_array_of_ids() {
        let set = CpuSet::from([3, 0, 1]);
        assert_eq!(serde_json::to_string(&set).unwrap(), "[0,1,3]");
        assert_eq!(serde_json::from_str::<CpuSet>("[3,1,0]").unwrap(), set);
    }

    #[test]
    fn ids_that_no_kernel_has_are_refused_wherever_they_are_read() {
        for (text, is_read) in [("[99999]", true), ("[0,100000]", false), ("[4294967295]", false), ("[-1]", false)] {
            assert_eq!(serde_json::from_str::<CpuSet>(text).is_ok(), is_read, "{text}");
        }
        assert!(CpuSet::from_list("99999").is_ok() && CpuSet::from_list("100000").is_err());
        assert_eq!(CpuSet::from_list("00000001"), Ok([1].into()));
        assert!(CpuSet::from_mask(&vec!["f"; 3000].join(",")).is_ok());
        assert!(CpuSet::from_mask(&vec!["f"; 4000].join(",")).is_err());
        assert_eq!(CpuSet::from([u32::MAX - 1, u32::MAX]).to_string(), "4294967294-4294967295");
    }
}
