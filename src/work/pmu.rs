//! Cache misses and instructions of threads, counted by the guest's PMU if it has one.

use std::io;

use perf_event::events::{Cache, CacheId, CacheOp, CacheResult, Hardware};
use perf_event::{Builder, Counter};

/// Event counts of one or more threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Memory accesses that missed the cache.
    pub misses: u64,
    /// Instructions retired.
    pub instructions: u64,
}

impl Counts {
    /// The sum of two counts.
    pub fn and(self, other: Counts) -> Counts {
        Counts { misses: self.misses + other.misses, instructions: self.instructions + other.instructions }
    }

    /// The difference to an earlier count.
    pub fn since(self, earlier: Counts) -> Counts {
        Counts {
            misses: self.misses.saturating_sub(earlier.misses),
            instructions: self.instructions.saturating_sub(earlier.instructions),
        }
    }

    /// Misses per instruction; `None` if no instruction was counted.
    pub fn misses_per_instruction(self) -> Option<f64> {
        (self.instructions > 0).then(|| self.misses as f64 / self.instructions as f64)
    }
}

/// Opens counters for threads.
pub trait CountsThreads {
    /// Counts until it is dropped.
    type Counter: ThreadCounter;

    /// Start counting a thread and all threads that it will create in its process.
    fn open(&self, tid: i32) -> io::Result<Self::Counter>;
}

/// The counter of one thread.
pub trait ThreadCounter {
    /// Counts since the counter was opened.
    fn read(&mut self) -> io::Result<Counts>;
}

/// The events to count.
#[derive(Clone, Copy)]
struct Events {
    name: &'static str,
    misses: fn() -> Builder<'static>,
    instructions: fn() -> Builder<'static>,
}

/// Last-level cache misses, which not every PMU can count.
const LAST_LEVEL: Events = Events {
    name: "last-level cache misses per instruction",
    misses: || Builder::new(Cache { which: CacheId::LL, operation: CacheOp::READ, result: CacheResult::MISS }),
    instructions: || Builder::new(Hardware::INSTRUCTIONS),
};

/// The kernel's generic cache miss event, which every PMU has: mostly the same event.
const GENERIC: Events =
    Events { name: "cache misses per instruction", misses: || Builder::new(Hardware::CACHE_MISSES), ..LAST_LEVEL };

/// The PMU, through perf_event_open(2).
pub struct Pmu {
    events: Events,
}

/// Why cache misses can't be counted.
#[derive(Debug, thiserror::Error)]
pub enum NoPmu {
    /// There is no PMU, or it lacks these events.
    #[error("the guest's CPUs can't count cache misses ({0}); enable a virtual PMU in its hypervisor")]
    Missing(io::Error),
    /// The kernel refuses access, so there may be a PMU.
    #[error("the kernel refuses to count cache misses ({0}); kernel.perf_event_paranoid or lockdown forbids it")]
    Refused(io::Error),
    /// The hypervisor advertises a PMU but doesn't run it.
    #[error("the guest's PMU counts nothing; its hypervisor advertises it but doesn't run it")]
    CountsNothing,
    /// Anything else, such as a kernel without CONFIG_PERF_EVENTS.
    #[error("counting cache misses fails: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for NoPmu {
    fn from(err: io::Error) -> Self {
        match err.raw_os_error() {
            Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => NoPmu::Missing(err),
            Some(libc::EACCES | libc::EPERM) => NoPmu::Refused(err),
            _ => NoPmu::Failed(err),
        }
    }
}

impl Pmu {
    /// Find a PMU that counts: last-level cache misses if possible, otherwise generic ones.
    pub fn find() -> Result<Self, NoPmu> {
        Pmu::that_counts(LAST_LEVEL).or_else(|_| Pmu::that_counts(GENERIC))
    }

    /// The quantity in words, for the log.
    pub fn name(&self) -> &'static str {
        self.events.name
    }

    fn that_counts(events: Events) -> Result<Self, NoPmu> {
        const THIS_THREAD: i32 = 0;
        const SOME: u32 = 100_000;

        let pmu = Pmu { events };
        let mut own = pmu.open(THIS_THREAD)?;
        for nr in 0..SOME {
            std::hint::black_box(nr);
        }
        match own.read()?.instructions {
            0 => Err(NoPmu::CountsNothing),
            _ => Ok(pmu),
        }
    }
}

/// Two counters in one perf group: they are scheduled together, so their ratio is right even if others use the PMU too.
#[derive(Debug)]
pub struct PmuCounter {
    misses: Counter,
    instructions: Counter,
}

impl CountsThreads for Pmu {
    type Counter = PmuCounter;

    fn open(&self, tid: i32) -> io::Result<PmuCounter> {
        let counting = |mut builder: Builder<'static>| {
            // Threads inherit the counter, forked processes don't.
            builder.observe_pid(tid).inherit(true).inherit_thread(true).include_kernel().enabled(true);
            builder
        };
        let mut misses = counting((self.events.misses)()).build()?;
        let instructions = counting((self.events.instructions)()).build_with_group(&mut misses)?;
        Ok(PmuCounter { misses, instructions })
    }
}

impl ThreadCounter for PmuCounter {
    fn read(&mut self) -> io::Result<Counts> {
        Ok(Counts { misses: self.misses.read()?, instructions: self.instructions.read()? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use perf_event::events::Software;

    use super::*;

    /// Software events, which the kernel counts without a PMU through the same calls.
    const FAULTS_AND_NS: Events = Events {
        name: "page faults per ns",
        misses: || Builder::new(Software::PAGE_FAULTS),
        instructions: || Builder::new(Software::TASK_CLOCK),
    };

    const NR_PAGES: usize = 500;

    fn fault() {
        const PAGE_LEN: usize = 4096;
        // SAFETY: a new anonymous mapping, checked, written within its bounds, and unmapped before anything else refers
        // to it.
        unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let pages = libc::mmap(std::ptr::null_mut(), NR_PAGES * PAGE_LEN, access, kind, -1, 0);
            assert_ne!(pages, libc::MAP_FAILED);
            // A huge page would take a single fault.
            libc::madvise(pages, NR_PAGES * PAGE_LEN, libc::MADV_NOHUGEPAGE);
            (0..NR_PAGES).for_each(|nr| pages.cast::<u8>().add(nr * PAGE_LEN).write_volatile(1));
            libc::munmap(pages, NR_PAGES * PAGE_LEN);
        }
    }

    /// A counter of another thread, or `None` where the kernel allows no counters at all, as in some containers.
    fn counter_of(tid: i32) -> Option<PmuCounter> {
        match (Pmu { events: FAULTS_AND_NS }).open(tid) {
            Ok(counter) => Some(counter),
            Err(err) if matches!(err.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::ENOSYS)) => None,
            Err(err) => panic!("{err}"),
        }
    }

    #[test]
    fn a_thread_is_counted_with_those_it_creates_and_no_other() {
        let ((tid_tx, tid_rx), (go, gone), (end, ended)) = (mpsc::channel(), mpsc::channel(), mpsc::channel::<()>());
        let counted = thread::spawn(move || {
            // SAFETY: no pointers.
            tid_tx.send(unsafe { libc::syscall(libc::SYS_gettid) } as i32).unwrap();
            // The channel closes if the test can't count here.
            let Ok(()) = gone.recv() else { return };
            thread::spawn(fault).join().unwrap();
            tid_tx.send(0).unwrap();
            ended.recv().unwrap();
        });
        let Some(mut counter) = counter_of(tid_rx.recv().unwrap()) else { return };
        fault();
        let before = counter.read().unwrap();
        assert!(before.misses < NR_PAGES as u64, "another thread's faults: {before:?}");
        go.send(()).unwrap();
        tid_rx.recv().unwrap();
        let new = counter.read().unwrap().since(before);
        assert!(new.misses >= NR_PAGES as u64 && new.instructions > 0, "{new:?}");
        end.send(()).unwrap();
        counted.join().unwrap();
    }

    #[test]
    fn counting_a_missing_thread_is_not_mistaken_for_a_missing_pmu() {
        // Thread ids are below 2^22.
        let err = (Pmu { events: FAULTS_AND_NS }).open(1 << 23).unwrap_err();
        assert_ne!(err.raw_os_error(), Some(libc::ENOENT), "this error means that the PMU is missing: {err}");
    }

    #[test]
    fn a_pmu_is_found_or_its_absence_is_explained() {
        match Pmu::find() {
            Ok(pmu) => assert!(pmu.name().contains("cache misses per instruction")),
            Err(err) => assert!(err.to_string().contains("count"), "{err}"),
        }
    }

    #[test]
    fn each_refusal_names_its_cause() {
        for (errno, part) in [
            (libc::ENOENT, "hypervisor"),
            (libc::EOPNOTSUPP, "hypervisor"),
            (libc::ENODEV, "hypervisor"),
            (libc::EACCES, "perf_event_paranoid"),
            (libc::EPERM, "perf_event_paranoid"),
            (libc::ENOSYS, "fails"),
        ] {
            let why = NoPmu::from(io::Error::from_raw_os_error(errno)).to_string();
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(Counts { misses: 3, instructions: 0 }.misses_per_instruction(), None);
    }
}
