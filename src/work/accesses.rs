//! Memory accesses per instruction (MAI) of groups, by which `--order mai` picks them.
//!
//! Where the guest has a PMU, MAI is cache misses per instruction. Elsewhere page faults per second of CPU time replace
//! it. One order never mixes the two.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;

use super::pmu::{Counts, CountsThreads, NoPmu, Pmu, ThreadCounter};
use super::{Groups, TaskRecord};
use crate::cell::GroupId;

/// A counter takes two file descriptors, of the 1024 that a process has by default, and each reading interrupts the CPU
/// that runs the thread.
const COUNTERS_MAX: usize = 256;
/// If a process has more threads, only those that ran most are counted, with the threads that they create.
const COUNTERS_MAX_PER_PROCESS: usize = 16;

/// The MAI of the groups, or its substitute, updated each round.
pub struct Accesses(By);

enum By {
    Misses(Misses<Pmu>),
    Faults(Faults),
}

impl Accesses {
    /// Count with the PMU, if the guest has one.
    pub fn by_pmu() -> Result<Self, NoPmu> {
        Ok(Accesses(By::Misses(Misses::new(Pmu::find()?))))
    }

    /// Use page faults.
    pub fn by_faults() -> Self {
        Accesses(By::Faults(Faults::default()))
    }

    /// The quantity in words, for the log.
    pub fn name(&self) -> &'static str {
        match &self.0 {
            By::Misses(misses) => misses.pmu.name(),
            By::Faults(_) => "page faults per second of CPU time",
        }
    }

    /// Take a reading: once a round, with the guest's tasks and the groups that they form.
    pub fn look(&mut self, tasks: &[TaskRecord], groups: &Groups) {
        match &mut self.0 {
            By::Misses(misses) => misses.look(tasks, groups),
            By::Faults(faults) => faults.look(groups),
        }
    }

    /// The value of a group over the last round, in which it used `used_ns` of CPU time.
    pub fn of(&self, id: GroupId, used_ns: u64) -> f64 {
        match &self.0 {
            By::Misses(misses) => misses.of(id),
            By::Faults(faults) => faults.of(id, used_ns),
        }
    }
}

/// Page faults of the groups in the last round, from the kernel's cumulative counts.
#[derive(Default)]
struct Faults {
    so_far: HashMap<GroupId, u64>,
    new: HashMap<GroupId, u64>,
}

impl Faults {
    fn look(&mut self, groups: &Groups) {
        let so_far: HashMap<_, _> = groups.iter().map(|(id, members)| (id, members.nr_faults)).collect();
        // A new group's count covers its whole past, and how much of it belongs to this round is unknown.
        let new = |(&id, &now): (&GroupId, &u64)| Some((id, now.saturating_sub(*self.so_far.get(&id)?)));
        self.new = so_far.iter().filter_map(new).collect();
        self.so_far = so_far;
    }

    fn of(&self, id: GroupId, used_ns: u64) -> f64 {
        match used_ns {
            0 => 0.0,
            _ => self.new.get(&id).copied().unwrap_or(0) as f64 / (used_ns as f64 / 1e9),
        }
    }
}

/// Cache misses per instruction of the groups that ran, for those that have counters.
struct Misses<P: CountsThreads> {
    pmu: P,
    counted: HashMap<u32, Counted<P::Counter>>,
    /// Cumulative run time of each process at the last reading, ns.
    run_ns: HashMap<u32, u64>,
    per_instruction: HashMap<GroupId, f64>,
}

/// A process with counters.
struct Counted<C> {
    counters: Vec<C>,
    so_far: Counts,
}

/// A process's migratable threads.
#[derive(Default)]
struct Threads<'a> {
    tasks: Vec<&'a TaskRecord>,
    run_ns: u64,
}

impl<P: CountsThreads> Misses<P> {
    fn new(pmu: P) -> Self {
        Misses { pmu, counted: HashMap::new(), run_ns: HashMap::new(), per_instruction: HashMap::new() }
    }

    fn look(&mut self, tasks: &[TaskRecord], groups: &Groups) {
        let mut processes = HashMap::<u32, Threads<'_>>::new();
        for task in tasks.iter().filter(|task| task.is_migratable()) {
            let threads = processes.entry(task.tgid as u32).or_default();
            threads.tasks.push(task);
            threads.run_ns += task.run_ns;
        }
        self.counted.retain(|tgid, _| processes.contains_key(tgid));
        self.per_instruction = self.read(groups);
        self.count(&processes);
        self.run_ns = processes.iter().map(|(&tgid, threads)| (tgid, threads.run_ns)).collect();
    }

    /// Misses per instruction of each group since the last reading, from the counters that are open.
    fn read(&mut self, groups: &Groups) -> HashMap<GroupId, f64> {
        let mut new = HashMap::<GroupId, Counts>::new();
        for (&tgid, process) in &mut self.counted {
            let Some(id) = groups.group_of(tgid) else { continue };
            let sum = new.entry(id).or_default();
            *sum = sum.and(process.read_new());
        }
        new.into_iter().filter_map(|(id, counts)| Some((id, counts.misses_per_instruction()?))).collect()
    }

    /// Open counters for the processes that ran since the last reading, those that ran most first. When counters run
    /// out, close those of processes that did not run.
    fn count(&mut self, processes: &HashMap<u32, Threads<'_>>) {
        let ran = |(&tgid, threads): (&u32, &Threads<'_>)| {
            let before_ns = self.run_ns.get(&tgid).copied().unwrap_or(0);
            (tgid, threads.run_ns.saturating_sub(before_ns))
        };
        let busy: HashMap<u32, u64> = processes.iter().map(ran).filter(|(_, ran_ns)| *ran_ns > 0).collect();
        let mut new: Vec<_> = busy.iter().filter(|(tgid, _)| !self.counted.contains_key(tgid)).collect();
        new.sort_unstable_by_key(|&(&tgid, &ran_ns)| (Reverse(ran_ns), tgid));
        for (&tgid, _) in new {
            let Some(threads) = processes.get(&tgid) else { continue };
            let wanted = threads.tasks.len().min(COUNTERS_MAX_PER_PROCESS);
            if self.nr_counters() + wanted > COUNTERS_MAX {
                self.counted.retain(|tgid, _| busy.contains_key(tgid));
            }
            if self.nr_counters() + wanted > COUNTERS_MAX {
                return;
            }
            let counters = self.open(threads, wanted);
            if !counters.is_empty() {
                self.counted.insert(tgid, Counted { counters, so_far: Counts::default() });
            }
        }
    }

    fn nr_counters(&self) -> usize {
        self.counted.values().map(|process| process.counters.len()).sum()
    }

    fn open(&self, threads: &Threads<'_>, wanted: usize) -> Vec<P::Counter> {
        let mut tasks = threads.tasks.clone();
        tasks.sort_unstable_by_key(|task| Reverse(task.run_ns));
        let open = |task: &&TaskRecord| match self.pmu.open(task.tid) {
            Ok(counter) => Some(counter),
            Err(err) => {
                note_failure(task, &err);
                None
            }
        };
        tasks.iter().take(wanted).filter_map(open).collect()
    }

    /// A group without a reading counts as the one with the most accesses, so that it isn't picked before a group that
    /// is known to access less.
    fn of(&self, id: GroupId) -> f64 {
        let known = self.per_instruction.get(&id).copied();
        known.unwrap_or_else(|| self.per_instruction.values().copied().fold(0.0, f64::max))
    }
}

impl<C: ThreadCounter> Counted<C> {
    /// Counts since the last call. A counter that can't be read adds nothing.
    fn read_new(&mut self) -> Counts {
        let read = |counter: &mut C| counter.read().unwrap_or_default();
        let now = self.counters.iter_mut().map(read).fold(Counts::default(), Counts::and);
        let new = now.since(self.so_far);
        self.so_far = now;
        new
    }
}

fn note_failure(task: &TaskRecord, err: &io::Error) {
    // ESRCH: the thread has ended.
    if err.raw_os_error() != Some(libc::ESRCH) {
        log::debug!("task {} ({}) has no cache miss counter: {err}", task.tid, task.comm());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::super::policy;
    use super::super::{test_task, Grouping};
    use super::*;

    /// A round in which the groups had these numbers of faults.
    pub(crate) fn faults(new: impl IntoIterator<Item = (GroupId, u64)>) -> Accesses {
        Accesses(By::Faults(Faults { new: new.into_iter().collect(), ..Faults::default() }))
    }

    /// Returns the counts that a test sets, by thread. A thread without counts has ended.
    #[derive(Clone, Default)]
    struct FakePmu(Rc<RefCell<HashMap<i32, Counts>>>);

    struct FakeCounter(FakePmu, i32);

    impl CountsThreads for FakePmu {
        type Counter = FakeCounter;

        fn open(&self, tid: i32) -> io::Result<FakeCounter> {
            let mut counter = FakeCounter(self.clone(), tid);
            counter.read().map(|_| counter)
        }
    }

    impl ThreadCounter for FakeCounter {
        fn read(&mut self) -> io::Result<Counts> {
            let counts = self.0 .0.borrow().get(&self.1).copied();
            counts.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
        }
    }

    impl FakePmu {
        fn set(&self, tid: i32, misses: u64, instructions: u64) {
            self.0.borrow_mut().insert(tid, Counts { misses, instructions });
        }
    }

    /// A migratable thread that has run for `run_ns`.
    fn thread(tid: i32, tgid: i32, run_ns: u64) -> TaskRecord {
        TaskRecord { tgid, run_ns, policy: policy::EXT, ..test_task(tid, "t") }
    }

    fn look(misses: &mut Misses<FakePmu>, tasks: &[TaskRecord]) {
        misses.look(tasks, &Groups::of(tasks, Grouping::Process));
    }

    /// The processes with counters, in order of id.
    fn counted(misses: &Misses<FakePmu>) -> Vec<u32> {
        let mut tgids: Vec<u32> = misses.counted.keys().copied().collect();
        tgids.sort_unstable();
        tgids
    }

    #[test]
    fn a_groups_accesses_are_those_of_all_its_threads_in_the_round() {
        let pmu = FakePmu::default();
        for tid in [7, 8, 9] {
            pmu.set(tid, 0, 0);
        }
        let mut misses = Misses::new(pmu.clone());
        let tasks = |ms: u64| [thread(7, 7, ms), thread(8, 7, ms), thread(9, 9, ms)];
        look(&mut misses, &tasks(1));
        pmu.set(7, 10, 1000);
        pmu.set(8, 50, 1000);
        pmu.set(9, 1, 1000);
        look(&mut misses, &tasks(2));
        assert_eq!((misses.of(GroupId(7)), misses.of(GroupId(9))), (0.03, 0.001));
        pmu.set(7, 11, 1100);
        look(&mut misses, &tasks(3));
        assert_eq!(misses.of(GroupId(7)), 0.01, "this round's only");
    }

    #[test]
    fn a_group_of_unknown_accesses_is_not_picked_before_known_ones() {
        let pmu = FakePmu::default();
        pmu.set(7, 0, 0);
        pmu.set(8, 0, 0);
        let mut misses = Misses::new(pmu.clone());
        look(&mut misses, &[thread(7, 7, 1), thread(8, 8, 1)]);
        assert_eq!(misses.of(GroupId(7)), 0.0, "no group has a reading");
        pmu.set(7, 2, 100);
        pmu.set(8, 1, 100);
        look(&mut misses, &[thread(7, 7, 2), thread(8, 8, 2), thread(9, 9, 1)]);
        assert_eq!(misses.of(GroupId(9)), 0.02);
    }

    #[test]
    fn only_migratable_tasks_that_ran_are_counted_until_they_end() {
        let pmu = FakePmu::default();
        for tid in [7, 8, 9, 10] {
            pmu.set(tid, 0, 0);
        }
        let mut misses = Misses::new(pmu);
        let fixed = TaskRecord { policy: policy::NORMAL, ..thread(10, 10, 1) };
        look(&mut misses, &[thread(7, 7, 1), thread(8, 8, 0), thread(9, 9, 1), fixed]);
        assert_eq!(counted(&misses), [7, 9]);
        look(&mut misses, &[thread(7, 7, 1), thread(8, 8, 1)]);
        assert_eq!(counted(&misses), [7, 8]);
        look(&mut misses, &[thread(7, 7, 1), thread(11, 11, 1)]);
        assert_eq!(counted(&misses), [7], "11 ended before it could be counted");
    }

    #[test]
    fn counters_are_bounded_and_go_to_processes_that_run() {
        let pmu = FakePmu::default();
        let nr = COUNTERS_MAX as i32;
        (1..=nr + 50).for_each(|tid| pmu.set(tid, 0, 0));
        let mut misses = Misses::new(pmu);
        let first: Vec<_> = (1..=nr).map(|tid| thread(tid, tid, 1)).collect();
        look(&mut misses, &first);
        assert_eq!(misses.nr_counters(), COUNTERS_MAX);

        // All but 1 and 2 run on, and three new ones run; the new one that ran least gets no counter.
        let ran_on = first.iter().map(|task| TaskRecord { run_ns: if task.tid > 2 { 2 } else { 1 }, ..task.clone() });
        let new = [(nr + 1, 5), (nr + 2, 9), (nr + 3, 7)].map(|(tid, run_ns)| thread(tid, tid, run_ns));
        look(&mut misses, &ran_on.chain(new).collect::<Vec<_>>());
        assert_eq!(misses.nr_counters(), COUNTERS_MAX);
        let newest = [nr as u32 - 1, nr as u32, nr as u32 + 2, nr as u32 + 3];
        assert_eq!(counted(&misses)[COUNTERS_MAX - newest.len()..], newest);
    }

    #[test]
    fn in_a_process_with_many_threads_those_that_ran_most_are_counted() {
        let pmu = FakePmu::default();
        (1..=100).for_each(|tid| pmu.set(tid, 0, 0));
        let mut misses = Misses::new(pmu);
        look(&mut misses, &(1..=100).map(|tid| thread(tid, 1, tid as u64)).collect::<Vec<_>>());
        let mut tids: Vec<i32> = misses.counted[&1].counters.iter().map(|counter| counter.1).collect();
        tids.sort_unstable();
        assert_eq!(tids, (85..=100).collect::<Vec<_>>());
    }

    #[test]
    fn faults_are_per_cpu_time_of_the_round_and_a_new_group_has_none() {
        let mut accesses = Accesses::by_faults();
        let groups = |nr_faults| {
            let task = TaskRecord { nr_faults, ..thread(7, 7, 1) };
            Groups::of(&[task], Grouping::Process)
        };
        accesses.look(&[], &groups(1000));
        assert_eq!(accesses.of(GroupId(7), 500_000_000), 0.0);
        accesses.look(&[], &groups(1030));
        assert_eq!(accesses.of(GroupId(7), 500_000_000), 60.0, "30 faults in half a second");
        assert_eq!(accesses.of(GroupId(7), 0), 0.0);
    }
}
