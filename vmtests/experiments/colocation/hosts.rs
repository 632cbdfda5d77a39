//! The host level's part: a memcached on each host's CPUs, its clients, and the CPU time that servers and vCPUs used.
//!
//! A server has a thread and a client for each CPU of its host. Clients run on a CPU that belongs to no host, as if on
//! separate machines.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Context, Result};
use clap::Args;

use super::client::{new_histogram, Client, Latencies};
use super::load_map::{nr_busy, Batch, LoadMap};
use super::record::{Demand, Done, Go, HostRecord, HostSecond, Latency, Setup, HOSTS_FILE, PORT, SETUP_FILE};
use crate::guest::workers::NODES_MAX;

const FIRST_SERVER_PORT: u16 = 11211;

/// Applies the load to the hosts when the guest asks for it.
#[derive(Args)]
pub struct Load {
    /// Path of the memcached program
    #[arg(long, value_name = "FILE")]
    memcached: PathBuf,
    /// Folder for the measurements
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of hosts
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=NODES_MAX as i64))]
    hosts: u16,
    /// CPUs of a host; host 0 has the first ones
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    cpus_per_host: u16,
    /// What the BE work in the guest wants, for the report
    #[arg(long, value_enum, default_value_t = Demand::Node)]
    demand: Demand,
    /// Mean time between two batches of requests from a client, ms
    #[arg(long, default_value_t = 20.0)]
    mean: f64,
    /// Its standard deviation, ms
    #[arg(long, default_value_t = 5.0)]
    deviation: f64,
    /// Load of a busy host, as a share of the requests that it can answer
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    share: f64,
    /// Requests in a batch from a busy host's client, instead of --share
    #[arg(long, value_name = "REQUESTS", overrides_with = "batch", value_parser = clap::value_parser!(u32).range(1..=i64::from(Client::BATCH_MAX)))]
    batch: Option<u32>,
    /// Duration of a phase, in which the same hosts are busy, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 8.0)]
    phase: f64,
    /// Seed of the random load
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Load {
    /// Serves one guest until it closes the connection.
    pub fn run(self) -> Result<()> {
        ensure!(self.phase >= 1.0, "--phase takes a second or more, not {}", self.phase);
        ensure!(self.share > 0.0 && self.share < 1.0, "--share takes a share between 0 and 1, not {}", self.share);
        let (nr_hosts, cpus_per_host) = (usize::from(self.hosts), usize::from(self.cpus_per_host));
        let vcpus = vcpu_threads(nr_hosts * cpus_per_host)?;
        let servers = (0..nr_hosts).map(|host| Server::start(&self.memcached, host, cpus_per_host));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        let addresses = servers.iter().flat_map(|server| std::iter::repeat_n(server.address, cpus_per_host));
        let clients = addresses.map(Client::connect).collect::<Result<Vec<_>>>()?;
        // Only after the servers have started: they would inherit it.
        run_first()?;
        let capacity_per_s =
            capacity_per_s(&clients, &servers).context("measuring the request rate that a host can answer")?;
        let map = self.load_map(capacity_per_s)?;
        println!(
            "a host's CPU answers {capacity_per_s:.0} requests/s; each client of a busy host sends {} every {} ms",
            map.batch, map.mean_ms
        );
        let setup = Setup {
            nr_hosts,
            cpus_per_host,
            demand: self.demand,
            mean_ms: map.mean_ms,
            deviation_ms: map.deviation_ms,
            phase_s: map.phase_s,
            batch: map.batch,
            capacity_per_s,
            seed: map.seed,
        };
        std::fs::write(self.out.join(SETUP_FILE), serde_json::to_string(&setup)?)?;

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).context("waiting for the guest")?;
        let (guest, _) = listener.accept()?;
        for line in BufReader::new(&guest).lines() {
            let go: Go = serde_json::from_str(&line?).context("parsing the guest's message")?;
            let outcome = put_load_on(&map, go, &clients, || HostTimes::now(&servers, &vcpus))
                .and_then(|record| append(&self.out.join(HOSTS_FILE), &record));
            let done = Done { error: outcome.err().map(|err| format!("{err:#}")) };
            writeln!(&guest, "{}", serde_json::to_string(&done)?)?;
        }
        Ok(())
    }

    fn load_map(&self, capacity_per_s: f64) -> Result<LoadMap> {
        let batch = match self.batch {
            Some(batch) => batch,
            None => {
                let wanted = (self.share * capacity_per_s * self.mean / 1e3).round().max(1.0) as u32;
                ensure!(
                    wanted <= Client::BATCH_MAX,
                    "--share {} is {wanted} requests in {} ms, and a batch has {} at most: choose a smaller --mean",
                    self.share,
                    self.mean,
                    Client::BATCH_MAX
                );
                wanted
            }
        };
        let Load { mean: mean_ms, deviation: deviation_ms, phase: phase_s, seed, .. } = *self;
        let (nr_hosts, clients_per_host) = (usize::from(self.hosts), usize::from(self.cpus_per_host));
        Ok(LoadMap { nr_hosts, clients_per_host, mean_ms, deviation_ms, phase_s, batch, seed })
    }
}

/// Requests that a server answers per second of its CPU time, under the experiment's pattern: in batches, and to as many hosts
/// at once as are busy in the experiment. A server alone would seem to answer more, because it would have the real CPUs under the
/// emulated ones to itself.
fn capacity_per_s(clients: &[Client], servers: &[Server]) -> Result<f64> {
    // An emulated CPU stands still now and then, which counts as CPU time.
    const NR_TIMES: usize = 5;
    const NR_BATCHES: u32 = 100;
    const BATCH: u32 = 200;
    const EVERY: Duration = Duration::from_millis(20);

    let batches: Vec<_> = (0..NR_BATCHES).map(|at| Batch { due: EVERY * at, nr_requests: BATCH }).collect();
    let nr_busy = nr_busy(servers.len());
    let clients = &clients[..nr_busy * clients.len() / servers.len()];
    let servers = &servers[..nr_busy];
    let batches = vec![batches; clients.len()];
    // Warm up: the first requests allocate memory and make the emulator translate the code.
    for client in clients {
        client.flood(50)?;
    }
    let cpu_time_s = || servers.iter().map(Server::cpu_time_s).sum::<Result<f64>>();
    let nr_requests = clients.len() as u32 * NR_BATCHES * BATCH;
    let measured = (0..NR_TIMES).map(|_| {
        let before_s = cpu_time_s()?;
        run_at_once(clients, &batches, Instant::now(), || Ok(()))?;
        let busy_s = cpu_time_s()? - before_s;
        ensure!(busy_s > 0.0, "{nr_requests} requests took no CPU time");
        Ok(f64::from(nr_requests) / busy_s)
    });
    let mut measured = measured.collect::<Result<Vec<_>>>()?;
    measured.sort_by(f64::total_cmp);
    Ok(measured[NR_TIMES / 2])
}

/// Sends each client's batches, from `start` on, while `meanwhile` runs. Returns when all have been answered.
fn run_at_once(
    clients: &[Client],
    batches: &[Vec<Batch>],
    start: Instant,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<Vec<Latencies>> {
    thread::scope(|scope| {
        let one_each =
            clients.iter().zip(batches).map(|(client, batches)| scope.spawn(move || client.run(batches, start)));
        let threads: Vec<_> = one_each.collect();
        meanwhile()?;
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Latencies>>| {
            thread.join().map_err(|_| anyhow!("a client panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}

/// The CPU time used on each host up to some moment by its server and its vCPUs.
///
/// It uses the scheduler's exact count for each thread, because an emulated CPU loses many of the ticks in /proc/stat.
struct HostTimes {
    at: Instant,
    server_s: Vec<f64>,
    guest_s: Vec<f64>,
    cpus_per_host: usize,
}

impl HostTimes {
    /// `vcpus` are the threads of the guest's vCPUs, host by host.
    fn now(servers: &[Server], vcpus: &[i32]) -> Result<Self> {
        let at = Instant::now();
        let cpus_per_host = vcpus.len() / servers.len();
        let of_host = |vcpus: &[i32]| vcpus.iter().map(|&vcpu| thread_cpu_time_s(vcpu)).sum::<Result<f64>>();
        Ok(HostTimes {
            at,
            server_s: servers.iter().map(Server::cpu_time_s).collect::<Result<_>>()?,
            guest_s: vcpus.chunks(cpus_per_host).map(of_host).collect::<Result<_>>()?,
            cpus_per_host,
        })
    }

    /// What the hosts did between this and `later`, which is at `at`.
    fn until(&self, later: &HostTimes, at: Duration) -> HostSecond {
        let cpu_s = later.at.duration_since(self.at).as_secs_f64() * self.cpus_per_host as f64;
        let ran_s = |from: &[f64], to: &[f64]| from.iter().zip(to).map(|(from, to)| to - from).collect::<Vec<f64>>();
        let (server_s, guest_s) = (ran_s(&self.server_s, &later.server_s), ran_s(&self.guest_s, &later.guest_s));
        let share = |ran_s: f64| (ran_s / cpu_s).clamp(0.0, 1.0);
        HostSecond {
            at_s: at.as_secs_f64(),
            busy: server_s.iter().zip(&guest_s).map(|(server_s, guest_s)| share(server_s + guest_s)).collect(),
            guest_busy: guest_s.into_iter().map(share).collect(),
        }
    }
}

/// From /proc/TID/schedstat, which has: ns on a CPU, ns waiting for one, number of times on one.
fn thread_cpu_time_s(tid: i32) -> Result<f64> {
    let path = format!("/proc/{tid}/schedstat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let ns: u64 = text.split(' ').next().unwrap_or_default().parse().with_context(|| format!("{path}: {text}"))?;
    Ok(ns as f64 / 1e9)
}

/// The threads of the guest's vCPUs, in order.
fn vcpu_threads(nr: usize) -> Result<Vec<i32>> {
    let text = std::env::var("LAB_VCPU_TIDS").context("LAB_VCPU_TIDS: the lab sets it on the host level")?;
    let tids = text.split_whitespace().map(str::parse).collect::<Result<Vec<i32>, _>>();
    let tids = tids.with_context(|| format!("LAB_VCPU_TIDS: {text}"))?;
    ensure!(tids.len() == nr, "LAB_VCPU_TIDS has {} threads, and the hosts have {nr} CPUs", tids.len());
    Ok(tids)
}

/// A memcached on its host's CPUs. Killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(memcached: &Path, host: usize, nr_cpus: usize) -> Result<Self> {
        let port = FIRST_SERVER_PORT + host as u16;
        let libraries = memcached.parent().unwrap_or(Path::new("."));
        let cpus = format!("{}-{}", host * nr_cpus, (host + 1) * nr_cpus - 1);
        // It gives its connections to its threads in turn. Its background threads would be load that no client caused.
        let child = Command::new("taskset")
            .args(["-c", &cpus])
            .arg(memcached)
            .args(["-u", "root", "-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-m", "32"])
            .args(["-t", &nr_cpus.to_string()])
            .args(["-R", "1000", "-o", "no_lru_crawler,no_lru_maintainer,no_hashexpand"])
            .env("LD_LIBRARY_PATH", libraries)
            .stdin(Stdio::null())
            .spawn()
            .context("starting memcached with taskset")?;
        Ok(Server { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }
}

impl Server {
    fn cpu_time_s(&self) -> Result<f64> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).context("memcached has ended")?;
        let time_s = |thread: std::io::Result<std::fs::DirEntry>| {
            thread_cpu_time_s(thread?.file_name().to_string_lossy().parse().context("a thread's id")?)
        };
        threads.map(time_s).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives this thread and those that it starts real-time priority, so that requests are sent when they are due and answers are
/// read when they arrive, whatever else runs on the CPU. Real clients would have a machine of their own.
fn run_first() -> Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: priority outlives the call; 0 is the calling thread.
    let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) } != 0;
    ensure!(!failed, "setting SCHED_FIFO: {}", std::io::Error::last_os_error());
    Ok(())
}

/// One arm's load, from its start until all requests have been answered.
fn put_load_on(map: &LoadMap, go: Go, clients: &[Client], times: impl Fn() -> Result<HostTimes>) -> Result<HostRecord> {
    /// Delay before the load starts, in which the clients' threads start: otherwise the first requests would be late.
    const LEAD: Duration = Duration::from_millis(500);

    let batches = (0..map.nr_clients()).map(|client| map.batches(go.round, client)).collect::<Result<Vec<_>>>()?;
    let start = Instant::now() + LEAD;
    let mut at = Duration::ZERO;
    let mut seconds = Vec::new();
    let latencies = run_at_once(clients, &batches, start, || {
        thread::sleep(start.saturating_duration_since(Instant::now()));
        let mut before = times()?;
        while at + Duration::from_millis(500) < map.length() {
            thread::sleep((start + at + Duration::from_secs(1)).saturating_duration_since(Instant::now()));
            let now = times()?;
            at = now.at - start;
            seconds.push(before.until(&now, at));
            before = now;
        }
        Ok(())
    })?;
    let mut all = new_histogram()?;
    for latencies in &latencies {
        all.add(&latencies.all)?;
    }
    let quantile = |quantile| all.value_at_quantile(quantile) as f64;
    Ok(HostRecord {
        arm: go.arm,
        round: go.round,
        lasted_s: start.elapsed().as_secs_f64(),
        requests: all.len(),
        latency_us: Latency {
            mean: all.mean(),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: all.max() as f64,
        },
        seconds,
        p99_us: latencies.into_iter().map(|latencies| latencies.p99_us).collect(),
    })
}

fn append(path: &Path, record: &HostRecord) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    writeln!(file.with_context(|| path.display().to_string())?, "{}", serde_json::to_string(record)?)?;
    Ok(())
}
