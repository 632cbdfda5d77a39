//! The CPU that is taken on each node's host, from the host's Prometheus node_exporter.
//!
//! - [`spec`]: the hosts' addresses, from the command line and a file.
//! - [`access`]: credentials and certificates, as a file's entry names them.
//! - [`scrape`]: one request, bounded in time and size.
//! - [`names`]: looks up the hosts' names.
//! - [`secrets`]: the files with passwords, tokens, certificates and keys.
//! - [`sample`]: parses one line of an answer.
//! - [`advance`]: what a CPU's counters advanced by, and whether that can be true.
//! - [`metrics`]: parses an answer into counters and computes a reading from two answers.
//!
//! Each host has a thread that asks it every period and publishes a reading for each of the host's nodes. A round uses
//! the latest reading and never waits.

pub(super) mod access;
mod advance;
#[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod metrics;
pub(super) mod names;
pub(super) mod sample;
pub(super) mod scrape;
mod secrets;
pub(super) mod spec;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{select, Receiver, Sender};

pub use access::{Access, Auth, ClientFiles};
pub use metrics::{HostLoad, MetricsError};
pub(super) use names::Names;
pub(super) use sample::Sample;
pub use scrape::ScrapeError;
pub(super) use scrape::Scraper;
pub(super) use secrets::warnings;
pub use spec::{host_specs, HostSpec, HostSpecError};

use super::pressure::Reading;
use crate::cell::NodeId;
use crate::linux::{self, CpuSet};
use metrics::{CpuCounters, NodeCounters};
use scrape::Answer;

/// Minimum time between two requests to a host: node_exporter's answer costs the host some milliseconds of CPU.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// Maximum time to wait for an answer, however long the period is.
const TIMEOUT_MAX: Duration = Duration::from_secs(4);
/// Minimum time between two answers for a reading: the counters advance in ticks of 10 ms.
const LOOK_MIN: Duration = Duration::from_millis(200);
/// How long shutdown waits for requests in progress. Those that take longer end by themselves.
const END_WAIT: Duration = Duration::from_millis(200);
/// Most of the stack is for TLS.
const STACK_BYTES: usize = 512 << 10;

/// Why hosts can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// A file that a host's entry names can't be used.
    #[error("host of node {node}: {cause}")]
    Host {
        /// The host's node.
        node: NodeId,
        /// The underlying error.
        cause: ScrapeError,
    },
    /// A host's thread can't be started.
    #[error("starting a thread to ask the host of node {node}: {cause}")]
    Thread {
        /// The host's node.
        node: NodeId,
        /// The system's error.
        cause: io::Error,
    },
}

/// The latest state of a host.
#[derive(Clone, Copy, Debug)]
enum Latest {
    /// The host has not answered twice yet, or its last answer gave no reading.
    Nothing,
    /// The last reading, and when it was taken.
    Load(HostLoad, Instant),
}

/// The host of one node, as rounds see it.
#[derive(Debug)]
struct Host {
    node: NodeId,
    latest: Arc<Mutex<Latest>>,
    /// Holds at most one request to ask the host at once.
    refresh_now: Sender<()>,
}

/// All hosts that are asked. Dropping it ends their threads.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>,
    period: Duration,
    /// Holds a message if one has answered, or failed to, since it was last received.
    answered: Receiver<()>,
    /// Dropped to stop the threads.
    stop: Option<Sender<Infallible>>,
    /// Closed when all threads have ended.
    ended: Receiver<Infallible>,
}

impl Hosts {
    /// Start asking each host every `interval`, but at most once a second.
    pub fn start(specs: Vec<HostSpec>, interval: Duration) -> Result<Self, HostsError> {
        let period = interval.max(PERIOD_MIN);
        let timeout = (period * 4 / 5).min(TIMEOUT_MAX);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (alive, ended) = crossbeam_channel::bounded(0);
        let (has_answered, answered) = crossbeam_channel::bounded(1);
        let mut hosts = Hosts { hosts: Vec::new(), period, answered, stop: Some(stop), ended };
        let hosts_specs = by_host(specs);
        let Some(first) = hosts_specs.first() else { return Ok(hosts) };
        let names = Names::start().map_err(|cause| HostsError::Thread { node: first[0].node, cause })?;
        for specs in hosts_specs {
            let node = specs[0].node;
            let scraper = Scraper::new(&specs[0].url, &specs[0].access, timeout, names.clone())
                .map_err(|cause| HostsError::Host { node, cause })?;
            for warning in warnings(&specs[0].url, &specs[0].access) {
                log::warn!("host of node {node}, {warning}");
            }
            let (refresh_now, hurried) = crossbeam_channel::bounded(1);
            let nodes: Vec<Watched> = specs.into_iter().map(Watched::new).collect();
            for Watched { node, latest, .. } in &nodes {
                hosts.hosts.push(Host { node: *node, latest: latest.clone(), refresh_now: refresh_now.clone() });
            }
            let (stopped, alive, has_answered) = (stopped.clone(), alive.clone(), has_answered.clone());
            let watch = move || {
                Watch { scraper, nodes, has_answered }.run(period, &stopped, &hurried);
                drop(alive);
            };
            linux::thread::spawn(format!("host-{node}"), STACK_BYTES, watch)
                .map_err(|cause| HostsError::Thread { node, cause })?;
        }
        Ok(hosts)
    }

    /// The last reading of `node`'s host; `None` if no host is configured for it.
    pub fn reading(&self, node: NodeId) -> Option<Reading> {
        Some(match self.latest(node)? {
            Latest::Nothing => Reading::Failed,
            Latest::Load(reading, at) => {
                Reading::Taken { share: reading.taken_share, age: at.elapsed(), period: self.period, spin: None }
            }
        })
    }

    /// Ask all hosts at once, except those asked within the last 200 ms, and wait for their answers for at most
    /// `patience`. The new readings cover the time since the previous answer. Returns false if no hosts are configured.
    pub fn refresh_now(&self, patience: Duration) -> bool {
        let began = Instant::now();
        let is_old = |host: &&Host| match *lock(&host.latest) {
            Latest::Load(_, at) => began.saturating_duration_since(at) >= LOOK_MIN,
            // A host that doesn't answer isn't waited for.
            Latest::Nothing => false,
        };
        let asked: Vec<&Host> = self.hosts.iter().filter(is_old).collect();
        for host in &asked {
            // A full channel already holds such a request.
            let _ = host.refresh_now.try_send(());
        }
        while asked.iter().any(is_old) && self.answered.recv_deadline(began + patience).is_ok() {}
        !self.hosts.is_empty()
    }

    /// The last reading of `node`'s host, for reports; `None` if there is none.
    pub fn load(&self, node: NodeId) -> Option<HostLoad> {
        match self.latest(node)? {
            Latest::Nothing => None,
            Latest::Load(reading, _) => Some(reading),
        }
    }

    /// Share of time in which something on `node`'s host waited for a CPU (PSI), 0..=1, if the host reports it.
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

/// A poisoned lock is fine: the value is replaced as a whole, so it is always consistent.
fn lock(latest: &Mutex<Latest>) -> MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Group the nodes by host. Nodes whose hosts are asked in the same way have the same host.
fn by_host(specs: Vec<HostSpec>) -> Vec<Vec<HostSpec>> {
    let mut hosts: Vec<Vec<HostSpec>> = Vec::new();
    for spec in specs {
        let is_same = |other: &HostSpec| other.url == spec.url && other.access == spec.access;
        match hosts.iter_mut().find(|host| is_same(&host[0])) {
            Some(host) => host.push(spec),
            None => hosts.push(vec![spec]),
        }
    }
    hosts
}

/// The thread of one host.
struct Watch {
    scraper: Scraper,
    nodes: Vec<Watched>,
    has_answered: Sender<()>,
}

/// A node of that host.
struct Watched {
    node: NodeId,
    cpus: Option<CpuSet>,
    latest: Arc<Mutex<Latest>>,
    base: Option<NodeCounters>,
    failing_since: Option<Instant>,
}

impl Watch {
    fn run(&mut self, period: Duration, stopped: &Receiver<Infallible>, hurried: &Receiver<()>) {
        let mut due = Instant::now();
        loop {
            self.ask();
            // A guest that was paused doesn't catch up on requests it missed.
            due = (due + period).max(Instant::now());
            let asked = Instant::now();
            loop {
                select! {
                    recv(stopped) -> _ => return,
                    recv(hurried) -> _ => {
                        // A request for another node of this host may just have been answered.
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
        let url = self.scraper.url();
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
        // A full channel already holds such a message.
        let _ = self.has_answered.try_send(());
    }
}

impl Watched {
    fn new(spec: HostSpec) -> Self {
        let latest = Arc::new(Mutex::new(Latest::Nothing));
        Watched { node: spec.node, cpus: spec.cpus, latest, base: None, failing_since: None }
    }

    /// The reading since the last answer, and its time; `None` for the first answer.
    fn read(
        &mut self,
        metrics: Result<&CpuCounters, &MetricsError>,
    ) -> Result<Option<(HostLoad, Instant)>, MetricsError> {
        // Every answer becomes the new base, so no reading spans a gap.
        let base = self.base.take();
        let counters = self.base.insert(NodeCounters::of(metrics.map_err(Clone::clone)?, self.cpus.as_ref())?);
        let reading = base.map(|base| counters.since(&base)).transpose()?;
        Ok(reading.map(|reading| (reading, counters.asked())))
    }

    /// Log one line when a host begins to fail, and one when it answers again.
    fn note(&mut self, url: &str, err: Option<String>) {
        let node = self.node;
        match (err, self.failing_since) {
            (Some(err), None) => {
                log::warn!("host of node {node}, {url}: {err}; the node's pressure is unknown until it answers again");
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
    fn nodes_of_one_host_share_an_answer_unless_their_credentials_differ() {
        let spec = |text: &str| text.parse::<HostSpec>().unwrap();
        let other = HostSpec {
            access: Access { ca_file: Some("other.pem".into()), ..Access::default() },
            ..spec("3=https://a?cpus=3")
        };
        let specs = vec![spec("0=https://a?cpus=0"), spec("1=https://b"), spec("2=https://a?cpus=1"), other];
        let nodes = by_host(specs).into_iter().map(|host| host.iter().map(|spec| spec.node.0).collect::<Vec<_>>());
        assert_eq!(nodes.collect::<Vec<_>>(), [vec![0, 2], vec![1], vec![3]]);
    }
}
