//! What the hosts' distributed memory does: pages that come to each node, and how long vCPUs wait for them.
//!
//! A hypervisor that distributes a guest's memory (GiantVM) counts its faults; [`counters`] has the names under which a host exports
//! them. Each address has a thread that asks it every period. A round uses the latest answer and never waits.
//!
//! Two things are learned from it. What a page costs is the time that was waited divided by the faults ([`Price`]). And what a move
//! fetches is the pages that came after it. Faults alone are no pressure: work that shares memory with others on its node, and work
//! that reads what another node writes once, have the same count, and only a trial would tell whether a move ends them.

mod counters;
mod spec;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{select, Receiver, Sender};

pub use counters::{DsmCounters, DsmError};
pub use spec::{check_dsm_specs, DsmSpec, DsmSpecError};

use crate::cell::NodeId;
use crate::linux;
use crate::sense::host::{Names, Scraper};
use crate::sense::HostsError;

/// Minimum time between two requests to a host.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// Maximum time to wait for an answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(4);
/// An answer that is older than this many periods counts no more.
const STALE_AFTER_PERIODS: u32 = 3;
/// Most of the stack is for TLS.
const STACK_BYTES: usize = 512 << 10;
/// How long shutdown waits for requests in progress.
const END_WAIT: Duration = Duration::from_millis(200);

/// What is known of a node's distributed memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DsmLoad {
    /// The counters of the last answer.
    pub counters: DsmCounters,
    /// Faults per second between the last two answers.
    pub faults_per_s: f64,
    /// vCPUs that waited for pages, on average between the last two answers; `None` if the host doesn't tell.
    pub waiting_cpus: Option<f64>,
}

/// How long a vCPU waits for a page, from what all hosts count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Price {
    faults: f64,
    waited_s: f64,
}

impl Price {
    /// So many faults make a price.
    const FAULTS_MIN: f64 = 100.0;
    /// Half-life of what was counted, in seconds.
    const HALF_LIFE_S: f64 = 30.0;
    /// Less is no wait for another machine: the host counts faults and charges nothing.
    const PAGE_MIN_S: f64 = 1e-7;

    fn add(&mut self, faults: f64, waited_s: f64, passed_s: f64) {
        let left = (-passed_s / Self::HALF_LIFE_S).exp2();
        self.faults = self.faults * left + faults;
        self.waited_s = self.waited_s * left + waited_s;
    }

    fn page_s(self) -> Option<f64> {
        let page_s = self.waited_s / self.faults;
        (self.faults >= Self::FAULTS_MIN && page_s >= Self::PAGE_MIN_S).then_some(page_s)
    }

    fn and(self, other: Price) -> Price {
        Price { faults: self.faults + other.faults, waited_s: self.waited_s + other.waited_s }
    }
}

/// The last answer about one node, and what is made of it.
#[derive(Clone, Copy, Debug, Default)]
struct Latest {
    load: Option<(DsmLoad, Instant)>,
    price: Price,
}

impl Latest {
    /// Take in an answer. The first one, and one whose counters began anew, gives no rates.
    fn note(&mut self, counters: DsmCounters, at: Instant) {
        let Some((last, last_at)) = self.load.filter(|(last, _)| counters.goes_on_from(&last.counters)) else {
            self.load = Some((DsmLoad { counters, ..DsmLoad::default() }, at));
            return;
        };
        let passed_s = at.saturating_duration_since(last_at).as_secs_f64().max(1e-3);
        let faults = counters.faults() - last.counters.faults();
        let waited_s = counters.waited_s.zip(last.counters.waited_s).map(|(now, before)| now - before);
        if let Some(waited_s) = waited_s {
            self.price.add(faults, waited_s, passed_s);
        }
        let waiting_cpus = waited_s.map(|waited_s| waited_s / passed_s);
        self.load = Some((DsmLoad { counters, faults_per_s: faults / passed_s, waiting_cpus }, at));
    }
}

#[derive(Debug)]
struct Watched {
    node: NodeId,
    latest: Arc<Mutex<Latest>>,
}

/// All hosts that are asked about their distributed memory. Dropping it ends their threads.
#[derive(Debug)]
pub struct Dsm {
    nodes: Vec<Watched>,
    period: Duration,
    /// Dropped to stop the threads.
    stop: Option<Sender<Infallible>>,
    /// Closed when all threads have ended.
    ended: Receiver<Infallible>,
}

impl Dsm {
    /// Start asking each address every `interval`, but at most once a second.
    ///
    /// # Errors
    ///
    /// A thread can't be started, or TLS doesn't work here.
    pub fn start(specs: &[DsmSpec], interval: Duration) -> Result<Self, HostsError> {
        let period = interval.max(PERIOD_MIN);
        let timeout = (period * 4 / 5).min(TIMEOUT_MAX);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (alive, ended) = crossbeam_channel::bounded(0);
        let mut dsm = Dsm { nodes: Vec::new(), period, stop: Some(stop), ended };
        let mut left: Vec<&DsmSpec> = specs.iter().collect();
        while let Some(DsmSpec(first)) = left.first().copied() {
            let thread_failed = |cause| HostsError::Thread { node: first.node, cause };
            // One answer may tell of several nodes.
            let (same, others): (Vec<&DsmSpec>, _) = left.into_iter().partition(|DsmSpec(spec)| spec.url == first.url);
            left = others;
            let names = Names::start().map_err(thread_failed)?;
            let scraper = Scraper::new(&first.url, &first.access, timeout, names)
                .map_err(|cause| HostsError::Host { node: first.node, cause })?;
            let mut asked = Vec::new();
            for DsmSpec(spec) in same {
                let latest = Arc::new(Mutex::new(Latest::default()));
                dsm.nodes.push(Watched { node: spec.node, latest: latest.clone() });
                asked.push(Watched { node: spec.node, latest });
            }
            let (stopped, alive) = (stopped.clone(), alive.clone());
            let watch = move || {
                watch(&scraper, &asked, period, &stopped);
                drop(alive);
            };
            linux::thread::spawn(format!("dsm-{}", first.node), STACK_BYTES, watch).map_err(thread_failed)?;
        }
        Ok(dsm)
    }

    /// What is known of a node; `None` if nobody is asked, or the last answer is too old.
    pub fn load(&self, node: NodeId) -> Option<DsmLoad> {
        let watched = self.nodes.iter().find(|watched| watched.node == node)?;
        let (load, at) = lock(&watched.latest).load?;
        (at.elapsed() <= self.period * STALE_AFTER_PERIODS).then_some(load)
    }

    /// How long a vCPU waits for a page, in seconds, as all hosts together have counted it of late; `None` while too little is known.
    pub fn page_s(&self) -> Option<f64> {
        self.nodes.iter().map(|watched| lock(&watched.latest).price).fold(Price::default(), Price::and).page_s()
    }
}

impl Drop for Dsm {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.ended.recv_timeout(END_WAIT);
    }
}

/// A poisoned lock is fine: the value is replaced as a whole.
fn lock(latest: &Mutex<Latest>) -> MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks one address until it is told to stop. Logs one line when it begins to fail, and one when it works again.
fn watch(scraper: &Scraper, asked: &[Watched], period: Duration, stopped: &Receiver<Infallible>) {
    let url = scraper.url();
    let (mut due, mut failing) = (Instant::now(), false);
    loop {
        let outcome = scraper.scrape().map_err(|err| err.to_string()).and_then(|answer| {
            for Watched { node, latest } in asked {
                let counters = DsmCounters::parse(&answer.text, *node).map_err(|err| err.to_string())?;
                lock(latest).note(counters, answer.answered);
            }
            Ok(())
        });
        match (&outcome, failing) {
            (Err(err), false) => log::warn!("--dsm {url}: {err}; pages count as by default until it answers again"),
            (Err(err), true) => log::debug!("--dsm {url}: {err}"),
            (Ok(()), true) => log::info!("--dsm {url}: answers again"),
            (Ok(()), false) => {}
        }
        failing = outcome.is_err();
        due = (due + period).max(Instant::now());
        select! {
            recv(stopped) -> _ => return,
            default(due.saturating_duration_since(Instant::now())) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn counters(fetched_pages: f64, upgrades: f64, waited_s: f64) -> DsmCounters {
        DsmCounters { fetched_pages, upgrades, waited_s: Some(waited_s) }
    }

    #[test]
    fn rates_and_the_price_of_a_page_are_of_what_came_between_two_answers() {
        let (mut latest, start) = (Latest::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        latest.note(counters(1e6, 5e5, 100.0), at(0));
        assert_eq!(
            (latest.load.unwrap().0.faults_per_s, latest.price.page_s()),
            (0.0, None),
            "how it was before doesn't count"
        );
        latest.note(counters(1e6 + 60.0, 5e5 + 20.0, 100.0008), at(2));
        let load = latest.load.unwrap().0;
        assert_eq!(load.faults_per_s, 40.0);
        assert!((load.waiting_cpus.unwrap() - 0.0004).abs() < 1e-9);
        assert_eq!(latest.price.page_s(), None, "80 faults are too few");
        latest.note(counters(1e6 + 1060.0, 5e5 + 20.0, 100.0108), at(3));
        assert!((latest.price.page_s().unwrap() - 10e-6).abs() < 1e-9);
        // It gets dearer, and what was long ago is forgotten.
        latest.note(counters(1e6 + 2060.0, 5e5 + 20.0, 100.0308), at(153));
        assert!((latest.price.page_s().unwrap() - 20e-6).abs() < 1e-6);
        // The host was started again.
        latest.note(counters(10.0, 0.0, 0.0), at(154));
        assert_eq!(latest.load.unwrap().0, DsmLoad { counters: counters(10.0, 0.0, 0.0), ..DsmLoad::default() });
        let free = Price { faults: 1e6, waited_s: 0.0 };
        assert_eq!(free.page_s(), None, "a host that only counts has no price");
    }

    #[test]
    fn one_exporter_tells_of_several_nodes_and_one_that_fails_of_none() {
        let (listener, served) = (TcpListener::bind(("127.0.0.1", 0)).unwrap(), Arc::new(AtomicU64::new(0)));
        let address = listener.local_addr().unwrap();
        let counted = served.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, nr) = (stream.unwrap(), counted.fetch_add(1, Ordering::Relaxed) + 1);
                let _ = stream.read(&mut [0; 1024]);
                let series = |node: u64| {
                    format!("dsm_faults_total{{node=\"{node}\",kind=\"read\"}} {}\ndsm_faults_total{{node=\"{node}\",kind=\"write\"}} 0\n", nr * 1000 * (node + 1))
                };
                let seconds = format!("dsm_fault_seconds_total {}\n", nr as f64 * 0.04);
                let body = series(0) + &series(1) + &seconds;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        let specs: Vec<DsmSpec> =
            [0, 1].iter().map(|node| format!("{node}=http://{address}").parse().unwrap()).collect();
        let dead = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let specs = [specs, vec![format!("2=http://{dead}").parse().unwrap()]].concat();
        let dsm = Dsm::start(&specs, Duration::from_millis(10)).unwrap();
        let began = Instant::now();
        while served.load(Ordering::Relaxed) < 3 || dsm.page_s().is_none() {
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(10));
        }
        let loads = [0, 1].map(|node| dsm.load(NodeId(node)).unwrap());
        let ratio = loads[1].counters.fetched_pages / loads[0].counters.fetched_pages;
        assert!((1.4..=4.0).contains(&ratio), "{loads:?}");
        assert!(loads[0].faults_per_s > 100.0 && loads[0].waiting_cpus.unwrap() > 0.001, "{loads:?}");
        // 2 x .04 s for 3,000 faults.
        assert!((dsm.page_s().unwrap() - 0.08 / 3000.0).abs() < 1e-6);
        assert_eq!((dsm.load(NodeId(2)), dsm.load(NodeId(3))), (None, None));
    }
}
