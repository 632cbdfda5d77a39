//! Measures how busy the host of an empty node is. An idle vCPU accrues no steal, so a probe makes one run for a
//! moment.
//!
//! Each node has a thread, bound to one of the node's CPUs, that spins once per period for a bounded time at nice 19
//! and reads its CPU's stolen time before and after. Before work moves to a node, all empty nodes are probed at once and
//! for longer, because bursty load leaves gaps.
//!
//! A probe sleeps while another source has readings of its node, except for the probe before a move: no other source is
//! as fresh. Its thread is never SCHED_IDLE: if the daemon is killed, the last of its threads to exit tears down
//! everything the process owned, and must not wait indefinitely behind other tasks.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender};

use super::{Nodes, Reading, Spin};
use crate::bpf::StealReader;
use crate::cell::NodeId;
use crate::linux::{self, affinity, clock, CpuSet};

/// How long and how often to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// CPU time that a vCPU spins for in each period, not counting stolen time.
    pub burst: Duration,
    /// Time between two probes of a node.
    pub period: Duration,
}

/// A node counts as busy from this share on. Less leaves room for work, which tells more than a probe, so that it is worth knowing
/// soon.
const BUSY_SHARE: f64 = 0.25;
/// Part of a period after which a first idle reading is confirmed by a second.
const CONFIRM_DIVISOR: u32 = 4;
/// Length of a probe before a move, in bursts.
const HURRIED_BURSTS: u32 = 3;

impl ProbeOptions {
    /// Probe with one burst per second.
    pub fn new(burst: Duration) -> Self {
        ProbeOptions { burst, period: Duration::from_secs(1) }
    }

    /// The time to the next probe after one that read `share`, and before it `before`. As the worse of two readings counts, a
    /// node that has become idle counts as busy until a second idle reading, which is taken soon.
    fn next_period(&self, before: Option<f64>, share: Option<f64>) -> Duration {
        let is_busy = |share: Option<f64>| share.is_some_and(|share| share >= BUSY_SHARE);
        match is_busy(before) && !is_busy(share) {
            true => self.period / CONFIRM_DIVISOR,
            false => self.period,
        }
    }
}

/// The probes of all nodes. Dropping them ends their threads.
pub struct Probes {
    options: ProbeOptions,
    probes: BTreeMap<NodeId, (Arc<Shared>, JoinHandle<()>)>,
    /// Holds a message if one has measured since it was last received.
    measured: Receiver<()>,
}

/// State that a probe's thread shares with the rounds.
#[derive(Default)]
struct Shared {
    is_asked: AtomicBool,
    must_refresh: AtomicBool,
    is_over: AtomicBool,
    tid: AtomicI32,
    cpu_ns: AtomicU64,
    latest: Mutex<Option<Measurement>>,
}

#[derive(Clone, Copy)]
struct Measurement {
    /// The worse of the last two; `None` if the probe could not run.
    share: Option<f64>,
    spin: Option<Spin>,
    began: Instant,
    /// Time until the next probe.
    period: Duration,
}

impl Shared {
    fn latest(&self) -> Option<Measurement> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, latest: Option<Measurement>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = latest;
    }
}

impl Probes {
    /// Start a probe for each of `nodes` that has CPUs. Those of `asked` begin at once, so that the first rounds have
    /// readings.
    pub fn start(
        nodes: &Nodes,
        asked: impl Fn(NodeId) -> bool,
        options: ProbeOptions,
        mut steal_reader: impl FnMut() -> Result<StealReader>,
    ) -> Result<Self> {
        const STACK_BYTES: usize = 64 << 10;

        let (has_measured, measured) = crossbeam_channel::bounded(1);
        let mut probes = BTreeMap::new();
        for (node, cpus) in nodes.iter().filter(|(_, cpus)| !cpus.is_empty()) {
            let shared = Arc::new(Shared { is_asked: AtomicBool::new(asked(node)), ..Shared::default() });
            let (steal, has_measured) = (steal_reader()?, has_measured.clone());
            let mut probe = Probe { cpus: cpus.clone(), options, steal, shared: shared.clone(), has_measured };
            let thread = linux::thread::spawn(format!("probe {node}"), STACK_BYTES, move || probe.run())
                .context("starting a probe's thread")?;
            probes.insert(node, (shared, thread));
        }
        Ok(Probes { options, probes, measured })
    }

    /// Start or stop the periodic probes of a node.
    pub fn ask(&self, node: NodeId, wanted: bool) {
        let Some((shared, thread)) = self.probes.get(&node) else { return };
        if shared.is_asked.swap(wanted, Ordering::Relaxed) != wanted && wanted {
            // Older readings are from before another source took over.
            shared.publish(None);
            thread.thread().unpark();
        }
    }

    /// The probe's last reading of a node; `None` without a probe. A probe that has measured nothing yet has failed.
    pub fn reading(&self, node: NodeId) -> Option<Reading> {
        let (shared, _) = self.probes.get(&node)?;
        Some(match shared.latest() {
            Some(Measurement { share: Some(share), spin, began, period }) => {
                Reading::Taken { share, age: began.elapsed(), period, spin }
            }
            Some(Measurement { share: None, .. }) | None => Reading::Failed,
        })
    }

    /// The last reading of a node that a probe before a move found busy, for a period. Where another source says what others take on
    /// average, this finds their bursts; forgotten, the probe would be repeated every round.
    pub fn found_busy(&self, node: NodeId) -> Option<Reading> {
        let is_busy = |reading: &Reading| match *reading {
            Reading::Taken { share, age, period, .. } => share >= BUSY_SHARE && age <= period,
            Reading::Failed => false,
        };
        self.reading(node).filter(is_busy)
    }

    /// Probe the wanted nodes at once and for longer, even if their periodic probes are off, and wait for the readings.
    /// The wait ends when a probe would be done on a CPU of which others get two thirds. Returns the nodes without a
    /// reading by then.
    pub fn refresh_now(&self, wanted: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let began = Instant::now();
        let until = began + self.options.burst * HURRIED_BURSTS * 3;
        let hurried = || self.probes.iter().filter(|(&node, _)| wanted(node));
        for (_, (shared, thread)) in hurried() {
            shared.must_refresh.store(true, Ordering::Relaxed);
            thread.thread().unpark();
        }
        loop {
            let is_late = |shared: &Shared| shared.latest().is_none_or(|latest| latest.began < began);
            let late: Vec<_> = hurried().filter(|(_, (shared, _))| is_late(shared)).map(|(&node, _)| node).collect();
            if late.is_empty() || self.measured.recv_deadline(until).is_err() {
                return late;
            }
        }
    }

    /// Thread ids of the probes.
    pub fn threads(&self) -> Vec<i32> {
        self.probes.values().map(|(shared, _)| shared.tid.load(Ordering::Relaxed)).collect()
    }

    /// CPU time that all probes have used so far.
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
            // A probe that panicked has already printed its message.
            let _ = thread.join();
        }
    }
}

/// The probe of one node, in its own thread.
struct Probe {
    cpus: CpuSet,
    options: ProbeOptions,
    steal: StealReader,
    shared: Arc<Shared>,
    has_measured: Sender<()>,
}

impl Probe {
    fn run(&mut self) {
        // SAFETY: no arguments.
        self.shared.tid.store(unsafe { libc::gettid() }, Ordering::Relaxed);
        let mut before = None;
        while !self.shared.is_over.load(Ordering::Relaxed) {
            let is_asked = self.shared.is_asked.load(Ordering::Relaxed);
            let must_refresh = self.shared.must_refresh.swap(false, Ordering::Relaxed);
            if !is_asked {
                before = None;
            }
            if !is_asked && !must_refresh {
                std::thread::park();
                continue;
            }
            let bursts = if must_refresh { HURRIED_BURSTS } else { 1 };
            let began = Instant::now();
            let spin = bind_to_one_of(&self.cpus).and_then(|()| self.spin_at_lowest_priority(bursts));
            let spin = spin.inspect_err(|err| log::debug!("a probe failed: {err}")).ok();
            let share = spin.map(|spin| spin.share);
            // The larger of the last two readings counts: a burst is short, so a host that is busy half the time reads
            // as all or nothing. A probe before a move is longer and more recent, so it counts alone.
            let before_too = before.filter(|_| !must_refresh).unwrap_or(0.0);
            let worse = share.map(|share: f64| share.max(before_too));
            let period = self.options.next_period(before, share);
            before = share;
            self.shared.publish(Some(Measurement { share: worse, spin, began, period }));
            // A full channel already holds such a message.
            let _ = self.has_measured.try_send(());
            self.shared.cpu_ns.store(clock::thread_cpu_time().as_nanos() as u64, Ordering::Relaxed);
            std::thread::park_timeout(period.saturating_sub(began.elapsed()));
        }
    }

    fn spin_at_lowest_priority(&self, bursts: u32) -> io::Result<Spin> {
        const LOWEST: libc::c_int = 19;
        set_nice(LOWEST)?;
        let outcome = self.spin(self.options.burst * bursts);
        set_nice(0)?;
        outcome
    }

    /// Spin until `wanted` of CPU time has really run, or until steal is evident. Returns the share of the CPU that
    /// others take, 0..=1: the time they got while this thread wanted the whole CPU, divided by the time this thread
    /// got, which comes along.
    ///
    /// A task that wakes up runs first for a while, even on a busy host. Only a spin that outlasts this sees others
    /// run.
    fn spin(&self, wanted: Duration) -> io::Result<Spin> {
        /// A host that gives us less than a tenth of a CPU counts as fully busy.
        const TURNS_MAX: u32 = 10;
        const LOOK_EVERY: Duration = Duration::from_micros(500);

        let stolen_before_ns = self.steal.read_ns()?;
        let cpu_before = clock::thread_cpu_time();
        let began = Instant::now();
        let mut seen = Seen::default();
        loop {
            let spin_until = began.elapsed() + LOOK_EVERY;
            while began.elapsed() < spin_until {
                std::hint::spin_loop();
            }
            let stolen = Duration::from_nanos(self.steal.read_ns()?.saturating_sub(stolen_before_ns));
            seen.look(began.elapsed(), clock::thread_cpu_time() - cpu_before, stolen);
            // Spinning on would only take more of what others need.
            let is_evident = stolen >= self.options.burst / 2 && seen.ran >= stolen;
            if is_evident || seen.ran >= wanted || seen.wall >= wanted * TURNS_MAX {
                return Ok(seen.spin(self.options.burst));
            }
        }
    }
}

/// What a spin has seen so far.
#[derive(Default)]
struct Seen {
    wall: Duration,
    cpu: Duration,
    stolen: Duration,
    /// Time in which the host is known to have run the vCPU.
    ran: Duration,
}

impl Seen {
    /// Add what has passed since the last look. A spin looks all the time, so if it seems to have run for long without a look, its
    /// vCPU stood still and the host doesn't say why: its own host may have been short of CPU, or have paused it. That is neither
    /// time that others took nor time that the vCPU got.
    fn look(&mut self, wall: Duration, cpu: Duration, stolen: Duration) {
        const STEP_MAX: Duration = Duration::from_millis(2);
        let not_stolen = (wall - self.wall).saturating_sub(stolen.saturating_sub(self.stolen));
        let stood_still = not_stolen.min(cpu.saturating_sub(self.cpu)).saturating_sub(STEP_MAX);
        self.ran += not_stolen - stood_still;
        (self.wall, self.cpu, self.stolen) = (wall, cpu, stolen);
    }

    fn spin(&self, burst: Duration) -> Spin {
        let ran_s = self.ran.as_secs_f64();
        Spin { share: (self.stolen.as_secs_f64() / ran_s).min(1.0), bursts: ran_s / burst.as_secs_f64() }
    }
}

/// Set the nice value of the calling thread.
fn set_nice(nice: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bind this thread to the first of `cpus` that is online.
fn bind_to_one_of(cpus: &CpuSet) -> io::Result<()> {
    let none = Err(io::Error::from(io::ErrorKind::NotFound));
    cpus.iter().fold(none, |outcome, cpu| outcome.or_else(|_| affinity::set(0, &[cpu].into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_idle_reading_of_a_busy_node_is_confirmed_soon() {
        let options = ProbeOptions::new(Duration::from_millis(10));
        let mut before = None;
        let mut after = |share| options.next_period(std::mem::replace(&mut before, share), share).as_millis();
        let readings = [0.9, 0.9, 0.0, 0.1, 0.3, 0.25, 0.2].map(Some);
        assert_eq!(readings.map(&mut after), [1000, 1000, 250, 1000, 1000, 1000, 250]);
        assert_eq!([None, Some(0.0)].map(after), [1000, 1000], "a probe that could not run says nothing");
    }

    #[test]
    fn time_in_which_a_spin_stood_still_is_neither_stolen_nor_run() {
        let ms = Duration::from_millis;
        // Each look: the wall, the thread's CPU time and the steal time since the last one, ms.
        let ran_after = |looks: &[(u64, u64, u64)]| {
            let (mut seen, mut sum) = (Seen::default(), (0, 0, 0));
            for look in looks {
                sum = (sum.0 + look.0, sum.1 + look.1, sum.2 + look.2);
                seen.look(ms(sum.0), ms(sum.1), ms(sum.2));
            }
            (seen.ran, seen.spin(ms(10)).share)
        };
        assert_eq!(ran_after(&[(1, 1, 0), (10, 10, 0), (1, 1, 0)]), (ms(4), 0.0), "eight of ten ms are unknown");
        assert_eq!(ran_after(&[(2, 2, 0), (10, 0, 0)]), (ms(12), 0.0), "another task of the guest ran on the vCPU");
        assert_eq!(ran_after(&[(2, 2, 0), (12, 12, 10)]), (ms(4), 1.0), "of guests that count stolen time as run time");
        assert_eq!(ran_after(&[(8, 2, 0), (4, 1, 2)]), (ms(10), 0.2), "of those that don't");
    }
}
