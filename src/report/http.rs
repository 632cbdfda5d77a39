//! The page of figures over HTTP, for Prometheus.
//!
//! One thread of its own answers all; a round never waits for it. At most a few connections are open at a time and each
//! has little time, so that clients that hang or are slow cost neither memory nor the others' answers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderValue, ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{openmetrics, DecisionHistory};
use crate::linux;

/// Connections at a time; others wait in the kernel's queue.
const NR_CONNECTIONS_MAX: usize = 8;
/// From the first byte of a connection to the last.
const TIME_FOR_ALL: Duration = Duration::from_secs(5);
/// For the request alone.
const TIME_FOR_REQUEST: Duration = Duration::from_secs(2);
const REQUEST_LEN_MAX: usize = 8 << 10;
const STACK_BYTES: usize = 256 << 10;

/// The page's address can't be had.
#[derive(Debug, thiserror::Error)]
#[error("--metrics {address}: {source}; give an address of this machine that nothing else listens on")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Listens, and answers once it is told to serve.
#[derive(Debug)]
pub struct MetricsServer {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl MetricsServer {
    /// Listens on an address of this machine; port 0 is any that is free.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(MetricsServer { address: listener.local_addr()?, listener })
        };
        bound().map_err(|source| BindError { address, source })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from the history, in a thread that lives as long as the program.
    pub fn serve(self, history: Arc<DecisionHistory>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        linux::thread::spawn("metrics", STACK_BYTES, move || {
            let served = runtime.block_on(accept_all(self.listener, history));
            // The loop ends only when the listener can't be taken over.
            served.unwrap_or_else(|err| log::warn!("the page of metrics is not served: {err}"));
        })?;
        Ok(())
    }
}

async fn accept_all(listener: std::net::TcpListener, history: Arc<DecisionHistory>) -> io::Result<()> {
    /// Out of file descriptors, most likely: some become free.
    const PAUSE: Duration = Duration::from_millis(200);

    let listener = TcpListener::from_std(listener)?;
    let connections = Arc::new(Semaphore::new(NR_CONNECTIONS_MAX));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((stream, _)) => {
                let history = history.clone();
                tokio::spawn(async move {
                    // Whatever became of it, it is over.
                    let _ = tokio::time::timeout(TIME_FOR_ALL, converse(stream, history)).await;
                    drop(permit);
                });
            }
            Err(err) => {
                log::debug!("a connection to the page of metrics failed: {err}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, history: Arc<DecisionHistory>) -> hyper::Result<()> {
    let answer = service_fn(|request| {
        let answer = answer(request.method(), request.uri().path(), &history);
        async { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIME_FOR_REQUEST)
        .max_buf_size(REQUEST_LEN_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

fn answer(method: &Method, path: &str, history: &DecisionHistory) -> Response<Full<Bytes>> {
    let (status, content_type, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => match openmetrics::page(&history.metrics()) {
            Ok(page) => (StatusCode::OK, openmetrics::CONTENT_TYPE, page),
            Err(err) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{err:#}\n")),
        },
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET it\n".into()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "the figures are at /metrics\n".into()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Instant;

    use super::super::decision::tests::{round, STAYS};
    use super::super::{Decision, Metrics};
    use super::*;

    fn serve(metrics: Metrics) -> SocketAddr {
        let server = MetricsServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.address();
        let history = Arc::new(DecisionHistory::default());
        history.publish(metrics, Decision::of(&round(STAYS, None)));
        server.serve(history).unwrap();
        address
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_latest_figures_are_served_as_open_metrics() {
        let address = serve(Metrics { nr_rounds: 42, ..Metrics::default() });
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("content-type: {}\r\n", openmetrics::CONTENT_TYPE)), "{answer}");
        assert!(answer.contains("\nscx_vnuma_rounds_total 42") && answer.ends_with("# EOF\n"), "{answer}");
    }

    #[test]
    fn what_is_not_there_or_not_a_question_is_refused() {
        let address = serve(Metrics::default());
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: it\r\n\r\n", "HTTP/1.1 404 "),
            ("POST /metrics HTTP/1.1\r\nHost: it\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 "),
            ("hello\r\n\r\n", "HTTP/1.1 400 "),
        ] {
            let answer = ask(address, request);
            assert!(answer.starts_with(status), "{request:?}: {answer}");
        }
        let long = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(2 * REQUEST_LEN_MAX));
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // It may hang up before it has got all.
        let _ = stream.write_all(long.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains("200 OK"), "{answer}");
    }

    #[test]
    fn clients_that_hang_are_hung_up_on_and_keep_nobody_waiting_for_long() {
        let address = serve(Metrics::default());
        let hang = |_| std::net::TcpStream::connect(address).unwrap();
        let mut hanging: Vec<_> = (0..2 * NR_CONNECTIONS_MAX).map(hang).collect();
        hanging.iter_mut().for_each(|stream| stream.write_all(b"GET /met").unwrap());
        let began = Instant::now();
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        // Two rows of hanging clients are before us.
        assert!(began.elapsed() < 2 * TIME_FOR_ALL, "{:?}", began.elapsed());
        hanging[0].set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        assert!(hanging[0].read_to_end(&mut rest).is_ok(), "it was hung up on");
    }

    #[test]
    fn a_port_in_use_is_refused_with_the_option_and_the_remedy() {
        let taken = serve(Metrics::default());
        let message = MetricsServer::bind(taken).unwrap_err().to_string();
        assert!(message.contains(&format!("--metrics {taken}")) && message.contains("nothing else"), "{message}");
    }
}
