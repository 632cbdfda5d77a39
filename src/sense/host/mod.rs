//! What the hosts say of themselves: the CPU that is taken on each node's host, from Prometheus node_exporter.
//!
//! - [`spec`]: where hosts are asked, from the command line and a file.
//! - [`scrape`]: one request, bounded in time and size.
//! - [`metrics`]: an answer as counters, two answers as a reading.
//!
//! A thread for each host asks it every period and leaves its word; a round takes the latest and waits for nobody.

mod metrics;
mod scrape;
mod spec;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{select, Receiver, Sender};

pub use metrics::{MetricsError, Reading};
pub use scrape::ScrapeError;
pub use spec::{host_specs, Auth, HostSpec, HostSpecError};

use super::pressure::Word;
use crate::cell::NodeId;
use metrics::Counters;
use scrape::Scraper;

/// Hosts are asked at most this often: node_exporter's answer costs them some milliseconds of CPU.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// However long the period is, an answer that takes longer is none.
const TIMEOUT_MAX: Duration = Duration::from_secs(4);
/// Counters count in ticks of 10 ms: in less than this they tell little.
const LOOK_MIN: Duration = Duration::from_millis(200);
/// How long the end waits for requests that are under way; those that take longer end by themselves.
const END_WAIT: Duration = Duration::from_millis(200);
/// TLS needs the most of it. All of it is locked in memory.
const STACK_BYTES: usize = 512 << 10;

/// Why the hosts can't be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// A file that a host's entry names can't be used.
    #[error("host of node {node}: {source}")]
    Host {
        /// The host's node.
        node: NodeId,
        /// What is wrong.
        source: ScrapeError,
    },
    /// No thread could be started.
    #[error("starting a thread to ask the host of node {node}: {source}")]
    Thread {
        /// The host's node.
        node: NodeId,
        /// Why.
        source: io::Error,
    },
}

/// What is known of a host now.
#[derive(Clone, Copy, Debug)]
enum Latest {
    /// It has not answered twice yet, or its last answer gave no reading.
    Nothing,
    /// What was taken until this moment.
    Reading(Reading, Instant),
}

/// One host, as rounds see it.
#[derive(Debug)]
struct Host {
    node: NodeId,
    latest: Arc<Mutex<Latest>>,
    /// Holds one wish to be asked at once.
    hurry: Sender<()>,
}

/// The hosts that are asked. Ends its threads when dropped.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>,
    period: Duration,
    /// Dropped to end the threads.
    stop: Option<Sender<Infallible>>,
    /// Closed once all of them have ended.
    ended: Receiver<Infallible>,
}

impl Hosts {
    /// Starts to ask each host every `interval`, or every second if that is shorter.
    pub fn start(specs: Vec<HostSpec>, interval: Duration) -> Result<Self, HostsError> {
        let period = interval.max(PERIOD_MIN);
        let timeout = (period * 4 / 5).min(TIMEOUT_MAX);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (alive, ended) = crossbeam_channel::bounded(0);
        let mut hosts = Hosts { hosts: Vec::new(), period, stop: Some(stop), ended };
        for spec in specs {
            let node = spec.node;
            let scraper = Scraper::new(spec, timeout).map_err(|source| HostsError::Host { node, source })?;
            let latest = Arc::new(Mutex::new(Latest::Nothing));
            let (latest_too, stopped, alive) = (latest.clone(), stopped.clone(), alive.clone());
            let (hurry, hurried) = crossbeam_channel::bounded(1);
            let thread = thread::Builder::new().name(format!("host-{node}")).stack_size(STACK_BYTES);
            thread
                .spawn(move || {
                    Watch::new(scraper, &latest_too).run(period, &stopped, &hurried);
                    drop(alive);
                })
                .map_err(|source| HostsError::Thread { node, source })?;
            hosts.hosts.push(Host { node, latest, hurry });
        }
        Ok(hosts)
    }

    /// What the host of `node` last said; `None` when no host is configured for it.
    pub fn word(&self, node: NodeId) -> Option<Word> {
        Some(match self.latest(node)? {
            Latest::Nothing => Word::Failed,
            Latest::Reading(reading, at) => {
                Word::Taken { share: reading.taken_share, age: at.elapsed(), period: self.period }
            }
        })
    }

    /// Asks all hosts at once, unless they have been asked just now, and waits for the answers until `patience` is over. What
    /// they say then is of the time since they were asked last. Returns false when there is nobody to ask.
    pub fn hurry(&self, patience: Duration) -> bool {
        let began = Instant::now();
        let is_old = |host: &&Host| match *lock(&host.latest) {
            Latest::Reading(_, at) => began.saturating_duration_since(at) >= LOOK_MIN,
            // Who doesn't answer isn't waited for.
            Latest::Nothing => false,
        };
        let asked: Vec<&Host> = self.hosts.iter().filter(is_old).collect();
        for host in &asked {
            // Full means that it is about to be asked already.
            let _ = host.hurry.try_send(());
        }
        while began.elapsed() < patience && asked.iter().any(is_old) {
            thread::sleep(Duration::from_millis(1));
        }
        !self.hosts.is_empty()
    }

    /// The last reading of the host of `node`, for reports; `None` when there is none now.
    pub fn reading(&self, node: NodeId) -> Option<Reading> {
        match self.latest(node)? {
            Latest::Nothing => None,
            Latest::Reading(reading, _) => Some(reading),
        }
    }

    /// Share of the time in which something on the host of `node` waited for a CPU, 0..=1, if the host counts it.
    pub fn psi_share(&self, node: NodeId) -> Option<f64> {
        self.reading(node)?.psi_share
    }

    fn latest(&self, node: NodeId) -> Option<Latest> {
        let host = self.hosts.iter().find(|host| host.node == node)?;
        Some(*lock(&host.latest))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.ended.recv_timeout(END_WAIT);
    }
}

/// A word is whole at any time, whatever became of the thread that left it.
fn lock(latest: &Mutex<Latest>) -> MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One host's thread.
struct Watch<'a> {
    scraper: Scraper,
    latest: &'a Mutex<Latest>,
    base: Option<Counters>,
    failing_since: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(scraper: Scraper, latest: &'a Mutex<Latest>) -> Self {
        Watch { scraper, latest, base: None, failing_since: None }
    }

    fn run(&mut self, period: Duration, stopped: &Receiver<Infallible>, hurried: &Receiver<()>) {
        let mut due = Instant::now();
        loop {
            self.ask();
            // A guest that was paused doesn't catch up on what it missed.
            due = (due + period).max(Instant::now());
            select! {
                recv(stopped) -> _ => return,
                recv(hurried) -> _ => due = Instant::now(),
                default(due.saturating_duration_since(Instant::now())) => {}
            }
        }
    }

    fn ask(&mut self) {
        let outcome = self.read();
        *lock(self.latest) = match outcome {
            Ok(Some((reading, at))) => Latest::Reading(reading, at),
            Ok(None) | Err(_) => Latest::Nothing,
        };
        self.note(outcome.err());
    }

    /// What was taken since the last answer, and when; `None` for the first one.
    fn read(&mut self) -> Result<Option<(Reading, Instant)>, ScrapeError> {
        let asked = Instant::now();
        // Whatever comes is the new base: nothing is ever measured across a gap.
        let base = self.base.take();
        let counters = self.base.insert(self.scraper.scrape()?);
        let reading = base.map(|base| counters.since(&base)).transpose()?;
        Ok(reading.map(|reading| (reading, asked)))
    }

    /// One line when it begins to fail, one when that is over.
    fn note(&mut self, err: Option<ScrapeError>) {
        let HostSpec { node, url, .. } = self.scraper.spec();
        match (err, self.failing_since) {
            (Some(err), None) => {
                log::warn!("host of node {node}, {url}: {err}; what is taken of the node is unknown meanwhile");
                self.failing_since = Some(Instant::now());
            }
            (Some(err), Some(_)) => log::debug!("host of node {node}, {url}: {err}"),
            (None, Some(since)) => {
                log::info!("host of node {node}, {url}: answers again after {:.0} s", since.elapsed().as_secs_f64());
                self.failing_since = None;
            }
            (None, None) => {}
        }
    }
}
