//! Who shares memory with whom: a thread that reads the sampled wakeups and the shared mappings, which no round waits for.
//!
//! Threads of a process share all of their memory, and are one group anyway. Between processes there are two signals. *Wakeups* are
//! the better one: each passes something on, so they say how often. *Mappings* say only that memory may be shared.

mod estimate;
mod mappings;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use estimate::ProcessLink;

use self::estimate::Estimates;
use self::mappings::Scan;
use crate::bpf::WakeupReader;
use crate::cell::{GroupId, Link};
use crate::linux;
use crate::linux::clock::thread_cpu_time;
use crate::work::Groups;

/// Time between two readings of the sampled wakeups.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Time between the beginnings of two scans of the shared mappings.
const SCAN_EVERY: Duration = Duration::from_secs(30);

/// A scan pauses for so long…
const SCAN_PAUSE: Duration = Duration::from_secs(1);
/// …after it has used so much CPU time: a hundredth of a CPU.
const SCAN_CPU: Duration = Duration::from_millis(10);

/// The thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("starting the thread that looks for shared memory: {0}; raise RLIMIT_NPROC and RLIMIT_MEMLOCK, or run with --no-links")]
pub struct SharingError(io::Error);

/// What is known of sharing at one moment.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Pairs of processes that share memory, in order of ids.
    pub links: Vec<ProcessLink>,
    /// CPU time that the thread has used so far.
    pub cpu_time: Duration,
}

/// The thread, which ends when this is dropped.
pub struct Sharing {
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
    /// The migratable processes, in order of id, as of the last round.
    processes: Arc<Vec<u32>>,
    found: Arc<Found>,
    must_stop: bool,
}

impl Sharing {
    /// Start the thread.
    pub fn start(reader: WakeupReader) -> Result<Self, SharingError> {
        const STACK_BYTES: usize = 128 << 10;

        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        // Not joined: it may be in a system call that waits for a process's memory map.
        linux::thread::spawn("sharing", STACK_BYTES, move || theirs.run(reader)).map_err(SharingError)?;
        Ok(Sharing { shared })
    }

    /// Tell the thread which processes are migratable now.
    pub fn note_processes(&self, groups: &Groups) {
        let mut processes: Vec<u32> = groups.iter().flat_map(|(_, members)| &members.tgids).copied().collect();
        processes.sort_unstable();
        let processes = Arc::new(processes);
        self.shared.state().processes = processes;
    }

    /// What is known now. The same [`Arc`] until more is known.
    pub fn found(&self) -> Arc<Found> {
        self.shared.state().found.clone()
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.shared.state().must_stop = true;
        self.shared.wakeup.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut reader: WakeupReader) {
        let mut estimates = Estimates::default();
        let (mut scan, mut scanned_at) = (None, None::<Instant>);
        let mut read_at = Instant::now();
        while self.pause(if scan.is_some() { SCAN_PAUSE } else { READ_EVERY }) {
            let processes = self.state().processes.clone();
            if read_at.elapsed() >= READ_EVERY {
                match reader.read() {
                    Ok(counts) => estimates.note_wakeups(&counts, read_at.elapsed().as_secs_f64()),
                    Err(err) => log::debug!("{err:#}"),
                }
                read_at = Instant::now();
            }
            if scan.is_none() && scanned_at.is_none_or(|at| at.elapsed() >= SCAN_EVERY) {
                scan = Some(Scan::of(&processes));
                scanned_at = Some(Instant::now());
            }
            if scan.as_mut().is_some_and(go_on) {
                estimates.note_mappings(scan.take().map(|scan| scan.shared()).unwrap_or_default());
            }
            let links = estimates.links(&processes);
            self.state().found = Arc::new(Found { links, cpu_time: thread_cpu_time() });
        }
    }

    /// Wait. Returns false if the thread is to stop.
    fn pause(&self, duration: Duration) -> bool {
        let goes_on = |state: &mut State| !state.must_stop;
        let waited = self.wakeup.wait_timeout_while(self.state(), duration, goes_on);
        !waited.unwrap_or_else(PoisonError::into_inner).0.must_stop
    }
}

/// Scan more processes, for as long as it may take. Returns true if none is left.
fn go_on(scan: &mut Scan) -> bool {
    let began = thread_cpu_time();
    while thread_cpu_time() - began < SCAN_CPU {
        if !scan.next() {
            return true;
        }
    }
    false
}

/// The links between groups that links of their processes make, for rounds of this length.
pub fn group_links(links: &[ProcessLink], groups: &Groups, interval: Duration) -> Vec<Link> {
    let link = |link: &ProcessLink| {
        let (a, b) = (groups.group_of(link.a)?, groups.group_of(link.b)?);
        Some(Link::new(a, b, link.pages_per_s() * interval.as_secs_f64()))
    };
    Link::sorted(links.iter().filter_map(link))
}

/// The signals of links between groups, summed over their processes.
pub fn group_signals(links: &[ProcessLink], groups: &Groups) -> HashMap<(GroupId, GroupId), ProcessLink> {
    let mut signals = HashMap::new();
    for link in links {
        let (Some(a), Some(b)) = (groups.group_of(link.a), groups.group_of(link.b)) else { continue };
        if a != b {
            let sum: &mut ProcessLink = signals.entry((a.min(b), a.max(b))).or_default();
            *sum = ProcessLink {
                wakeups_per_s: sum.wakeups_per_s + link.wakeups_per_s,
                shared_bytes: sum.shared_bytes + link.shared_bytes,
                ..*link
            };
        }
    }
    signals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{policy, test_task, Grouping, TaskRecord};

    fn groups(grouping: Grouping) -> Groups {
        let task = |tgid: i32, cgroup_id: u64| TaskRecord { policy: policy::EXT, cgroup_id, ..test_task(tgid, "t") };
        Groups::of(&[task(7, 1), task(8, 1), task(9, 2)], grouping)
    }

    #[test]
    fn links_of_processes_are_links_of_their_groups() {
        let link = |a, b, wakeups_per_s| ProcessLink { a, b, wakeups_per_s, ..ProcessLink::default() };
        let links = [link(7, 8, 100.0), link(7, 9, 10.0), link(8, 9, 20.0), link(9, 1000, 5.0)];
        let interval = Duration::from_millis(500);
        let pairs = |grouping| {
            let links = group_links(&links, &groups(grouping), interval);
            links.iter().map(|link| (link.a.0, link.b.0, link.pages_per_round)).collect::<Vec<_>>()
        };
        assert_eq!(
            pairs(Grouping::Process),
            [(7, 8, 1800.0), (7, 9, 180.0), (8, 9, 360.0)],
            "36 pages for each wakeup"
        );
        assert_eq!(pairs(Grouping::Cgroup), [(1, 2, 540.0)]);
        let signals = group_signals(&links, &groups(Grouping::Cgroup));
        assert_eq!((signals.len(), signals[&(GroupId(1), GroupId(2))].wakeups_per_s), (1, 30.0));
    }
}
