//! The latencies of objectives (`--slo`), from a page in Prometheus's text format or from Prometheus's HTTP API.
//!
//! Each has a thread that asks every period and keeps the last value. A round uses that, and never waits.

mod answer;
mod file;
#[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod spec;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

pub use answer::AnswerError;
pub use file::{slo_specs, SloFileError};
pub use spec::{Query, SloSpec, SloSpecError};

use super::host::{warnings, Names, ScrapeError, Scraper};
use crate::linux;
use crate::policy::SloReading;

/// Minimum time between two requests.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// Maximum time to wait for an answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(4);
/// An answer that is older than this many periods is too old.
const FRESH_PERIODS: u32 = 3;
/// Most of the stack is for TLS.
const STACK_BYTES: usize = 512 << 10;

/// Why objectives can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum SloError {
    /// Its address can't be asked.
    #[error("--slo '{spec}': {cause}")]
    Address {
        /// The objective.
        spec: String,
        /// The underlying error.
        cause: ScrapeError,
    },
    /// A thread can't be started.
    #[error("starting a thread for --slo: {0}")]
    Thread(io::Error),
}

/// Why an answer has no value.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Scrape(#[from] ScrapeError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// The last value and when it was asked for; or since when there is none.
#[derive(Clone, Copy, Debug)]
struct Latest {
    value: Option<f64>,
    at: Instant,
}

/// The objectives that are watched. Dropping it ends their threads.
#[derive(Debug)]
pub struct Slos {
    slos: Vec<(SloSpec, Arc<Mutex<Latest>>)>,
    fresh_for: Duration,
    _stop: Sender<Infallible>,
}

impl Slos {
    /// Start asking for each objective's value every `interval`, but at most once a second.
    pub fn start(specs: Vec<SloSpec>, interval: Duration) -> Result<Self, SloError> {
        let period = interval.max(PERIOD_MIN);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let mut slos = Slos { slos: Vec::new(), fresh_for: period * FRESH_PERIODS, _stop: stop };
        if specs.is_empty() {
            return Ok(slos);
        }
        let names = Names::start().map_err(SloError::Thread)?;
        for spec in specs {
            let timeout = (period * 4 / 5).min(TIMEOUT_MAX);
            let scraper = Scraper::new(&spec.url, &spec.access, timeout, names.clone())
                .map_err(|cause| SloError::Address { spec: spec.to_string(), cause })?;
            for warning in warnings(&spec.url, &spec.access) {
                log::warn!("--slo '{spec}': {warning}");
            }
            let latest = Arc::new(Mutex::new(Latest { value: None, at: Instant::now() }));
            let watch = Watch { spec: spec.clone(), scraper, latest: latest.clone(), failing_since: None };
            let stopped = stopped.clone();
            let run = move || watch.run(period, &stopped);
            linux::thread::spawn("slo", STACK_BYTES, run).map_err(SloError::Thread)?;
            slos.slos.push((spec, latest));
        }
        Ok(slos)
    }

    /// The objectives, each with its last value and what is known of it now.
    pub fn readings(&self) -> impl Iterator<Item = (&SloSpec, Option<f64>, SloReading)> {
        self.slos.iter().map(|(spec, latest)| {
            let Latest { value, at } = *latest.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fresh = at.elapsed() <= self.fresh_for;
            let reading = match value {
                Some(value) if is_fresh => SloReading::Known(value / spec.limit),
                None if is_fresh => SloReading::Pending,
                _ => SloReading::Unknown,
            };
            (spec, value.filter(|_| is_fresh), reading)
        })
    }
}

/// The thread of one objective.
struct Watch {
    spec: SloSpec,
    scraper: Scraper,
    latest: Arc<Mutex<Latest>>,
    failing_since: Option<Instant>,
}

impl Watch {
    fn run(mut self, period: Duration, stopped: &Receiver<Infallible>) {
        loop {
            let began = Instant::now();
            let outcome = self.ask();
            if let Ok((value, at)) = outcome {
                *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Latest { value: Some(value), at };
            }
            self.note(outcome.err());
            match stopped.recv_timeout(period.saturating_sub(began.elapsed())) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }

    fn ask(&self) -> Result<(f64, Instant), AskError> {
        let answer = self.scraper.scrape().map_err(|err| match &err {
            // Prometheus gives its reason with a status that says nothing of it.
            ScrapeError::Status { text, .. } if self.spec.query == Query::Api => {
                answer::refusal(text).map_or(AskError::Scrape(err), AskError::Answer)
            }
            _ => AskError::Scrape(err),
        })?;
        Ok((answer::value(&self.spec.query, &answer.text)?, answer.asked))
    }

    /// Log one line when an objective's value is missing at first, and one when it is there again.
    fn note(&mut self, err: Option<AskError>) {
        let spec = &self.spec;
        match (err, self.failing_since) {
            (Some(err), None) => {
                log::warn!("--slo '{spec}': {err}; work has little room until the latency is known");
                self.failing_since = Some(Instant::now());
            }
            (Some(err), Some(_)) => log::debug!("--slo '{spec}': {err}"),
            (None, Some(since)) => {
                log::info!("--slo '{spec}': known again after {:.0} s", since.elapsed().as_secs_f64());
                self.failing_since = None;
            }
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers each request with the next text, and then never again.
    fn serve(texts: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for text in texts {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
                stream.write_all((head + text).as_bytes()).unwrap();
            }
        });
        port
    }

    #[test]
    fn prometheus_own_reason_is_told_also_with_a_status_of_refusal() {
        let body = r#"{"status":"error","errorType":"bad_data","error":"1:4: parse error: unexpected end"}"#;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for text in [body, "no reason"] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                let head =
                    format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
                stream.write_all((head + text).as_bytes()).unwrap();
            }
        });
        let spec: SloSpec = format!("http://127.0.0.1:{port}/api/v1/query#max(<5ms").parse().unwrap();
        let names = Names::start().unwrap();
        let scraper = Scraper::new(&spec.url, &spec.access, Duration::from_secs(5), names).unwrap();
        let latest = Arc::new(Mutex::new(Latest { value: None, at: Instant::now() }));
        let watch = Watch { spec, scraper, latest, failing_since: None };
        let said = watch.ask().unwrap_err().to_string();
        assert_eq!(said, "Prometheus refuses the query: 1:4: parse error: unexpected end");
        assert_eq!(watch.ask().unwrap_err().to_string(), "the answer has status 400 Bad Request instead of 200");
    }

    fn wait_for(slos: &Slos, what: impl Fn(Option<f64>, SloReading) -> bool) {
        let began = Instant::now();
        loop {
            let (_, value, reading) = slos.readings().next().unwrap();
            if what(value, reading) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{value:?} {reading:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_latency_is_read_and_is_unknown_once_answers_stop() {
        let port = serve(&["p99_seconds 0.010\n", "p99_seconds 0.004\n", "nothing 1\n"]);
        let spec: SloSpec = format!("http://127.0.0.1:{port}#p99_seconds<5ms").parse().unwrap();
        let slos = Slos::start(vec![spec], Duration::from_millis(500)).unwrap();
        assert!(matches!(slos.readings().next().unwrap().2, SloReading::Pending | SloReading::Known(_)));
        wait_for(&slos, |value, reading| value == Some(0.010) && reading == SloReading::Known(2.0));
        wait_for(&slos, |value, reading| value == Some(0.004) && reading == SloReading::Known(0.8));
        wait_for(&slos, |value, reading| value.is_none() && reading == SloReading::Unknown);
    }
}
