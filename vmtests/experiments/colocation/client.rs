//! A host's clients: they send each batch of writes when it is due, whether or not earlier ones have been answered.
//!
//! Latency counts from when a request was due, not from when it was sent. A server that falls behind can't keep requests from
//! being counted (coordinated omission): their latency only grows.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context, Result};
use hdrhistogram::Histogram;

use super::load_map::Batch;

const ANSWER: &[u8] = b"STORED\r\n";
const VALUE_BYTES: usize = 32;
const NR_KEYS: usize = 1000;
/// A server that sends nothing for this long is considered dead.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(10) };

/// Latencies of a host's requests, us.
pub struct Latencies {
    pub all: Histogram<u64>,
    /// The 99th percentile of each second.
    pub p99_us: Vec<f64>,
}

pub fn new_histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 100_000_000, 3)?)
}

/// A connection to a server.
pub struct Client {
    stream: TcpStream,
    /// The bytes of as many requests as the largest batch has.
    requests: Vec<u8>,
    request_bytes: usize,
}

impl Client {
    /// Connects to memcached, which may still be starting.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let start = Instant::now();
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(err) if start.elapsed() > PATIENCE => {
                    return Err(err).with_context(|| format!("memcached does not answer on {address}"));
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = |key: usize| format!("set key{key:04} 0 0 {VALUE_BYTES}\r\n{}\r\n", "v".repeat(VALUE_BYTES));
        let requests: String = (0..NR_KEYS).map(request).collect();
        Ok(Client { stream, request_bytes: requests.len() / NR_KEYS, requests: requests.into_bytes() })
    }

    /// The most requests that one batch can have.
    pub const BATCH_MAX: u32 = NR_KEYS as u32;

    /// Sends all batches, and returns when all have been answered.
    pub fn run(&self, batches: &[Batch], start: Instant) -> Result<Latencies> {
        thread::scope(|scope| {
            let sender = scope.spawn(|| self.send(batches, start));
            let latencies = self.receive(batches, start);
            sender.join().map_err(|_| anyhow!("the sending thread panicked"))??;
            latencies
        })
    }

    fn send(&self, batches: &[Batch], start: Instant) -> Result<()> {
        for batch in batches {
            thread::sleep((start + batch.due).saturating_duration_since(Instant::now()));
            let bytes = batch.nr_requests as usize * self.request_bytes;
            (&self.stream).write_all(&self.requests[..bytes]).context("sending to memcached")?;
        }
        Ok(())
    }

    fn receive(&self, batches: &[Batch], start: Instant) -> Result<Latencies> {
        let mut latencies = Latencies { all: new_histogram()?, p99_us: Vec::new() };
        let mut second = new_histogram()?;
        let mut buffer = vec![0; 64 << 10];
        let expected = ANSWER.repeat(buffer.len() / ANSWER.len() + 1);
        // Bytes of a partial answer.
        let mut begun = 0;
        let mut waiting = batches.iter().peekable();
        let mut due = Duration::ZERO;
        let mut left_of_batch = 0u64;
        let mut left: u64 = batches.iter().map(|batch| u64::from(batch.nr_requests)).sum();
        while left > 0 {
            let nr_bytes = match (&self.stream).read(&mut buffer) {
                Ok(0) => bail!("memcached closed the connection"),
                Ok(nr_bytes) => nr_bytes,
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    // A batch that isn't due yet has no answers outstanding.
                    let owed = if left_of_batch > 0 { Some(due) } else { waiting.peek().map(|batch| batch.due) };
                    if owed.is_some_and(|due| start.elapsed() < due + PATIENCE) {
                        continue;
                    }
                    bail!("memcached owes {left} answers and is silent for {} s", PATIENCE.as_secs())
                }
                Err(err) => return Err(err).context("reading from memcached"),
            };
            let at = start.elapsed();
            while (latencies.p99_us.len() as u64) < at.as_secs() {
                latencies.p99_us.push(if second.is_empty() { 0.0 } else { second.value_at_quantile(0.99) as f64 });
                second.reset();
            }
            anyhow::ensure!(
                buffer[..nr_bytes] == expected[begun..begun + nr_bytes],
                "memcached answered something other than STORED"
            );
            let mut answered = ((begun + nr_bytes) / ANSWER.len()) as u64;
            begun = (begun + nr_bytes) % ANSWER.len();
            while answered > 0 {
                if left_of_batch == 0 {
                    let batch = waiting.next().context("memcached gave more answers than there were requests")?;
                    (due, left_of_batch) = (batch.due, u64::from(batch.nr_requests));
                }
                let of_batch = answered.min(left_of_batch);
                let latency_us = at.saturating_sub(due).as_micros() as u64;
                latencies.all.saturating_record_n(latency_us.max(1), of_batch);
                second.saturating_record_n(latency_us.max(1), of_batch);
                left_of_batch -= of_batch;
                left -= of_batch;
                answered -= of_batch;
            }
        }
        Ok(latencies)
    }

    /// Sends the given number of requests without waiting for answers, which keeps the server fully busy.
    pub fn flood(&self, nr_batches: u32) -> Result<u64> {
        const BATCH: u32 = 100;
        let batches = vec![Batch { due: Duration::ZERO, nr_requests: BATCH }; nr_batches as usize];
        Ok(self.run(&batches, Instant::now())?.all.len())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers each request after `pause`, for one connection.
    fn slow_server(pause: Duration) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let request_bytes = "set key0000 0 0 32\r\n".len() + VALUE_BYTES + 2;
            let mut request = vec![0; request_bytes];
            while stream.read_exact(&mut request).is_ok() {
                thread::sleep(pause);
                // The client closes the connection once it has all its answers.
                if stream.write_all(ANSWER).is_err() {
                    break;
                }
            }
        });
        address
    }

    fn batches(every: Duration, nr: u32) -> Vec<Batch> {
        (0..nr).map(|at| Batch { due: every * at, nr_requests: 1 }).collect()
    }

    #[test]
    fn requests_that_wait_behind_others_are_late_since_they_were_due() {
        // Due every 10 ms and answered every 30 ms: the tenth is 20 ms later than the ninth.
        let client = Client::connect(slow_server(Duration::from_millis(30))).unwrap();
        let latencies = client.run(&batches(Duration::from_millis(10), 10), Instant::now()).unwrap();
        assert_eq!(latencies.all.len(), 10);
        assert!(latencies.all.max() >= 200_000, "the last took {} us", latencies.all.max());
        assert!(latencies.all.min() >= 30_000, "the first took {} us", latencies.all.min());
    }

    #[test]
    fn time_in_which_nothing_is_due_is_not_silence() {
        let client = Client::connect(slow_server(Duration::from_millis(1))).unwrap();
        let latencies = client.run(&batches(PATIENCE * 3 / 2, 2), Instant::now()).unwrap();
        assert_eq!(latencies.all.len(), 2);
    }

    #[test]
    fn a_server_that_is_silent_for_too_long_is_an_error() {
        let client = Client::connect(slow_server(PATIENCE * 3)).unwrap();
        let outcome = client.run(&batches(Duration::from_millis(1), 2), Instant::now());
        assert!(outcome.err().unwrap().to_string().contains("owes 2 answers"));
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || drop(listener.accept()));
        let client = Client::connect(address).unwrap();
        assert!(client.run(&batches(Duration::ZERO, 1), Instant::now()).is_err());
    }
}
