//! Tells affinities that we have set from those that others have set.

use super::file::AffinityFile;
use super::undo_log::UndoLog;
use crate::linux::CpuSet;

/// Who has set an affinity to what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody: it is what it was when we first read it.
    Original,
    /// We, in this daemon or in an earlier one that was killed.
    Daemon,
    /// Someone else, since we first read it.
    Foreign,
}

impl Owner {
    /// The owner of a file's affinity, which is `now`. `None` if the log does not have the file.
    pub fn of(file: AffinityFile, now: &CpuSet, online: &CpuSet, log: &UndoLog) -> Option<Self> {
        let original = log.original.get(&file)?;
        // When all CPUs of an IRQ go offline, the kernel sets it to all online ones (kernel/irq/cpuhotplug.c).
        let is_fallback = || now == online && log.written.iter().any(|written| written.and(online).is_empty());
        Some(if now == original {
            Owner::Original
        } else if log.written.contains(now) || is_fallback() {
            Owner::Daemon
        } else {
            Owner::Foreign
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_affinity_is_the_original_one_or_one_that_we_wrote_or_foreign() {
        let mut log = UndoLog::default();
        log.original.insert(AffinityFile::Irq(4), [0, 1].into());
        log.written.insert([3].into());
        let owner = |irq, now: &[u32], online: &[u32]| {
            let [now, online] = [now, online].map(|cpus| cpus.iter().copied().collect::<CpuSet>());
            Owner::of(AffinityFile::Irq(irq), &now, &online, &log)
        };
        assert_eq!(owner(4, &[0, 1], &[0, 1, 2, 3]), Some(Owner::Original));
        assert_eq!(owner(4, &[3], &[0, 1, 2, 3]), Some(Owner::Daemon));
        assert_eq!(owner(4, &[2], &[0, 1, 2, 3]), Some(Owner::Foreign));
        assert_eq!(owner(4, &[0, 1, 2], &[0, 1, 2]), Some(Owner::Daemon), "CPU 3 went offline");
        assert_eq!(owner(4, &[0, 1, 2], &[0, 1, 2, 3]), Some(Owner::Foreign));
        assert_eq!(owner(5, &[3], &[0, 1, 2, 3]), None);
    }
}
