//! The sampled wakeups: which process woke which.

use std::collections::HashMap;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapMut};
use scx_utils::compat;

use super::{intf, Plain};

/// Wakeups between two processes, since a reader was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeupCount {
    /// The process that woke.
    pub waker: u32,
    /// The process that was woken.
    pub wakee: u32,
    /// Number of sampled wakeups times the mean distance between two samples.
    pub count: u64,
}

/// Reads the CPUs' tables. It may be used on any thread, also after the scheduler class was unloaded.
pub struct WakeupReader {
    map: MapHandle,
    seen: Seen,
}

/// The pairs in a CPU's table, when it was last read: by CPU and place in the table.
type Seen = HashMap<(usize, usize), intf::vnuma_wakeup_pair>;

impl WakeupReader {
    pub(super) fn of(map: &MapMut<'_>) -> Result<Self> {
        let map = MapHandle::try_from(map).context("opening the map of wakeups again")?;
        Ok(WakeupReader { map, seen: Seen::new() })
    }

    /// The wakeups since the last call; since the scheduler class was loaded on the first. A pair that another one took the place
    /// of meanwhile is missing.
    pub fn read(&mut self) -> Result<Vec<WakeupCount>> {
        let tables = self.map.lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY).context("reading the wakeups")?;
        let tables = tables.context("BUG: the map of wakeups has no element")?;
        let mut counts = Vec::new();
        for (cpu, bytes) in tables.iter().enumerate() {
            let table = intf::vnuma_wakeups::from_bytes(bytes);
            let table = table.context("BUG: the map of wakeups differs from its definition in intf.h")?;
            add_news(&mut self.seen, cpu, &table.pairs, &mut counts);
        }
        Ok(counts)
    }
}

/// Add what is new in a CPU's table.
fn add_news(seen: &mut Seen, cpu: usize, pairs: &[intf::vnuma_wakeup_pair], counts: &mut Vec<WakeupCount>) {
    for (place, &pair) in pairs.iter().enumerate().filter(|(_, pair)| pair.count > 0) {
        let before = seen.insert((cpu, place), pair);
        // If another pair was there meanwhile, it counts from 1 again.
        let before = before.filter(|it| (it.waker, it.wakee) == (pair.waker, pair.wakee) && it.count <= pair.count);
        let nr_sampled = pair.count - before.map_or(0, |before| before.count);
        if nr_sampled > 0 {
            let count = u64::from(nr_sampled) * u64::from(intf::vnuma_wakeup_VNUMA_WAKEUP_PERIOD);
            counts.push(WakeupCount { waker: pair.waker, wakee: pair.wakee, count });
        }
    }
}

/// The bits of the preemption count that are set while a CPU handles an NMI, an interrupt or a softirq (include/linux/preempt.h).
/// Where softirqs are only disabled, their count is even.
pub(super) fn interrupt_mask() -> u32 {
    const SOFTIRQ_OFFSET: u32 = 1 << 8;
    const HARDIRQ_AND_NMI: u32 = 0xff << 16;
    /// Kernels that count how often interrupts were disabled have that count below the others.
    const HARDIRQ_AND_NMI_ABOVE_DISABLED: u32 = 0x1f << 24;

    let counts_disabled = compat::ksym_exists("local_interrupt_disable_state").unwrap_or(false);
    SOFTIRQ_OFFSET | if counts_disabled { HARDIRQ_AND_NMI_ABOVE_DISABLED } else { HARDIRQ_AND_NMI }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(waker: u32, wakee: u32, count: u32) -> intf::vnuma_wakeup_pair {
        intf::vnuma_wakeup_pair { waker, wakee, count, seen_at: 0 }
    }

    #[test]
    fn each_reading_has_what_is_new_and_a_place_may_be_taken_over() {
        let mut seen = Seen::new();
        let mut read = |cpu, pairs: &[intf::vnuma_wakeup_pair]| {
            let mut counts = Vec::new();
            add_news(&mut seen, cpu, pairs, &mut counts);
            counts.iter().map(|count| (count.waker, count.wakee, count.count)).collect::<Vec<_>>()
        };
        assert_eq!(read(0, &[pair(7, 8, 2), pair(0, 0, 0)]), [(7, 8, 32)]);
        assert_eq!(read(1, &[pair(7, 8, 1)]), [(7, 8, 16)], "another CPU's table");
        assert_eq!(read(0, &[pair(7, 8, 2), pair(0, 0, 0)]), []);
        assert_eq!(read(0, &[pair(7, 8, 5), pair(8, 7, 1)]), [(7, 8, 48), (8, 7, 16)]);
        assert_eq!(read(0, &[pair(9, 8, 6), pair(8, 7, 1)]), [(9, 8, 96)], "taken over");
        assert_eq!(read(0, &[pair(9, 8, 2)]), [(9, 8, 32)], "gone and come back");
    }
}
