//! What code in a guest needs: the scheduler and its counters, processes to be scheduled, and load on the hosts.

pub mod cgroup;
pub mod children;
pub mod hog_times;
pub mod talkers;
pub mod workers;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use scx_vnuma::bpf::{intf, NoPadding, Plain, PIN_DIR};
use scx_vnuma::sense::{CpuTimeReader, Nodes};

/// Polls a condition until it holds. Fails after `patience`.
pub fn wait_for(what: &str, patience: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    loop {
        if holds()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() > patience {
            bail!("timed out after {:.1} s: {what}", patience.as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The state of sched_ext: `enabled`, `disabled` and so on.
pub fn sched_ext_state() -> Result<String> {
    Ok(std::fs::read_to_string("/sys/kernel/sched_ext/state")?.trim().to_string())
}

/// The guest's nodes, read once and cached: reading them takes long in an emulated machine.
fn nodes() -> &'static Nodes {
    static NODES: OnceLock<Nodes> = OnceLock::new();
    NODES.get_or_init(|| Nodes::from_sysfs().expect("the guest shows its nodes"))
}

/// The number of nodes.
pub fn nr_nodes() -> u32 {
    nodes().nr_ids()
}

/// The CPUs of a node.
pub fn node_cpus(node: u32) -> Result<Vec<u32>> {
    let found = nodes().iter().find(|(id, _)| id.0 == node).map(|(_, cpus)| cpus.iter().collect());
    found.with_context(|| format!("there is no node {node}"))
}

static NR_STARTED: AtomicU32 = AtomicU32::new(0);

fn log_name(nr: u32) -> String {
    format!("/tmp/scx_vnuma.{}.{nr}.log", std::process::id())
}

/// Prints the last log lines of the scheduler that was started last, to show why a scenario failed.
pub fn print_last_log() {
    const LINES: usize = 40;
    let Some(nr) = NR_STARTED.load(Ordering::Relaxed).checked_sub(1) else { return };
    let log = std::fs::read_to_string(log_name(nr)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().for_each(|line| println!("        {line}"));
}

/// Prints the kernel's state of the scheduler and of every task, to show why something hangs.
pub fn print_kernel_state() {
    // D dumps the state of the sched_ext scheduler without disabling it; l lists the tasks of all CPUs.
    for request in ["D", "l"] {
        if std::fs::write("/proc/sysrq-trigger", request).is_err() {
            println!("        the kernel has no SysRq: it needs CONFIG_MAGIC_SYSRQ");
        }
        std::thread::sleep(Duration::from_secs(2));
    }
    for command in [&["busybox", "dmesg"][..], &["busybox", "ps", "-o", "pid,ppid,stat,time,args"][..]] {
        let Ok(output) = Command::new(command[0]).args(&command[1..]).output() else { continue };
        String::from_utf8_lossy(&output.stdout).lines().for_each(|line| println!("        {line}"));
    }
}

/// A running scx_vnuma, or another scheduler, with its log. It is sent SIGTERM when dropped.
pub struct Scheduler {
    child: Child,
    log: String,
}

impl Scheduler {
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Starts it and waits until it is enabled.
    pub fn start(args: &[&str]) -> Result<Self> {
        Self::start_within(Self::PATIENCE, args)
    }

    /// The same on a machine where that may take long.
    pub fn start_within(patience: Duration, args: &[&str]) -> Result<Self> {
        Self::start_program(patience, "scx_vnuma", args, |log| Ok(log.contains("enabled on")))
    }

    /// Starts another scheduler and waits until the kernel has enabled it.
    pub fn start_other(program: &str) -> Result<Self> {
        Self::start_program(Self::PATIENCE, program, &[], |_| Ok(sched_ext_state()? == "enabled"))
    }

    fn start_program(
        patience: Duration,
        program: &str,
        args: &[&str],
        is_enabled: fn(&str) -> Result<bool>,
    ) -> Result<Self> {
        let mut scheduler = Self::spawn_program(program, args)?;
        wait_for(&format!("{program} becomes enabled"), patience, || {
            if let Some(status) = scheduler.child.try_wait()? {
                bail!("{program} ended at once ({status}): {}", scheduler.log()?);
            }
            is_enabled(&scheduler.log()?)
        })?;
        Ok(scheduler)
    }

    /// Starts it.
    pub fn spawn(args: &[&str]) -> Result<Self> {
        Self::spawn_program("scx_vnuma", args)
    }

    /// Starts it with this standard error, which takes what would be its log.
    pub fn spawn_with_stderr(args: &[&str], stderr: impl Into<Stdio>) -> Result<Self> {
        Self::spawn_command("scx_vnuma", args, |_| Ok(stderr.into()))
    }

    fn spawn_program(program: &str, args: &[&str]) -> Result<Self> {
        Self::spawn_command(program, args, |log| Ok(log.try_clone()?.into()))
    }

    fn spawn_command(program: &str, args: &[&str], stderr: impl FnOnce(&File) -> Result<Stdio>) -> Result<Self> {
        let log = log_name(NR_STARTED.fetch_add(1, Ordering::Relaxed));
        let file = File::create(&log)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stderr(stderr(&file)?).stdout(file);
        Ok(Scheduler { child: command.spawn().with_context(|| format!("starting {program}"))?, log })
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Its log so far.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends it a signal. It must not have ended.
    pub fn signal(&self, signal: i32) {
        // SAFETY: our own child, not waited for yet.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// Sends a signal and waits until the scheduler has exited. Returns its log.
    pub fn end(&mut self, signal: i32) -> Result<String> {
        self.signal(signal);
        wait_for("the scheduler ends", Duration::from_secs(30), || Ok(!self.is_alive()?))?;
        self.log()
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) && self.end(libc::SIGTERM).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn pinned(name: &str) -> Result<MapHandle> {
    let path = Path::new(PIN_DIR).join(name);
    MapHandle::from_pinned_path(&path).with_context(|| format!("opening {}", path.display()))
}

/// The plan in force, from its pinned map.
pub fn target() -> Result<intf::vnuma_target> {
    let value = pinned("target")?.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?;
    value.as_deref().and_then(intf::vnuma_target::from_bytes).context("the target map is empty")
}

/// The node that migratable work is sent to.
pub fn destination() -> Result<u32> {
    Ok(target()?.destination.first as u32)
}

/// Sets the placements of these processes, in the pinned map. Returns how many there was room for.
pub fn set_placements(tgids: std::ops::Range<u32>, node: u32) -> Result<usize> {
    let map = pinned("placement")?;
    let value = intf::vnuma_placement { node: node as i32, ..Plain::zeroed() };
    let fits = |tgid: &u32| map.update(&tgid.to_ne_bytes(), value.as_bytes(), MapFlags::ANY).is_ok();
    Ok(tgids.take_while(fits).count())
}

/// Removes the placements of these processes from the pinned map.
pub fn remove_placements(tgids: std::ops::Range<u32>) -> Result<()> {
    let map = pinned("placement")?;
    tgids.into_iter().try_for_each(|tgid| Ok(map.delete(&tgid.to_ne_bytes())?))
}

/// A node's counters, from their pinned map.
pub fn node_stats(node: u32) -> Result<intf::vnuma_node_stats> {
    let value = pinned("node_stats")?.lookup(&node.to_ne_bytes(), MapFlags::ANY)?;
    value.as_deref().and_then(intf::vnuma_node_stats::from_bytes).context("the node_stats map is short")
}

/// Time that a process's migratable tasks held CPUs since it began, ns, by node.
pub fn process_run_ns(tgid: i32) -> Result<Vec<u64>> {
    let map = pinned("process_run_time")?;
    let on = |node: u32| {
        let key = [(tgid as u32).to_ne_bytes(), node.to_ne_bytes()].concat();
        let value = map.lookup(&key, MapFlags::ANY)?;
        Ok(value.as_deref().and_then(intf::vnuma_run_time::from_bytes).map_or(0, |time| time.run_ns))
    };
    (0..nr_nodes()).map(on).collect()
}

/// The node on which the plan places this process, from the pinned map; `None` without a placement.
pub fn placement(tgid: i32) -> Result<Option<u32>> {
    let value = pinned("placement")?.lookup(&tgid.to_ne_bytes(), MapFlags::ANY)?;
    Ok(value.as_deref().and_then(intf::vnuma_placement::from_bytes).map(|own| own.node as u32))
}

/// Time that migratable tasks held CPUs in `window`, ns, by node.
pub fn run_ns_in(window: Duration, nr_nodes: u32) -> Result<Vec<u64>> {
    let sample = || (0..nr_nodes).map(|node| Ok(node_stats(node)?.run_ns)).collect::<Result<Vec<_>>>();
    let before = sample()?;
    std::thread::sleep(window);
    Ok(sample()?.iter().zip(before).map(|(now, before)| now - before).collect())
}

/// The share of `run_ns` that was not on `node`.
pub fn share_elsewhere(run_ns: &[u64], node: u32) -> Result<f64> {
    let total: u64 = run_ns.iter().sum();
    ensure!(total > 0, "no migratable task ran: {run_ns:?} ns");
    Ok(1.0 - run_ns[node as usize] as f64 / total as f64)
}

/// The CPUs on which each IRQ and the unbound workqueues may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinities {
    pub irqs: BTreeMap<u32, Vec<u32>>,
    pub workqueues: Vec<u32>,
}

impl Affinities {
    pub fn read() -> Result<Self> {
        let mut irqs = BTreeMap::new();
        for entry in std::fs::read_dir("/proc/irq")? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(irq) = name.parse() else { continue };
            let list = std::fs::read_to_string(path.join("smp_affinity_list"))?;
            irqs.insert(irq, scx_utils::read_cpulist(list.trim())?.into_iter().map(|cpu| cpu as u32).collect());
        }
        let mask = std::fs::read_to_string("/sys/devices/virtual/workqueue/cpumask")?;
        let mask = u64::from_str_radix(&mask.trim().replace(',', ""), 16)?;
        Ok(Affinities { irqs, workqueues: (0..64).filter(|cpu| mask >> cpu & 1 == 1).collect() })
    }

    /// Fails if one of them has changed.
    pub fn ensure_same(&self) -> Result<()> {
        let now = Self::read()?;
        ensure!(
            now.workqueues == self.workqueues,
            "workqueues had {:?} and have {:?}",
            self.workqueues,
            now.workqueues
        );
        for (irq, before) in &self.irqs {
            let now = now.irqs.get(irq).with_context(|| format!("IRQ {irq} has gone"))?;
            ensure!(now == before, "IRQ {irq} had CPUs {before:?} and has {now:?}");
        }
        Ok(())
    }
}

/// A CPU's steal since boot, ticks.
pub fn steal_ticks(cpu: u32) -> Result<u64> {
    let times = CpuTimeReader::open()?.read()?;
    let steal_ns = times.get(&cpu).with_context(|| format!("CPU {cpu} is not online"))?.steal_ns;
    Ok(steal_ns * procfs::ticks_per_second() / 1_000_000_000)
}

/// Runs busy loops on the hosts of these CPUs, and on no others. The host level's script reads the file.
pub fn hog(cpus: &[u32]) -> Result<()> {
    ask_for_hogs(cpus, "")
}

/// Runs loops on the hosts of these CPUs, and on no others, that are busy for 4 ms of each 20 ms.
pub fn hog_in_bursts(cpus: &[u32]) -> Result<()> {
    ask_for_hogs(cpus, "b")
}

/// Stops the whole guest for a time, without any steal time, and returns once it goes on.
pub fn pause_guest(seconds: u32) -> Result<()> {
    let asked = Path::new("/lab/shared/pause");
    std::fs::write("/lab/shared/pause.new", format!("{seconds}\n"))?;
    std::fs::rename("/lab/shared/pause.new", asked).context("asking the host level for a pause")?;
    wait_for("the pause is over", Duration::from_secs(20 + u64::from(seconds)), || Ok(!asked.exists()))?;
    Ok(())
}

fn ask_for_hogs(cpus: &[u32], kind: &str) -> Result<()> {
    let words: Vec<String> = cpus.iter().map(|cpu| format!("{cpu}{kind}")).collect();
    // By rename, so that it is never read half-written.
    std::fs::write("/lab/shared/hogs.new", words.join(" ") + "\n")?;
    std::fs::rename("/lab/shared/hogs.new", "/lab/shared/hogs").context("asking the host level for hogs")
}

/// Starts hogs on the hosts of a node's CPUs, and waits until one shows up as steal time. Something must run on the node.
pub fn hog_node_until_seen(node: u32) -> Result<()> {
    hog_node_until_stolen(node, 2, Duration::MAX)
}

/// The same, but waits until the given number of ticks is stolen within a time: a single stolen tick may be due to other
/// activity on the host.
pub fn hog_node_until_stolen(node: u32, nr_ticks: u64, within: Duration) -> Result<()> {
    let cpu = *node_cpus(node)?.first().context("the node has no CPU")?;
    let mut seen = VecDeque::from([(Instant::now(), steal_ticks(cpu)?)]);
    hog(&node_cpus(node)?)?;
    wait_for("the hog steals time", Duration::from_secs(10), || {
        let (now, ticks) = (Instant::now(), steal_ticks(cpu)?);
        seen.push_back((now, ticks));
        seen.retain(|(at, _)| now.duration_since(*at) <= within);
        Ok(seen.front().is_some_and(|(_, before)| ticks >= before + nr_ticks))
    })?;
    Ok(())
}

/// The time from now until migratable work last runs on a node: until it has not run there for `calm`, or for ten times as long
/// if it doesn't stop.
pub fn time_to_last_run(node: u32, calm: Duration) -> Result<Duration> {
    let onset = Instant::now();
    let mut last_run = (node_stats(node)?.run_ns, onset);
    while last_run.1.elapsed() < calm && onset.elapsed() < 10 * calm {
        let run_ns = node_stats(node)?.run_ns;
        if run_ns != last_run.0 {
            last_run = (run_ns, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(last_run.1 - onset)
}
