//! The guest's part of the co-location experiment: `vnuma-scenarios colocation [--rounds N] [--interval-ms MS]`.
//!
//! Arms take turns. In each turn BE work runs where the arm's scheduler or script places it, while the host level applies its
//! load.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use clap::Args;
use scx_vnuma::sense::{CpuTimeReader, CpuTimes};

use super::record::{Arm, Done, Go, GuestRecord, GuestSecond, GUEST_FILE, PORT};
use crate::guest::workers::{total_work, Setting, Signing, Worker, NODES_MAX};
use crate::guest::{node_cpus, nr_nodes, target, wait_for, Scheduler};

/// Together they want as much as the CPU of one node can do, wherever they run.
const NR_WORKERS: usize = 4;
/// Time until all of an arm's work is on its first node.
const SETTLE: Duration = Duration::from_secs(2);
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
    /// The interval of scx_vnuma
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..))]
    interval_ms: u64,
}

/// Runs all arms in turn.
pub fn run(options: &Options) -> Result<()> {
    let mut hosts = connect()?;
    let signs_per_s = capacity_per_s()?;
    println!("a node makes {signs_per_s:.0} signatures/s; each of {NR_WORKERS} processes wants a part of that");
    for round in options.from..options.rounds {
        for arm in Arm::ALL {
            let record = run_arm(arm, round, options, signs_per_s, &mut hosts)
                .with_context(|| format!("{} in round {round}", arm.name()))?;
            println!("round {round}  {:20} {}", arm.label(), summary(&record));
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

/// Signatures that an undisturbed node makes per second.
fn capacity_per_s() -> Result<f64> {
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

fn run_arm(
    arm: Arm,
    round: u32,
    options: &Options,
    signs_per_s: f64,
    hosts: &mut BufReader<TcpStream>,
) -> Result<GuestRecord> {
    let cpu = node_cpus(0)?.first().copied();
    let signs = Some(Signing::PerSecond(signs_per_s / NR_WORKERS as f64));
    let setting = Setting { signs, cpu: cpu.filter(|_| arm == Arm::PlainVm), ..Setting::migratable() };
    let workers = Worker::start_many(if arm == Arm::LcOnly { 0 } else { NR_WORKERS }, &setting)?;
    let log = format!("/tmp/decisions-{}-{round}.jsonl", arm.name());
    let mut mover = Mover::start(arm, options.interval_ms, &log)?;
    if matches!(mover, Mover::Class(_)) {
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
    // Copied only now: writing to the share takes CPU time of the guest and of the host level.
    if std::fs::exists(&log)? {
        std::fs::copy(&log, format!("{OUT}/decisions-{}-{round}.jsonl", arm.name()))?;
        std::fs::remove_file(&log)?;
    }
    let lasted_s = seconds.last().map_or(0.0, |second| second.at_s);
    ensure!(lasted_s > 0.0, "the load ended at once");
    Ok(GuestRecord { arm, round, lasted_s, moves, interval_ms: options.interval_ms, seconds })
}

/// What decides where the work runs: affinity, rebalance.sh or scx_vnuma.
enum Mover {
    Nobody,
    Script(Child, String),
    Class(Scheduler),
}

impl Mover {
    fn start(arm: Arm, interval_ms: u64, decisions: &str) -> Result<Self> {
        let interval = format!("{interval_ms}ms");
        let class = ["--interval", &interval, "--start-node", "0", "--log", decisions];
        Ok(match arm {
            Arm::LcOnly | Arm::PlainVm => Mover::Nobody,
            Arm::Rebalance => {
                let log = "/tmp/rebalance.log".to_string();
                let child =
                    Command::new("sh").arg(BASELINE).stdin(Stdio::null()).stdout(File::create(&log)?).spawn()?;
                wait_for("rebalance.sh has bound all to node 0", Duration::from_secs(60), || {
                    Ok(std::fs::read_to_string(&log)?.contains("all to node 0"))
                })?;
                Mover::Script(child, log)
            }
            Arm::Coarse => Mover::Class(Scheduler::start(&[&class[..], &["--policy", "coarse"]].concat())?),
            Arm::Fine => {
                let host = |node| Ok(format!("{node}=http://10.0.2.2:9100/metrics?cpus={node}"));
                let hosts = (0..nr_nodes()).map(host).collect::<Result<Vec<String>>>()?;
                let hosts = hosts.iter().flat_map(|host| ["--host", host]);
                let args: Vec<&str> = class
                    .into_iter()
                    .chain(["--policy", "fine", "--order", "memory", "--move-irqs"])
                    .chain(hosts)
                    .collect();
                Mover::Class(Scheduler::start(&args)?)
            }
        })
    }

    fn nr_moves(&self) -> Result<u64> {
        Ok(match self {
            Mover::Nobody => 0,
            Mover::Script(_, log) => std::fs::read_to_string(log)?.lines().count() as u64,
            Mover::Class(_) => target()?.epoch,
        })
    }

    fn end(&mut self) -> Result<()> {
        match self {
            Mover::Nobody => Ok(()),
            Mover::Class(scheduler) => scheduler.end(libc::SIGTERM).map(drop),
            Mover::Script(child, _) => {
                // SAFETY: our own child, not waited for yet.
                unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
                wait_for("rebalance.sh ends", Duration::from_secs(60), || Ok(child.try_wait()?.is_some()))?;
                Ok(())
            }
        }
    }
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
