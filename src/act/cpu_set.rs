//! A set of CPUs, in the two forms that the kernel's files have.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// CPUs by their ids. Shown as the kernel's lists are: `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuSet(BTreeSet<u32>);

impl CpuSet {
    /// From a list such as `0-3,8`, as in smp_affinity_list; `None` when it is no list. Empty text is the empty set.
    pub fn from_list(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(CpuSet::default()),
            text => Some(scx_utils::read_cpulist(text).ok()?.into_iter().map(|cpu| cpu as u32).collect()),
        }
    }

    /// From a mask such as `ff,ffffffff`, hexadecimal words of 32 CPUs, the highest first; `None` when it is no mask.
    pub fn from_mask(text: &str) -> Option<Self> {
        let mut cpus = BTreeSet::new();
        for (nr, word) in text.trim().split(',').rev().enumerate() {
            let word = u32::from_str_radix(word, 16).ok()?;
            cpus.extend((0..32).filter(|bit| word >> bit & 1 == 1).map(|bit| 32 * nr as u32 + bit));
        }
        Some(CpuSet(cpus))
    }

    /// As a mask, the form that [`CpuSet::from_mask`] reads.
    pub fn to_mask(&self) -> String {
        let nr_words = self.0.last().map_or(0, |cpu| cpu / 32) + 1;
        let word = |nr: u32| self.0.range(32 * nr..32 * (nr + 1)).fold(0u32, |word, cpu| word | 1 << (cpu % 32));
        let words: Vec<String> = (0..nr_words).rev().map(|nr| format!("{:08x}", word(nr))).collect();
        words.join(",")
    }

    /// Return true if no CPU is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The CPUs that are in both.
    pub fn and(&self, other: &CpuSet) -> CpuSet {
        CpuSet(self.0.intersection(&other.0).copied().collect())
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        CpuSet(cpus.into_iter().collect())
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if_eq(&(last + 1)) {
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
    fn lists_and_masks_are_read_as_the_kernel_writes_them() {
        for (list, mask) in [("0-3", "f\n"), ("0,2-3,33", "00000002,0000000d"), ("", "0"), ("31-32", "1,80000000")] {
            let set = CpuSet::from_list(list).unwrap();
            assert_eq!(CpuSet::from_mask(mask), Some(set.clone()), "{list}");
            assert_eq!(CpuSet::from_mask(&set.to_mask()), Some(set.clone()), "{}", set.to_mask());
            assert_eq!(set.to_string(), list);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert_eq!(CpuSet::from_list("0-"), None);
        assert_eq!(CpuSet::from_list("all"), None);
        assert_eq!(CpuSet::from_mask("f,"), None);
        assert_eq!(CpuSet::from_mask("0-3"), None);
    }
}
