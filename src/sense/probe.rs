//! Finds out how busy the host of an empty node is: an idle vCPU accrues no steal, so one is made to run for a moment.
//!
//! A thread for each node, bound to a CPU of it, runs at nice 19 in two ways, and the larger finding counts:
//!
//! - a *burst*, once a period, spins for a bounded time and sees others' turns: how much of the CPU it would have to share;
//! - a *glance*, often and at odd moments, spins hardly at all and sees whether somebody else has the CPU just then. Load
//!   that comes in bursts of a few ms leaves gaps that a burst of ours falls into; it is seen by how many glances meet it.
//!
//! It sleeps while other sources speak for its node. It is never SCHED_IDLE: when the daemon is killed, the last of its
//! threads takes down all that it had, and must not wait for good behind everyone else.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Nodes, Word};
use crate::bpf::StealReader;
use crate::cell::NodeId;

/// How much is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// How long a vCPU spins in a burst, not counting what is stolen from it meanwhile. All glances of a period together are
    /// as long.
    pub burst: Duration,
    /// The time from one burst on a node to the next.
    pub period: Duration,
}

/// In a period. Others that have the CPU for a sixth of the time escape all of them once in forty times.
const NR_GLANCES: u32 = 20;
/// A node isn't called idle on fewer.
const NR_GLANCES_MIN: usize = 10;

impl ProbeOptions {
    /// One burst a second.
    pub fn new(burst: Duration) -> Self {
        ProbeOptions { burst, period: Duration::from_secs(1) }
    }

    fn glance(&self) -> Duration {
        self.burst / NR_GLANCES
    }
}

/// The probes of all nodes. Dropping them ends their threads.
pub struct Probes {
    options: ProbeOptions,
    probes: BTreeMap<NodeId, (Arc<Shared>, JoinHandle<()>)>,
}

/// What a probe's thread shares with the rounds.
#[derive(Default)]
struct Shared {
    is_asked: AtomicBool,
    is_hurried: AtomicBool,
    is_over: AtomicBool,
    cpu_ns: AtomicU64,
    latest: Mutex<Option<Reading>>,
}

#[derive(Clone, Copy)]
struct Reading {
    /// `None` when the probe could not run.
    share: Option<f64>,
    began: Instant,
}

impl Shared {
    fn latest(&self) -> Option<Reading> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probes {
    /// One for each of `nodes` that has CPUs; all are asked, so that the first rounds know something.
    pub fn start(
        nodes: &Nodes,
        options: ProbeOptions,
        mut steal_reader: impl FnMut() -> Result<StealReader>,
    ) -> Result<Self> {
        /// Memory is locked, so a thread's stack is small.
        const STACK_LEN: usize = 64 << 10;

        let mut probes = BTreeMap::new();
        for (node, cpus) in nodes.iter().filter(|(_, cpus)| !cpus.is_empty()) {
            let shared = Arc::new(Shared { is_asked: AtomicBool::new(true), ..Shared::default() });
            let mut probe = Probe { cpus: cpus.to_vec(), options, steal: steal_reader()?, shared: shared.clone() };
            let thread = std::thread::Builder::new().name(format!("probe {node}")).stack_size(STACK_LEN);
            let thread = thread.spawn(move || probe.run()).context("starting a probe's thread")?;
            probes.insert(node, (shared, thread));
        }
        Ok(Probes { options, probes })
    }

    /// Probe this node from now on, or no longer.
    pub fn ask(&self, node: NodeId, wanted: bool) {
        let Some((shared, thread)) = self.probes.get(&node) else { return };
        if shared.is_asked.swap(wanted, Ordering::Relaxed) != wanted && wanted {
            thread.thread().unpark();
        }
    }

    /// What the probe of a node found; `None` without one, or when it has not been asked yet.
    pub fn word(&self, node: NodeId) -> Option<Word> {
        let (shared, _) = self.probes.get(&node)?;
        Some(match shared.latest() {
            Some(Reading { share: Some(share), began }) => {
                Word::Taken { share, age: began.elapsed(), period: self.options.period }
            }
            Some(Reading { share: None, .. }) | None => Word::Failed,
        })
    }

    /// A burst on all that are asked, at once; waits for them a little longer than they take where nobody is in their way.
    /// Returns the nodes that have not answered by then: others are.
    pub fn hurry(&self) -> Vec<NodeId> {
        let began = Instant::now();
        let asked = || self.probes.iter().filter(|(_, (shared, _))| shared.is_asked.load(Ordering::Relaxed));
        for (_, (shared, thread)) in asked() {
            shared.is_hurried.store(true, Ordering::Relaxed);
            thread.thread().unpark();
        }
        loop {
            let is_late = |shared: &Shared| shared.latest().is_none_or(|latest| latest.began < began);
            let late: Vec<_> = asked().filter(|(_, (shared, _))| is_late(shared)).map(|(&node, _)| node).collect();
            if late.is_empty() || began.elapsed() >= self.options.burst * 3 {
                return late;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// CPU time that probing has taken so far, of all nodes together.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.probes.values().map(|(shared, _)| shared.cpu_ns.load(Ordering::Relaxed)).sum())
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        for (shared, thread) in self.probes.values() {
            shared.is_over.store(true, Ordering::Relaxed);
            thread.thread().unpark();
        }
        for (_, thread) in std::mem::take(&mut self.probes).into_values() {
            // A probe that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

/// One node's probe, in its thread.
struct Probe {
    cpus: Vec<u32>,
    options: ProbeOptions,
    steal: StealReader,
    shared: Arc<Shared>,
}

impl Probe {
    fn run(&mut self) {
        while !self.shared.is_over.load(Ordering::Relaxed) {
            if self.shared.is_asked.load(Ordering::Relaxed) {
                self.watch();
                // What was found says nothing of the time in which something else spoke for the node.
                self.publish(None);
            } else {
                std::thread::park();
            }
        }
    }

    /// Until it is no longer asked.
    fn watch(&mut self) {
        /// Multiples of it are spread evenly over 0..1, and meet nothing that is periodic.
        const GOLDEN: f64 = 0.618_033_988_749_895;
        const LOWEST: libc::c_int = 19;

        let mut found = Found::new(self.options.period);
        let mut burst_due = Instant::now();
        let set_up = set_nice(LOWEST).and_then(|()| bind_to_one_of(&self.cpus));
        let mut failed = set_up.err();
        let mut nr_sleeps = 0.0_f64;
        while failed.is_none() && self.is_wanted() {
            let now = Instant::now();
            if self.shared.is_hurried.swap(false, Ordering::Relaxed) || now >= burst_due {
                burst_due = now + self.options.period;
                match self.burst() {
                    Ok(share) => found.burst(share),
                    Err(err) => failed = Some(err),
                }
            }
            self.publish(found.share().map(|share| Reading { share: Some(share), began: now }));
            nr_sleeps += 1.0;
            let gap = self.options.period / NR_GLANCES;
            match self.glance_after(gap.mul_f64(0.5 + (nr_sleeps * GOLDEN).fract())) {
                Ok(Some(share)) => found.glance(Instant::now(), share),
                Ok(None) => {}
                Err(err) => failed = Some(err),
            }
        }
        if let Some(err) = failed {
            log::debug!("a probe failed: {err}");
            self.publish(Some(Reading { share: None, began: Instant::now() }));
            std::thread::park_timeout(self.options.period);
        }
        // Without it the thread only ends later, should it have to.
        let _ = set_nice(0);
    }

    fn is_wanted(&self) -> bool {
        self.shared.is_asked.load(Ordering::Relaxed) && !self.shared.is_over.load(Ordering::Relaxed)
    }

    fn publish(&self, latest: Option<Reading>) {
        *self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner) = latest;
        self.shared.cpu_ns.store(thread_cpu_ns(), Ordering::Relaxed);
    }

    /// Spins until the burst has really run; how much of the CPU others take, 0..=1: as much as they got while we wanted it
    /// all, for each part that we got.
    ///
    /// Whoever wakes up runs first for a while, on a busy host too. Only one who goes on after that sees the others' turns.
    fn burst(&self) -> io::Result<f64> {
        let (stolen, ran) = self.spin(self.options.burst)?;
        Ok((stolen.as_secs_f64() / ran.as_secs_f64()).min(1.0))
    }

    /// Sleeps so long, then looks who has the CPU: others' share of the time until our moment is over, 0..=1. `None` when it
    /// was woken early, or lost its CPU.
    fn glance_after(&self, gap: Duration) -> io::Result<Option<f64>> {
        // Its CPU may have gone offline meanwhile.
        bind_to_one_of(&self.cpus)?;
        let cpu = current_cpu();
        let stolen_before_ns = self.steal.read_ns()?;
        let due = Instant::now() + gap;
        std::thread::park_timeout(gap);
        let late = Instant::now().saturating_duration_since(due);
        let stolen_ns = self.steal.read_ns()?.saturating_sub(stolen_before_ns);
        if late.is_zero() || !self.is_wanted() || current_cpu() != cpu {
            return Ok(None);
        }
        // Who else ran here while we slept may have been stolen from too.
        let waited = late.min(Duration::from_nanos(stolen_ns));
        let (stolen, ran) = self.spin(self.options.glance())?;
        let others = waited + stolen;
        Ok(Some(others.as_secs_f64() / (others + ran).as_secs_f64()))
    }

    /// Until so much has really run, or can't: what was stolen meanwhile, and what ran.
    fn spin(&self, wanted: Duration) -> io::Result<(Duration, Duration)> {
        /// A host that gives us less than a tenth of a CPU is as busy as can be.
        const TURNS_MAX: u32 = 10;
        const LOOK_EVERY: Duration = Duration::from_micros(500);

        let stolen_before_ns = self.steal.read_ns()?;
        let began = Instant::now();
        loop {
            let spin_until = began.elapsed() + LOOK_EVERY.min(wanted);
            while began.elapsed() < spin_until {
                std::hint::spin_loop();
            }
            let stolen = Duration::from_nanos(self.steal.read_ns()?.saturating_sub(stolen_before_ns));
            let wall = began.elapsed();
            if wall >= wanted + stolen || wall >= wanted * TURNS_MAX {
                return Ok((stolen, wall.saturating_sub(stolen)));
            }
        }
    }
}

/// What a probe has found of late.
struct Found {
    period: Duration,
    /// Of the last two: a burst is short, and what is busy by halves shows as all or nothing.
    bursts: [Option<f64>; 2],
    /// Of the last period, in order of time.
    glances: VecDeque<(Instant, f64)>,
}

impl Found {
    fn new(period: Duration) -> Self {
        Found { period, bursts: [None; 2], glances: VecDeque::new() }
    }

    fn burst(&mut self, share: f64) {
        self.bursts = [Some(share), self.bursts[0]];
    }

    fn glance(&mut self, at: Instant, share: f64) {
        self.glances.push_back((at, share));
        while self.glances.front().is_some_and(|&(earlier, _)| at.duration_since(earlier) > self.period) {
            self.glances.pop_front();
        }
    }

    /// How much others take, 0..=1; `None` while too little has been seen.
    fn share(&self) -> Option<f64> {
        if self.glances.len() < NR_GLANCES_MIN {
            return None;
        }
        let mean = self.glances.iter().map(|(_, share)| share).sum::<f64>() / self.glances.len() as f64;
        Some(self.bursts.iter().flatten().fold(mean, |worst, &share| worst.max(share)))
    }
}

/// Gives the calling thread a nice value.
fn set_nice(nice: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Binds this thread to the first of the CPUs that is online.
fn bind_to_one_of(cpus: &[u32]) -> io::Result<()> {
    let bind = |cpu: &u32| {
        // SAFETY: a bit mask, for which all bits 0 is valid; CPU_SET checks its bounds; the call only reads it.
        unsafe {
            let mut set = std::mem::zeroed::<libc::cpu_set_t>();
            if *cpu as usize >= libc::CPU_SETSIZE as usize {
                return false;
            }
            libc::CPU_SET(*cpu as usize, &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &set) == 0
        }
    };
    match cpus.iter().any(bind) {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

/// The CPU that this thread is on.
fn current_cpu() -> libc::c_int {
    // SAFETY: no arguments.
    unsafe { libc::sched_getcpu() }
}

fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time outlives the call, which fills it in; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_not_called_idle_after_a_few_glances() {
        let (start, mut found) = (Instant::now(), Found::new(Duration::from_secs(1)));
        found.burst(0.0);
        for nr in 0..NR_GLANCES_MIN as u32 {
            assert_eq!(found.share(), None, "after {nr} glances");
            found.glance(start + Duration::from_millis(50) * nr, 0.0);
        }
        assert_eq!(found.share(), Some(0.0));
    }

    #[test]
    fn a_host_that_a_burst_of_ours_missed_shows_by_the_glances_that_meet_it_in_the_last_period() {
        let (start, mut found) = (Instant::now(), Found::new(Duration::from_secs(1)));
        found.burst(0.0);
        (0..20).for_each(|nr| found.glance(start + Duration::from_millis(50) * nr, if nr < 5 { 1.0 } else { 0.0 }));
        assert_eq!(found.share(), Some(0.25));
        (20..40).for_each(|nr| found.glance(start + Duration::from_millis(50) * nr, 0.0));
        assert_eq!(found.share(), Some(0.0), "it is over");
    }

    #[test]
    fn the_worse_of_two_bursts_counts() {
        let (start, mut found) = (Instant::now(), Found::new(Duration::from_secs(1)));
        (0..20).for_each(|_| found.glance(start, 0.1));
        found.burst(0.5);
        found.burst(0.0);
        assert!(found.share().is_some_and(|share| (share - 0.5).abs() < 1e-9));
        found.burst(0.0);
        assert!(found.share().is_some_and(|share| (share - 0.1).abs() < 1e-9));
    }
}
