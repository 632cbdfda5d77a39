//! A latency objective (`--slo`): work makes room while it is missed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use super::operating::scx_vnuma;
use crate::guest::workers::{Setting, Worker};
use crate::guest::{wait_for, Scheduler};

/// Latency without migratable work, and what each CPU that such work uses adds.
const CALM_MS: f64 = 2.0;
const MS_PER_CPU: f64 = 2.0;
const LIMIT_MS: f64 = 5.0;

/// An endpoint whose latency follows the CPU that the workers have used since it was last asked.
struct Endpoint {
    port: u16,
    is_open: Arc<AtomicBool>,
    latency_ms: Arc<Mutex<f64>>,
}

impl Endpoint {
    fn start(pids: Vec<i32>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (is_open, latency_ms) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(0.0)));
        let (still_open, latest) = (is_open.clone(), latency_ms.clone());
        std::thread::spawn(move || {
            let used = || pids.iter().map(|&pid| run_time(pid)).sum::<Duration>();
            let mut before = (used(), Instant::now());
            for stream in listener.incoming() {
                if !still_open.load(Ordering::Relaxed) {
                    return;
                }
                let now = (used(), Instant::now());
                let used_s = now.0.saturating_sub(before.0).as_secs_f64();
                let cpus = used_s / (now.1 - before.1).as_secs_f64().max(0.01);
                before = now;
                let latency_ms = CALM_MS + MS_PER_CPU * cpus;
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = latency_ms;
                // The daemon may have ended.
                let _ = stream.and_then(|stream| answer(stream, latency_ms));
            }
        });
        Ok(Endpoint { port, is_open, latency_ms })
    }

    fn latency_ms(&self) -> f64 {
        *self.latency_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) -> Result<()> {
        self.is_open.store(false, Ordering::Relaxed);
        // Wakes the thread, which then closes its listener.
        TcpStream::connect(("127.0.0.1", self.port))?;
        Ok(())
    }
}

/// The time that a process of one thread has run; 0 once it has ended.
fn run_time(pid: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn answer(mut stream: TcpStream, latency_ms: f64) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 4096])?;
    let text = format!("# TYPE lc_p99_seconds gauge\nlc_p99_seconds {}\n", latency_ms / 1e3);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    stream.write_all((head + &text).as_bytes())
}

pub fn work_makes_room_while_an_objective_is_missed_and_while_it_is_unknown() -> Result<String> {
    const LONG: Duration = Duration::from_secs(10);
    let workers = Worker::start_many(4, &Setting::migratable())?;
    let endpoint = Endpoint::start(workers.iter().map(|worker| worker.pid).collect())?;
    let slo = format!("http://127.0.0.1:{}#lc_p99_seconds<{LIMIT_MS}ms", endpoint.port);
    let scheduler = Scheduler::start(&["--policy", "auto", "--slo", &slo])?;
    // It may be over by the time that another program could ask.
    let is_missed = || Ok(scheduler.log()?.contains("which is missed: work has"));
    wait_for("a miss is reported", Duration::from_secs(20), is_missed)?;
    let mut met_since: Option<Instant> = None;
    let took = wait_for("the objective is met for a while", Duration::from_secs(90), || {
        let is_met = endpoint.latency_ms() < LIMIT_MS;
        let since = *met_since.get_or_insert_with(Instant::now);
        met_since = is_met.then_some(since);
        Ok(is_met && since.elapsed() >= LONG)
    })?;
    let met_ms = endpoint.latency_ms();
    let explained = scx_vnuma(&["explain", "-n", "1"])?.1;
    ensure!(explained.contains("  latency  the latency is "), "{explained}");

    endpoint.close()?;
    wait_for("an unknown latency is reported", Duration::from_secs(20), || {
        Ok(scx_vnuma(&["status"])?.1.contains("is unknown: work has"))
    })?;
    std::thread::sleep(Duration::from_secs(1));
    let used = || workers.iter().map(Worker::cpu_time).sum::<Result<Duration>>();
    let before = used()?;
    std::thread::sleep(Duration::from_secs(5));
    let cpus = (used()? - before).as_secs_f64() / 5.0;
    ensure!(cpus < 1.2, "{cpus:.2} of 4 CPUs are used although the latency is unknown");
    let log = scheduler.log()?;
    ensure!(log.contains("work has little room until the latency is known"), "{log}");
    Ok(format!(
        "below {LIMIT_MS} ms for ten seconds {took:.1?} after a miss, then at {met_ms:.2} ms; {cpus:.2} of 4 CPUs without answers"
    ))
}
