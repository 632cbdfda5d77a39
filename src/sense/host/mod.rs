//! What the hosts say of themselves: the CPU that is taken on each node's host, from Prometheus node_exporter.
//!
//! - [`spec`]: where hosts are asked, from the command line and a file.
//! - [`scrape`]: one request, bounded in time and size.
//! - [`sample`]: one line of an answer.
//! - [`metrics`]: an answer as counters, two answers as a reading.
//!
//! A thread for each host asks it every period and leaves its word for each of the nodes that it has; a round takes the latest
//! and waits for nobody.

mod metrics;
mod sample;
mod scrape;
mod spec;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{select, Receiver, Sender};

pub use metrics::{HostLoad, MetricsError};
pub use scrape::ScrapeError;
pub use spec::{host_specs, Auth, HostSpec, HostSpecError};

use super::pressure::Reading;
use crate::cell::NodeId;
use metrics::{CpuCounters, NodeCounters};
use scrape::{Answer, Scraper};

/// Hosts are asked at most this often: node_exporter's answer costs them some milliseconds of CPU.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// However long the period is, an answer that takes longer is none.
const TIMEOUT_MAX: Duration = Duration::from_secs(4);
/// NodeCounters count in ticks of 10 ms: in less than this they tell little.
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
    Load(HostLoad, Instant),
}

/// One host, as rounds see it.
#[derive(Debug)]
struct Host {
    node: NodeId,
    latest: Arc<Mutex<Latest>>,
    /// Holds one wish to be asked at once.
    refresh_now: Sender<()>,
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
        for specs in by_host(specs) {
            let node = specs[0].node;
            let scraper =
                Scraper::new(specs[0].clone(), timeout).map_err(|source| HostsError::Host { node, source })?;
            let (refresh_now, hurried) = crossbeam_channel::bounded(1);
            let nodes: Vec<Watched> = specs.into_iter().map(Watched::new).collect();
            for Watched { node, latest, .. } in &nodes {
                hosts.hosts.push(Host { node: *node, latest: latest.clone(), refresh_now: refresh_now.clone() });
            }
            let (stopped, alive) = (stopped.clone(), alive.clone());
            let thread = thread::Builder::new().name(format!("host-{node}")).stack_size(STACK_BYTES);
            thread
                .spawn(move || {
                    Watch { scraper, nodes }.run(period, &stopped, &hurried);
                    drop(alive);
                })
                .map_err(|source| HostsError::Thread { node, source })?;
        }
        Ok(hosts)
    }

    /// What the host of `node` last said; `None` when no host is configured for it.
    pub fn reading(&self, node: NodeId) -> Option<Reading> {
        Some(match self.latest(node)? {
            Latest::Nothing => Reading::Failed,
            Latest::Load(reading, at) => {
                Reading::Taken { share: reading.taken_share, age: at.elapsed(), period: self.period }
            }
        })
    }

    /// Asks all hosts at once, unless they have been asked just now, and waits for the answers until `patience` is over. What
    /// they say then is of the time since they were asked last. Returns false when there is nobody to ask.
    pub fn refresh_now(&self, patience: Duration) -> bool {
        let began = Instant::now();
        let is_old = |host: &&Host| match *lock(&host.latest) {
            Latest::Load(_, at) => began.saturating_duration_since(at) >= LOOK_MIN,
            // Who doesn't answer isn't waited for.
            Latest::Nothing => false,
        };
        let asked: Vec<&Host> = self.hosts.iter().filter(is_old).collect();
        for host in &asked {
            // Full means that it is about to be asked already.
            let _ = host.refresh_now.try_send(());
        }
        while began.elapsed() < patience && asked.iter().any(is_old) {
            thread::sleep(Duration::from_millis(1));
        }
        !self.hosts.is_empty()
    }

    /// The last reading of the host of `node`, for reports; `None` when there is none now.
    pub fn load(&self, node: NodeId) -> Option<HostLoad> {
        match self.latest(node)? {
            Latest::Nothing => None,
            Latest::Load(reading, _) => Some(reading),
        }
    }

    /// Share of the time in which something on the host of `node` waited for a CPU, 0..=1, if the host counts it.
    pub fn psi_share(&self, node: NodeId) -> Option<f64> {
        self.load(node)?.psi_share
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

/// Nodes whose hosts are asked in the same way are one host's.
fn by_host(specs: Vec<HostSpec>) -> Vec<Vec<HostSpec>> {
    let mut hosts: Vec<Vec<HostSpec>> = Vec::new();
    for spec in specs {
        let is_same =
            |other: &HostSpec| (&other.url, &other.auth, &other.ca_file) == (&spec.url, &spec.auth, &spec.ca_file);
        match hosts.iter_mut().find(|host| is_same(&host[0])) {
            Some(host) => host.push(spec),
            None => hosts.push(vec![spec]),
        }
    }
    hosts
}

/// One host's thread.
struct Watch {
    scraper: Scraper,
    nodes: Vec<Watched>,
}

/// A node on that host.
struct Watched {
    node: NodeId,
    cpus: Option<BTreeSet<u32>>,
    latest: Arc<Mutex<Latest>>,
    base: Option<NodeCounters>,
    failing_since: Option<Instant>,
}

impl Watch {
    fn run(&mut self, period: Duration, stopped: &Receiver<Infallible>, hurried: &Receiver<()>) {
        let mut due = Instant::now();
        loop {
            self.ask();
            // A guest that was paused doesn't catch up on what it missed.
            due = (due + period).max(Instant::now());
            let asked = Instant::now();
            loop {
                select! {
                    recv(stopped) -> _ => return,
                    recv(hurried) -> _ => {
                        // Another of its nodes may have had this answer already.
                        if asked.elapsed() < LOOK_MIN {
                            continue;
                        }
                        due = Instant::now();
                    }
                    default(due.saturating_duration_since(Instant::now())) => {}
                }
                break;
            }
        }
    }

    fn ask(&mut self) {
        let answer =
            self.scraper.scrape().map(|Answer { text, asked, answered }| CpuCounters::parse(&text, asked, answered));
        let url = &self.scraper.spec().url;
        for node in &mut self.nodes {
            let outcome = match &answer {
                Ok(metrics) => node.read(metrics.as_ref()).map_err(|err| err.to_string()),
                Err(err) => {
                    node.base = None;
                    Err(err.to_string())
                }
            };
            *lock(&node.latest) = match outcome {
                Ok(Some((reading, at))) => Latest::Load(reading, at),
                Ok(None) | Err(_) => Latest::Nothing,
            };
            node.note(url, outcome.err());
        }
    }
}

impl Watched {
    fn new(spec: HostSpec) -> Self {
        let latest = Arc::new(Mutex::new(Latest::Nothing));
        Watched { node: spec.node, cpus: spec.cpus, latest, base: None, failing_since: None }
    }

    /// What was taken since the last answer, and when; `None` for the first one.
    fn read(
        &mut self,
        metrics: Result<&CpuCounters, &MetricsError>,
    ) -> Result<Option<(HostLoad, Instant)>, MetricsError> {
        // Whatever comes is the new base: nothing is ever measured across a gap.
        let base = self.base.take();
        let counters = self.base.insert(NodeCounters::of(metrics.map_err(Clone::clone)?, self.cpus.as_ref())?);
        let reading = base.map(|base| counters.since(&base)).transpose()?;
        Ok(reading.map(|reading| (reading, counters.asked())))
    }

    /// One line when it begins to fail, one when that is over.
    fn note(&mut self, url: &str, err: Option<String>) {
        let node = self.node;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_one_host_share_an_answer_unless_they_ask_as_somebody_else() {
        let spec = |text: &str| text.parse::<HostSpec>().unwrap();
        let other = HostSpec { ca_file: Some("other.pem".into()), ..spec("3=https://a?cpus=3") };
        let specs = vec![spec("0=https://a?cpus=0"), spec("1=https://b"), spec("2=https://a?cpus=1"), other];
        let nodes = by_host(specs).into_iter().map(|host| host.iter().map(|spec| spec.node.0).collect::<Vec<_>>());
        assert_eq!(nodes.collect::<Vec<_>>(), [vec![0, 2], vec![1], vec![3]]);
    }
}
