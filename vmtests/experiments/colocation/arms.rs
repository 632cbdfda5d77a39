//! The guest's part of the co-location experiment: `vnuma-scenarios colocation`.
//!
//! Arms take turns. In each turn BE work runs where the arm's scheduler or script places it, while the host level applies its
//! load.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use clap::Args;
use scx_vnuma::decision_log::LogReader;
use scx_vnuma::sense::{CpuTimeReader, CpuTimes};

use super::record::{Arm, Demand, Done, Go, GuestRecord, GuestSecond, GUEST_FILE, PORT};
use crate::guest::workers::{total_work, BoundTo, Setting, Signing, Worker, NODES_MAX};
use crate::guest::{node_cpus, nr_nodes, wait_for, Scheduler};

/// Processes that together want as much as the CPUs of one node can do, wherever they run.
const NR_OF_ONE_NODE: usize = 4;
/// Processes for each vCPU that want all CPU there is.
const NR_PER_VCPU: usize = 2;
/// Time until an arm has placed its work.
const SETTLE: Duration = Duration::from_secs(5);
/// The default of scx_vnuma's --interval.
const DEFAULT_INTERVAL_MS: u64 = 500;
const OUT: &str = "/lab/out";
const BASELINE: &str = "/lab/put/rebalance.sh";

/// The arms of the co-location experiment, in the guest.
#[derive(Args)]
pub struct Options {
    /// Number of turns of each arm
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// The first round to run; the ones before it have been run already
    #[arg(long, value_name = "ROUND", default_value_t = 0)]
    from: u32,
    /// What the work wants
    #[arg(long, value_enum, default_value_t = Demand::Node)]
    demand: Demand,
    /// The interval of scx_vnuma under coarse and fine; under auto it has its default
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..))]
    interval_ms: u64,
}

/// Runs all arms in turn.
pub fn run(options: &Options) -> Result<()> {
    let mut hosts = connect()?;
    let work = BeWork::measure(options.demand)?;
    for round in options.from..options.rounds {
        for arm in Arm::ALL {
            let record = run_arm(arm, round, options, &work, &mut hosts)
                .with_context(|| format!("{} in round {round}", arm.name()))?;
            println!("round {round}  {:25} {}", arm.label(), summary(&record));
            let mut file = OpenOptions::new().create(true).append(true).open(format!("{OUT}/{GUEST_FILE}"))?;
            writeln!(file, "{}", serde_json::to_string(&record)?)?;
        }
    }
    Ok(())
}

fn summary(record: &GuestRecord) -> String {
    let signs: u64 = record.seconds.iter().flat_map(|second| &second.signs).sum();
    format!("{:7.1} signs/s, {} moves", signs as f64 / record.lasted_s, record.moves)
}

/// Connects to the host level, which measures the capacity of its servers before it listens.
fn connect() -> Result<BufReader<TcpStream>> {
    let mut stream = None;
    wait_for("the host level listens", Duration::from_secs(120), || {
        stream = TcpStream::connect(("10.0.2.2", PORT)).ok();
        if stream.is_none() {
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(stream.is_some())
    })?;
    stream.map(BufReader::new).context("BUG: connected to nothing")
}

/// The BE processes: how many there are, and what each wants.
struct BeWork {
    nr_processes: usize,
    signs: Signing,
}

impl BeWork {
    fn measure(demand: Demand) -> Result<Self> {
        let cpus_per_node = node_cpus(0)?.len();
        let per_node_s = capacity_of_cpu_per_s()? * cpus_per_node as f64;
        let work = match demand {
            Demand::Node => {
                let signs = Signing::PerSecond(per_node_s / NR_OF_ONE_NODE as f64);
                BeWork { nr_processes: NR_OF_ONE_NODE, signs }
            }
            Demand::All => {
                BeWork { nr_processes: NR_PER_VCPU * cpus_per_node * nr_nodes() as usize, signs: Signing::Greedy }
            }
        };
        let wanted = match demand {
            Demand::Node => "together want that",
            Demand::All => "want all they get",
        };
        println!("a node makes {per_node_s:.0} signatures/s; {} processes {wanted}", work.nr_processes);
        Ok(work)
    }

    /// Starts the processes of an arm.
    fn start(&self, arm: Arm) -> Result<Vec<Worker>> {
        // They inherit it.
        let _bound = (arm == Arm::PlainVm).then(|| BoundTo::node(0)).transpose()?;
        let nr_processes = if arm == Arm::LcOnly { 0 } else { self.nr_processes };
        Worker::start_many(nr_processes, &Setting { signs: Some(self.signs), ..Setting::migratable() })
    }
}

/// Signatures that an undisturbed CPU makes per second.
fn capacity_of_cpu_per_s() -> Result<f64> {
    const WINDOW: Duration = Duration::from_secs(3);
    let cpu = node_cpus(0)?.first().copied();
    let worker = Worker::start(&Setting { signs: Some(Signing::Greedy), cpu, ..Setting::default() })?;
    // Wait for the key to be made, and for the emulator to translate the code.
    std::thread::sleep(Duration::from_secs(1));
    let made = || worker.work().iter().sum::<u64>();
    let (before, start) = (made(), Instant::now());
    std::thread::sleep(WINDOW);
    Ok((made() - before) as f64 / start.elapsed().as_secs_f64())
}

/// scx_vnuma's interval under this arm.
fn interval_ms(arm: Arm, options: &Options) -> Option<u64> {
    match arm {
        Arm::LcOnly | Arm::Unbound | Arm::PlainVm | Arm::Rebalance => None,
        Arm::Coarse | Arm::Fine => Some(options.interval_ms),
        Arm::AutoProbes | Arm::AutoHosts => Some(DEFAULT_INTERVAL_MS),
    }
}

fn run_arm(
    arm: Arm,
    round: u32,
    options: &Options,
    work: &BeWork,
    hosts: &mut BufReader<TcpStream>,
) -> Result<GuestRecord> {
    let workers = work.start(arm)?;
    let log = format!("/tmp/decisions-{}-{round}.jsonl", arm.name());
    let interval_ms = interval_ms(arm, options);
    let mut mover = Mover::start(arm, interval_ms, &log)?;
    if matches!(mover, Mover::Class(..)) {
        wait_for("BE work becomes migratable", Duration::from_secs(20), || {
            Ok(workers.iter().all(Worker::is_migratable))
        })?;
    }
    std::thread::sleep(SETTLE);

    let moves_before = mover.nr_moves()?;
    writeln!(hosts.get_mut(), "{}", serde_json::to_string(&Go { arm, round })?)?;
    let seconds = seconds_until_done(hosts, &workers)?;
    let moves = mover.nr_moves()? - moves_before;
    mover.end()?;
    if let Mover::Class(scheduler, _) = &mover {
        std::fs::write(format!("{OUT}/scx_vnuma-{}-{round}.log", arm.name()), scheduler.log()?)?;
    }
    // Copied only now: writing to the share takes CPU time of the guest and of the host level.
    if std::fs::exists(&log)? {
        std::fs::copy(&log, format!("{OUT}/decisions-{}-{round}.jsonl", arm.name()))?;
        std::fs::remove_file(&log)?;
    }
    let lasted_s = seconds.last().map_or(0.0, |second| second.at_s);
    ensure!(lasted_s > 0.0, "the load ended at once");
    Ok(GuestRecord { arm, round, lasted_s, moves, interval_ms, seconds })
}

/// What decides where the work runs: rebalance.sh or scx_vnuma, each with its log, or nothing but the guest's fair class.
enum Mover {
    Nobody,
    Script(Child, String),
    Class(Scheduler, String),
}

impl Mover {
    /// `interval_ms` is for scx_vnuma, and `decisions` the file for its decision log.
    fn start(arm: Arm, interval_ms: Option<u64>, decisions: &str) -> Result<Self> {
        let Some(interval_ms) = interval_ms else {
            return if arm == Arm::Rebalance { Self::start_script() } else { Ok(Mover::Nobody) };
        };
        let interval = format!("{interval_ms}ms");
        let hosts = if matches!(arm, Arm::Fine | Arm::AutoHosts) { hosts_to_ask()? } else { Vec::new() };
        let mut args = vec!["--interval", &interval, "--log", decisions];
        args.extend(match arm {
            Arm::Coarse => &["--policy", "coarse", "--start-node", "0"][..],
            Arm::Fine => &["--policy", "fine", "--start-node", "0", "--order", "memory"],
            _ => &["--policy", "auto"],
        });
        if !hosts.is_empty() {
            // Their answers come over the network.
            args.push("--move-irqs");
            args.extend(hosts.iter().flat_map(|host| ["--host", host]));
        }
        Ok(Mover::Class(Scheduler::start(&args)?, decisions.to_string()))
    }

    fn start_script() -> Result<Self> {
        let log = "/tmp/rebalance.log".to_string();
        let child = Command::new("sh").arg(BASELINE).stdin(Stdio::null()).stdout(File::create(&log)?).spawn()?;
        wait_for("rebalance.sh has bound all to node 0", Duration::from_secs(60), || {
            Ok(std::fs::read_to_string(&log)?.contains("all to node 0"))
        })?;
        Ok(Mover::Script(child, log))
    }

    fn nr_moves(&self) -> Result<u64> {
        match self {
            Mover::Nobody => Ok(0),
            Mover::Script(_, log) => Ok(std::fs::read_to_string(log)?.lines().count() as u64),
            Mover::Class(_, decisions) => nr_moving_rounds(Path::new(decisions)),
        }
    }

    fn end(&mut self) -> Result<()> {
        match self {
            Mover::Nobody => Ok(()),
            Mover::Class(scheduler, _) => scheduler.end(libc::SIGTERM).map(drop),
            Mover::Script(child, _) => {
                // SAFETY: our own child, not waited for yet.
                unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
                wait_for("rebalance.sh ends", Duration::from_secs(60), || Ok(child.try_wait()?.is_some()))?;
                Ok(())
            }
        }
    }
}

/// The node_exporter of each node's host, as values of --host.
fn hosts_to_ask() -> Result<Vec<String>> {
    let host = |node| {
        let cpus: Vec<String> = node_cpus(node)?.iter().map(u32::to_string).collect();
        Ok(format!("{node}=http://10.0.2.2:9100/metrics?cpus={}", cpus.join(",")))
    };
    (0..nr_nodes()).map(host).collect()
}

/// Number of rounds in a decision log whose plan moves something. Epochs won't do: one also begins when only limits change.
fn nr_moving_rounds(log: &Path) -> Result<u64> {
    let file = File::open(log).with_context(|| log.display().to_string())?;
    let mut nr = 0;
    for round in LogReader::new(BufReader::new(file))? {
        nr += u64::from(!round?.plan.moves.is_empty());
    }
    Ok(nr)
}

/// Takes a sample every second until the host level reports that its load has ended.
fn seconds_until_done(hosts: &mut BufReader<TcpStream>, workers: &[Worker]) -> Result<Vec<GuestSecond>> {
    let mut cpu_times = CpuTimeReader::open()?;
    let mut before = (Duration::ZERO, cpu_times.read()?, total_work(workers));
    let start = Instant::now();
    let mut seconds: Vec<GuestSecond> = Vec::new();
    let mut line = String::new();
    loop {
        let next = before.0 + Duration::from_secs(1);
        let left = next.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        hosts.get_ref().set_read_timeout(Some(left))?;
        let done = match hosts.read_line(&mut line) {
            Ok(0) => bail!("the host level closed the connection"),
            Ok(_) => true,
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(err) => return Err(err).context("waiting for the host level"),
        };
        let now = (start.elapsed(), cpu_times.read()?, total_work(workers));
        seconds.push(second(&before, &now)?);
        before = now;
        if done {
            let Done { error } = serde_json::from_str(&line)?;
            ensure!(error.is_none(), "the host level failed: {}", error.unwrap_or_default());
            return Ok(seconds);
        }
    }
}

type Moment = (Duration, CpuTimes, [u64; NODES_MAX]);

fn second((from, times_before, work_before): &Moment, (to, times, work): &Moment) -> Result<GuestSecond> {
    let stolen_cpus = (0..nr_nodes()).map(|node| {
        let of_node = node_cpus(node)?;
        let steal_ns = of_node.iter().filter_map(|cpu| Some(times.get(cpu)?.since(*times_before.get(cpu)?).steal_ns));
        Ok(steal_ns.sum::<u64>() as f64 / (*to - *from).as_nanos().max(1) as f64)
    });
    Ok(GuestSecond {
        at_s: to.as_secs_f64(),
        signs: (0..nr_nodes() as usize).map(|node| work[node] - work_before[node]).collect(),
        stolen_cpus: stolen_cpus.collect::<Result<_>>()?,
    })
}
