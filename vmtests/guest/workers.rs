//! Processes to be scheduled. They count the work that they did, and on which node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{SigningKey, P256};

use super::children;

/// Number of nodes for which work is counted.
pub const NODES_MAX: usize = 8;

/// A worker's counters, in memory shared with this program.
#[repr(C)]
struct Tally {
    work: [AtomicU64; NODES_MAX],
}

/// How a worker starts out.
#[derive(Clone, Debug)]
pub struct Setting {
    pub nice: i32,
    pub policy: i32,
    pub reset_on_fork: bool,
    /// Bind it to this CPU.
    pub cpu: Option<u32>,
    /// Tasks in the process; all but the first are threads.
    pub nr_threads: u32,
    /// Sleeps forever instead of working.
    pub asleep: bool,
    /// Works a fifth of the time, in short bursts, as a service does.
    pub in_bursts: bool,
    /// Extra memory that it allocates, besides what it needs.
    pub memory_bytes: usize,
    /// Of that, what it writes to with each unit of work, a byte a page.
    pub touched_bytes: usize,
    /// Switches itself to SCHED_EXT, so that it is migratable without a selector.
    pub chooses_ext: bool,
    /// Maps, touches and unmaps a page with each unit of work, so that it faults.
    pub faults: bool,
    /// Its work is making signatures (ECDSA P-256), one per unit.
    pub signs: Option<Signing>,
}

impl Default for Setting {
    /// A normal task that works.
    fn default() -> Self {
        Setting {
            nice: 0,
            policy: libc::SCHED_OTHER,
            reset_on_fork: false,
            cpu: None,
            nr_threads: 1,
            asleep: false,
            in_bursts: false,
            memory_bytes: 0,
            touched_bytes: 0,
            chooses_ext: false,
            faults: false,
            signs: None,
        }
    }
}

impl Setting {
    /// What the default selectors match: nice 5.
    pub fn migratable() -> Self {
        Setting { nice: 5, ..Setting::default() }
    }
}

/// The rate at which a worker makes signatures.
#[derive(Clone, Copy, Debug)]
pub enum Signing {
    /// As many as it can.
    Greedy,
    /// This many per second. Signatures that it could not make in time are not made up for later.
    PerSecond(f64),
}

/// The externally visible scheduling attributes of a task, which must be unchanged after scx_vnuma has exited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub policy: i32,
    pub nice: i32,
    pub cpus: Vec<u32>,
}

/// CPU time of a process so far, of all its threads.
pub fn process_cpu_time(pid: i32) -> Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both out-parameters outlive the calls.
    let failed =
        unsafe { libc::clock_getcpuclockid(pid, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0 };
    ensure!(!failed, "can't read the CPU time of process {pid}: it died");
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// A child process; killed when dropped.
pub struct Worker {
    pub pid: i32,
    tally: *mut Tally,
}

impl Worker {
    pub fn start(setting: &Setting) -> Result<Self> {
        let tally = children::shared_memory(size_of::<Tally>())?.cast::<Tally>();
        // SAFETY: the mapping is shared, zeroed and lives as long as the process.
        let pid = children::fork(|| be_worker(setting, unsafe { &*tally }))?;
        Ok(Worker { pid, tally })
    }

    pub fn start_many(nr: usize, setting: &Setting) -> Result<Vec<Self>> {
        (0..nr).map(|_| Worker::start(setting)).collect()
    }

    /// Units of work done so far, by node.
    pub fn work(&self) -> [u64; NODES_MAX] {
        // SAFETY: the mapping lives as long as self, and is only accessed atomically.
        let tally = unsafe { &*self.tally };
        std::array::from_fn(|node| tally.work[node].load(Ordering::Relaxed))
    }

    /// CPU time so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        process_cpu_time(self.pid)
    }

    /// CPU time that it gets in `window`.
    pub fn cpu_time_in(&self, window: Duration) -> Result<Duration> {
        let before = self.cpu_time()?;
        std::thread::sleep(window);
        Ok(self.cpu_time()? - before)
    }

    pub fn seen(&self) -> Seen {
        // SAFETY: a bit mask, for which all bits 0 is valid.
        let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: no pointers but to cpus, which outlives the call.
        let (policy, nice) = unsafe {
            libc::sched_getaffinity(self.pid, size_of::<libc::cpu_set_t>(), &mut cpus);
            (libc::sched_getscheduler(self.pid), libc::getpriority(libc::PRIO_PROCESS, self.pid as u32))
        };
        // SAFETY: the index is below CPU_SETSIZE.
        let cpus = (0..256).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu as usize, &cpus) }).collect();
        Seen { policy, nice, cpus }
    }

    /// Returns true if the scheduler class runs it.
    pub fn is_migratable(&self) -> bool {
        self.seen().policy & !libc::SCHED_RESET_ON_FORK == scx_vnuma::work::policy::EXT as i32
    }

    pub fn renice(&self, nice: i32) {
        // SAFETY: no pointers.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, self.pid as u32, nice) };
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        children::end(self.pid);
        // SAFETY: our own mapping, not used after.
        unsafe { libc::munmap(self.tally.cast(), size_of::<Tally>()) };
    }
}

/// Binds this thread, and what it starts, to some CPUs until it is dropped.
pub struct BoundTo {
    before: libc::cpu_set_t,
}

impl BoundTo {
    pub fn node(node: u32) -> Result<Self> {
        Self::cpus(&crate::guest::node_cpus(node)?)
    }

    pub fn cpus(cpus: &[u32]) -> Result<Self> {
        // SAFETY: bit masks, for which all bits 0 is valid; CPU_SET checks its bounds; both outlive the calls.
        unsafe {
            let (mut before, mut now) = std::mem::zeroed::<(libc::cpu_set_t, libc::cpu_set_t)>();
            libc::sched_getaffinity(0, size_of_val(&before), &mut before);
            cpus.iter().for_each(|&cpu| libc::CPU_SET(cpu as usize, &mut now));
            let failed = libc::sched_setaffinity(0, size_of_val(&now), &now) != 0;
            ensure!(!failed, "binding to CPUs {cpus:?}: {}", std::io::Error::last_os_error());
            Ok(BoundTo { before })
        }
    }
}

impl Drop for BoundTo {
    fn drop(&mut self) {
        // SAFETY: the mask outlives the call.
        unsafe { libc::sched_setaffinity(0, size_of_val(&self.before), &self.before) };
    }
}

/// Keeps a node as empty as the kernel allows until this is dropped: moves tasks that may run elsewhere, and unbound workqueues,
/// off the node. This program, and what it starts later, may still run there.
pub struct KeptEmpty {
    affinities: Vec<(i32, libc::cpu_set_t)>,
    workqueues: String,
}

impl KeptEmpty {
    const WORKQUEUES: &str = "/sys/devices/virtual/workqueue/cpumask";

    pub fn node(node: u32) -> Result<Self> {
        let workqueues = std::fs::read_to_string(Self::WORKQUEUES)?;
        let mut kept = KeptEmpty { affinities: Vec::new(), workqueues };
        let cpus = crate::guest::node_cpus(node)?;
        let others = (0..crate::guest::nr_nodes()).filter(|&other| other != node);
        let others = others.map(crate::guest::node_cpus).collect::<Result<Vec<_>>>()?.concat();
        let mask: u64 = others.iter().map(|cpu| 1 << cpu).sum();
        std::fs::write(Self::WORKQUEUES, format!("{mask:x}")).context("moving unbound workqueues")?;
        let processes = procfs::process::all_processes()?.flatten();
        let strangers = processes.filter(|process| process.pid != std::process::id() as i32);
        for task in strangers.filter_map(|process| process.tasks().ok()).flatten().flatten() {
            // SAFETY: bit masks, for which all bits 0 is valid; CPU_CLR checks its bounds; both outlive the calls.
            unsafe {
                let mut before = std::mem::zeroed::<libc::cpu_set_t>();
                if libc::sched_getaffinity(task.tid, size_of_val(&before), &mut before) < 0 {
                    continue;
                }
                let mut now = before;
                cpus.iter().for_each(|&cpu| libc::CPU_CLR(cpu as usize, &mut now));
                // Per-CPU kernel threads stay, and threads that have exited need no change.
                if libc::sched_setaffinity(task.tid, size_of_val(&now), &now) == 0 {
                    kept.affinities.push((task.tid, before));
                }
            }
        }
        Ok(kept)
    }
}

impl Drop for KeptEmpty {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::WORKQUEUES, &self.workqueues);
        for (tid, before) in &self.affinities {
            // SAFETY: the mask outlives the call.
            unsafe { libc::sched_setaffinity(*tid, size_of_val(before), before) };
        }
    }
}

/// The ids of all threads of these processes.
pub fn thread_ids(workers: &[Worker]) -> Result<Vec<i32>> {
    let mut tids = Vec::new();
    for worker in workers {
        for entry in std::fs::read_dir(format!("/proc/{}/task", worker.pid))? {
            tids.push(entry?.file_name().to_string_lossy().parse()?);
        }
    }
    Ok(tids)
}

/// Units of work done by all workers, by node.
pub fn total_work(workers: &[Worker]) -> [u64; NODES_MAX] {
    workers.iter().fold([0; NODES_MAX], |sum, worker| {
        let work = worker.work();
        std::array::from_fn(|node| sum[node] + work[node])
    })
}

fn be_worker(setting: &Setting, tally: &'static Tally) -> ! {
    // SAFETY: our own attributes; all pointers outlive their calls.
    unsafe {
        let param = libc::sched_param { sched_priority: i32::from(setting.policy == libc::SCHED_FIFO) };
        let flag = if setting.reset_on_fork { libc::SCHED_RESET_ON_FORK } else { 0 };
        libc::sched_setscheduler(0, setting.policy | flag, &param);
        libc::setpriority(libc::PRIO_PROCESS, 0, setting.nice);
        if let Some(cpu) = setting.cpu {
            let mut cpus: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu as usize, &mut cpus);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cpus);
        }
    }
    if setting.chooses_ext && scx_vnuma::work::make_migratable().is_err() {
        std::process::exit(1);
    }
    // Written to, so that its pages are allocated; never freed.
    let memory = std::hint::black_box(vec![1u8; setting.memory_bytes].leak());
    let touched = &mut memory[..setting.touched_bytes.min(setting.memory_bytes)];
    if let Some(signing) = setting.signs {
        sign(signing, tally);
    }
    let Setting { asleep, in_bursts, faults, .. } = *setting;
    for _ in 1..setting.nr_threads {
        // A thread that can't be created is noticed by the caller, who counts the threads.
        let _ = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || spin_or_sleep(asleep, in_bursts, faults, &mut [], tally));
    }
    spin_or_sleep(asleep, in_bursts, faults, touched, tally)
}

fn spin_or_sleep(asleep: bool, in_bursts: bool, faults: bool, touched: &mut [u8], tally: &Tally) -> ! {
    const BURST: Duration = Duration::from_millis(4);
    if asleep {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    let mut state = 1u64;
    let mut burst_start = Instant::now();
    loop {
        if in_bursts && burst_start.elapsed() >= BURST {
            std::thread::sleep(4 * BURST);
            burst_start = Instant::now();
        }
        for _ in 0..10_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        std::hint::black_box(state);
        if faults {
            fault();
        }
        touched.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        tally.work[current_node()].fetch_add(1, Ordering::Relaxed);
    }
}

fn sign(signing: Signing, tally: &Tally) -> ! {
    const PERIOD: Duration = Duration::from_millis(50);
    const SIGNATURE_BYTES: usize = 64;
    let key = SigningKey::<P256>::generate().expect("BUG: no key can be made");
    let mut signature = [0; SIGNATURE_BYTES];
    let per_period = match signing {
        Signing::Greedy => u64::MAX,
        Signing::PerSecond(rate) => ((rate * PERIOD.as_secs_f64()) as u64).max(1),
    };
    loop {
        let begun = Instant::now();
        let mut made = 0;
        // A worker that was kept from running for longer than a period starts a new period.
        while made < per_period && (made == 0 || begun.elapsed() < PERIOD || per_period == u64::MAX) {
            let signed = key.sign::<Sha256>(&[b"best effort"], &mut signature);
            std::hint::black_box(signed.expect("BUG: our own key makes no signature"));
            tally.work[current_node()].fetch_add(1, Ordering::Relaxed);
            made += 1;
        }
        std::thread::sleep(PERIOD.saturating_sub(begun.elapsed()));
    }
}

/// A page fault.
fn fault() {
    const LEN: usize = 4096;
    // SAFETY: a new anonymous mapping, checked, written inside its bounds, and unmapped before anything else refers to it.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let page = libc::mmap(std::ptr::null_mut(), LEN, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        if page != libc::MAP_FAILED {
            page.cast::<u8>().write_volatile(1);
            libc::munmap(page, LEN);
        }
    }
}

fn current_node() -> usize {
    let mut node = 0u32;
    // SAFETY: node outlives the call.
    unsafe { libc::syscall(libc::SYS_getcpu, std::ptr::null_mut::<u32>(), &mut node, std::ptr::null_mut::<u8>()) };
    (node as usize).min(NODES_MAX - 1)
}
