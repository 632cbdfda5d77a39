//! Memory of the nodes and of the work: a thread that reads it, for which no round waits.
//!
//! - [`free`]: what a node has for more work.
//! - [`numa_maps`]: where a process's pages are.
//!
//! The kernel counts a process's pages by walking its page tables, 13 ms for each GiB in pages of 4 KiB, and meanwhile nobody changes
//! the process's mappings. So the thread takes at most a hundredth of the CPU time that the work itself has used, reads processes in
//! turn, none more often than each half a minute, and very large ones not at all. Only free memory is read in any case, every 10 s.
//!
//! What of its memory a process *uses* is not read: clearing its accessed bits (`clear_refs`) holds its memory map for writing and
//! misleads reclaim, idle page tracking is missing in distributions' kernels, and DAMON has one user at a time. Where hosts count
//! pages ([`dsm`](super::dsm)), a policy learns it from what a move fetches.

mod free;
mod numa_maps;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cell::{CellView, NodeId, Resident};
use crate::linux;
use crate::linux::clock::thread_cpu_time;
use crate::work::Groups;

/// Time between two readings, as long as there is CPU time for them.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Free memory is read at least this often, whatever the work used: 20 us for a node.
const FREE_EVERY: Duration = Duration::from_secs(10);
/// A process is read again after this time…
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// …and one that was moved after this.
const AGAIN_AFTER_MOVE: Duration = Duration::from_secs(5);
/// Watermarks change with hotplug and by hand.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Processes with less memory cost next to nothing to move.
const RESIDENT_MIN_BYTES: u64 = 1 << 20;
/// To read more takes longer than a process may be kept from changing its mappings.
const RESIDENT_MAX_BYTES: u64 = 16 << 30;
/// Of the work's CPU time.
const SHARE_OF_WORK: u32 = 100;
/// CPU time for the first reading, and the most that is saved up.
const FIRST_CPU: Duration = Duration::from_millis(10);
const SAVED_CPU_MAX: Duration = Duration::from_secs(1);

/// The thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("starting the thread that reads the nodes' memory: {0}; raise RLIMIT_NPROC and RLIMIT_MEMLOCK, or use another --policy")]
pub struct MemoryWatchError(io::Error);

/// What is known of memory at one moment.
#[derive(Clone, Debug, Default)]
pub struct MemoryFound {
    /// Memory of each node for more work, in bytes.
    pub free_bytes: BTreeMap<NodeId, u64>,
    /// Bytes of each process by node.
    pub resident: HashMap<u32, Arc<BTreeMap<NodeId, u64>>>,
}

/// The thread, which ends when this is dropped.
pub struct MemoryWatch {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when the thread is to stop.
    wakeup: Condvar,
}

#[derive(Default)]
struct State {
    /// The processes that ran in the last round and have memory worth reading, and how much that is, in bytes.
    processes: Vec<(u32, u64)>,
    /// CPU time that the work has used.
    used: Duration,
    /// Processes that were moved since the thread last looked.
    moved: Vec<u32>,
    found: Arc<MemoryFound>,
    must_stop: bool,
}

impl MemoryWatch {
    /// Start the thread, which reads these nodes.
    ///
    /// # Errors
    ///
    /// The system starts no thread.
    pub fn start(nodes: Vec<NodeId>) -> Result<Self, MemoryWatchError> {
        const STACK_BYTES: usize = 128 << 10;

        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        // Not joined: it may be in a system call that waits for a process's memory map.
        linux::thread::spawn("residence", STACK_BYTES, move || theirs.run(&nodes)).map_err(MemoryWatchError)?;
        Ok(MemoryWatch { shared })
    }

    /// Tell the thread which groups of a view ran, and what they used in its window.
    pub fn note(&self, view: &CellView, groups: &Groups, window: Duration) {
        let is_worth_it = |bytes: f64| (RESIDENT_MIN_BYTES as f64..=RESIDENT_MAX_BYTES as f64).contains(&bytes);
        let mut processes = Vec::new();
        for group in view.groups.iter().filter(|group| is_worth_it(group.demand.memory_bytes)) {
            let Some(members) = groups.get(group.id) else { continue };
            let bytes_each = (group.demand.memory_bytes / members.tgids.len().max(1) as f64) as u64;
            processes.extend(members.tgids.iter().map(|&tgid| (tgid, bytes_each)));
        }
        let used_cpus: f64 = view.groups.iter().map(|group| group.demand.usage_cpus).sum();
        let mut state = self.shared.state();
        state.processes = processes;
        state.used += window.mul_f64(used_cpus.max(0.0));
    }

    /// Tell the thread that a process was moved.
    pub fn note_moved(&self, tgid: u32) {
        self.shared.state().moved.push(tgid);
    }

    /// What is known now. The same [`Arc`] until more is known.
    pub fn found(&self) -> Arc<MemoryFound> {
        self.shared.state().found.clone()
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.shared.state().must_stop = true;
        self.shared.wakeup.notify_one();
    }
}

impl MemoryFound {
    /// Add what is known to a view.
    pub fn add_to(&self, view: &mut CellView, groups: &Groups) {
        for node in &mut view.nodes {
            node.free_bytes = self.free_bytes.get(&node.id).map(|&bytes| bytes as f64);
        }
        let resident = |group: &crate::cell::Group| {
            let mut bytes: BTreeMap<NodeId, f64> = BTreeMap::new();
            for process in groups.get(group.id)?.tgids.iter().filter_map(|tgid| self.resident.get(tgid)) {
                process.iter().for_each(|(&node, &of_process)| *bytes.entry(node).or_default() += of_process as f64);
            }
            (!bytes.is_empty()).then_some(Resident { group: group.id, bytes })
        };
        view.residents = view.groups.iter().filter_map(resident).collect();
        view.residents.sort_unstable_by_key(|resident| resident.group);
    }
}

/// Which process is read next: those never read, then those read longest ago.
#[derive(Debug, Default)]
struct Turns {
    due: HashMap<u32, Instant>,
}

impl Turns {
    /// The process that is due for the longest time, if any is. Processes that are not among these are forgotten.
    fn next(&mut self, processes: &[(u32, u64)], now: Instant) -> Option<(u32, u64)> {
        if self.due.len() > 2 * processes.len() {
            let lives: std::collections::HashSet<u32> = processes.iter().map(|&(tgid, _)| tgid).collect();
            self.due.retain(|tgid, _| lives.contains(tgid));
        }
        let due = |&process: &(u32, u64)| (self.due.get(&process.0).copied(), process);
        let (due, process) = processes.iter().map(due).min()?;
        due.is_none_or(|due| due <= now).then_some(process)
    }

    fn note_read(&mut self, tgid: u32, now: Instant) {
        self.due.insert(tgid, now + AGAIN_AFTER);
    }

    fn note_moved(&mut self, tgid: u32, now: Instant) {
        if let Some(due) = self.due.get_mut(&tgid) {
            *due = (*due).min(now + AGAIN_AFTER_MOVE);
        }
    }
}

/// How long it takes to read a process, by those that were read last.
struct Pace {
    ns_per_byte: f64,
}

impl Pace {
    /// As measured: 13 ms for a GiB.
    const fn new() -> Self {
        Pace { ns_per_byte: 13e6 / (1u64 << 30) as f64 }
    }

    /// CPU time that a process of this size will take. More than can be saved up is no reason not to read it at all.
    fn expected(&self, bytes: u64) -> Duration {
        Duration::from_nanos((self.ns_per_byte * bytes as f64) as u64).min(SAVED_CPU_MAX)
    }

    fn note(&mut self, bytes: u64, took: Duration) {
        self.ns_per_byte += 0.5 * (took.as_nanos() as f64 / bytes.max(1) as f64 - self.ns_per_byte);
    }
}

/// CPU time that may be used, of which the thread's own since it started counts.
fn saved(used_by_work: Duration, own: Duration, forgone: &mut Duration) -> Duration {
    let earned = FIRST_CPU + used_by_work / SHARE_OF_WORK;
    let saved = earned.saturating_sub(own + *forgone);
    // What wasn't used while there was nothing to read is not made up for.
    *forgone += saved.saturating_sub(SAVED_CPU_MAX);
    saved.min(SAVED_CPU_MAX)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, nodes: &[NodeId]) {
        let (mut turns, mut pace, mut forgone) = (Turns::default(), Pace::new(), Duration::ZERO);
        let (mut kept, mut kept_at, mut read_at) = (BTreeMap::new(), None::<Instant>, None::<Instant>);
        loop {
            let (processes, used, moved) = {
                let mut state = self.state();
                (state.processes.clone(), state.used, std::mem::take(&mut state.moved))
            };
            let now = Instant::now();
            moved.into_iter().for_each(|tgid| turns.note_moved(tgid, now));
            let has_time = |forgone: &mut Duration| !saved(used, thread_cpu_time(), forgone).is_zero();
            if has_time(&mut forgone) || read_at.is_none_or(|at| at.elapsed() >= FREE_EVERY) {
                read_at = Some(now);
                if kept_at.is_none_or(|at| at.elapsed() >= KEPT_FOR) {
                    kept = free::kept(&std::fs::read_to_string("/proc/zoneinfo").unwrap_or_default());
                    kept_at = Some(now);
                }
                let free_bytes = free::free_by_node(Path::new("/sys/devices/system/node"), &kept, nodes);
                let mut resident = self.state().found.resident.clone();
                while let Some((tgid, bytes)) = turns.next(&processes, now) {
                    let began = thread_cpu_time();
                    if saved(used, began, &mut forgone) < pace.expected(bytes) {
                        break;
                    }
                    turns.note_read(tgid, now);
                    match numa_maps::bytes_by_node(tgid) {
                        Ok(bytes) => resident.insert(tgid, Arc::new(bytes)),
                        // It has ended.
                        Err(_) => resident.remove(&tgid),
                    };
                    pace.note(bytes, thread_cpu_time() - began);
                }
                resident.retain(|tgid, _| turns.due.contains_key(tgid));
                self.state().found = Arc::new(MemoryFound { free_bytes, resident });
            }
            if !self.pause() {
                return;
            }
        }
    }

    /// Wait. Returns false if the thread is to stop.
    fn pause(&self) -> bool {
        let goes_on = |state: &mut State| !state.must_stop;
        let waited = self.wakeup.wait_timeout_while(self.state(), READ_EVERY, goes_on);
        !waited.unwrap_or_else(PoisonError::into_inner).0.must_stop
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_cell::{cell, group, node};
    use crate::work::{policy, test_task, Grouping, TaskRecord};

    fn groups(grouping: Grouping) -> Groups {
        let task = |tgid: i32, cgroup_id: u64| TaskRecord { policy: policy::EXT, cgroup_id, ..test_task(tgid, "t") };
        Groups::of(&[task(7, 1), task(8, 1), task(9, 2)], grouping)
    }

    #[test]
    fn a_view_is_told_of_free_memory_and_of_the_memory_of_groups_that_is_known() {
        let of = |bytes: &[(u32, u64)]| Arc::new(bytes.iter().map(|&(node, b)| (NodeId(node), b)).collect());
        let found = MemoryFound {
            free_bytes: [(NodeId(0), 100), (NodeId(5), 7)].into(),
            resident: [(7, of(&[(0, 10), (5, 1)])), (8, of(&[(5, 4)])), (1000, of(&[(0, 1)]))].into(),
        };
        let view = |ids: &[u64], grouping| {
            let nodes = vec![node(0, 1.0, 0.0), node(3, 1.0, 0.0), node(5, 1.0, 0.0)];
            let mut view = cell(nodes, ids.iter().map(|&id| group(id, 0, 0.5)).collect());
            found.add_to(&mut view, &groups(grouping));
            assert_eq!(view.check(), Ok(()));
            view
        };
        let processes = view(&[7, 8, 9], Grouping::Process);
        assert_eq!(
            processes.nodes.iter().map(|node| node.free_bytes).collect::<Vec<_>>(),
            [Some(100.0), None, Some(7.0)]
        );
        let known =
            |view: &CellView| view.residents.iter().map(|it| (it.group.0, it.bytes.clone())).collect::<Vec<_>>();
        let bytes = |bytes: &[(u32, f64)]| bytes.iter().map(|&(node, b)| (NodeId(node), b)).collect::<BTreeMap<_, _>>();
        assert_eq!(known(&processes), [(7, bytes(&[(0, 10.0), (5, 1.0)])), (8, bytes(&[(5, 4.0)]))]);
        assert_eq!(known(&view(&[1, 2], Grouping::Cgroup)), [(1, bytes(&[(0, 10.0), (5, 5.0)]))]);
    }

    #[test]
    fn processes_are_read_in_turn_and_sooner_after_a_move() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        let next = |turns: &mut Turns, processes: &[u32], s| {
            let processes: Vec<(u32, u64)> = processes.iter().map(|&tgid| (tgid, 1)).collect();
            turns.next(&processes, at(s)).map(|(tgid, _)| {
                turns.note_read(tgid, at(s));
                tgid
            })
        };
        let read = |turns: &mut Turns, s| std::iter::from_fn(|| next(turns, &[7, 8], s)).collect::<Vec<_>>();
        assert_eq!(read(&mut turns, 0), [7, 8]);
        assert!(read(&mut turns, 29).is_empty());
        turns.note_moved(8, at(29));
        turns.note_moved(1000, at(29));
        assert_eq!(read(&mut turns, 30), [7, 8]);
        turns.note_moved(8, at(31));
        assert!(read(&mut turns, 35).is_empty());
        assert_eq!(read(&mut turns, 36), [8]);
        assert_eq!(next(&mut turns, &[9], 40), Some(9));
        next(&mut turns, &[9], 41);
        assert_eq!(turns.due.len(), 1, "those that have ended are forgotten");
    }

    #[test]
    fn reading_takes_a_hundredth_of_the_works_time_and_what_was_not_used_is_forgone() {
        let (ms, mut forgone) = (Duration::from_millis, Duration::ZERO);
        assert_eq!(saved(ms(0), ms(0), &mut forgone), FIRST_CPU);
        assert_eq!(saved(ms(0), ms(12), &mut forgone), ms(0));
        assert_eq!(saved(ms(1000), ms(12), &mut forgone), ms(8));
        assert_eq!(saved(ms(1_000_000), ms(10), &mut forgone), ms(1000));
        assert_eq!(saved(ms(1_000_000), ms(510), &mut forgone), ms(500));
        assert_eq!(saved(ms(1_000_000), ms(1010), &mut forgone), ms(0));
        assert_eq!(saved(ms(1_100_000), ms(1010), &mut forgone), ms(1000), "a hundredth of what came since");
    }

    #[test]
    fn a_process_is_read_once_there_is_time_for_all_of_it() {
        let mut pace = Pace::new();
        assert_eq!(pace.expected(1 << 30).as_millis(), 13);
        (0..10).for_each(|_| pace.note(1 << 20, Duration::from_millis(5)));
        assert_eq!(pace.expected(2 << 20).as_millis(), 9, "a slower machine");
        assert_eq!(pace.expected(16 << 30), SAVED_CPU_MAX);
    }

    #[test]
    fn the_thread_finds_this_machines_nodes_and_this_process() {
        if !Path::new("/sys/devices/system/node/node0/meminfo").exists() {
            eprintln!("skipped: this machine's kernel has no /sys/devices/system/node");
            return;
        }
        let own = std::process::id();
        let tasks = [TaskRecord { policy: policy::EXT, ..test_task(own as i32, "t") }];
        let groups = Groups::of(&tasks, Grouping::Process);
        let mut view = cell(vec![node(0, 1.0, 0.0)], vec![group(own.into(), 0, 1.0)]);
        view.groups[0].demand.memory_bytes = 1e8;
        let watch = MemoryWatch::start(vec![NodeId(0)]).unwrap();
        watch.note(&view, &groups, Duration::from_secs(100));
        let began = Instant::now();
        while watch.found().resident.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(10));
        }
        watch.found().add_to(&mut view, &groups);
        assert!(view.nodes[0].free_bytes.is_some_and(|bytes| bytes > 1e6), "{:?}", view.nodes);
        assert!(view.residents[0].bytes[&NodeId(0)] > 1e6, "{:?}", view.residents);
        let shared = Arc::downgrade(&watch.shared);
        drop(watch);
        while shared.strong_count() > 0 {
            assert!(began.elapsed() < Duration::from_secs(30), "the thread is still running");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
