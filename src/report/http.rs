//! The metrics page over HTTP, for Prometheus.
//!
//! One dedicated thread answers all requests, so a round never waits for a client. The number of open connections, in all
//! and of each peer, and the time for each are limited. A connection that is too many closes an older one instead of
//! waiting for it, so slow or hung clients cost little memory and delay nobody.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderValue, ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::peers::Peers;
use super::{openmetrics, DecisionHistory};
use crate::linux;

/// Maximum number of open connections.
const NR_CONNECTIONS_MAX: usize = 32;
/// Maximum number of open connections from one address.
const NR_CONNECTIONS_OF_PEER_MAX: usize = 8;
/// Time limit for a whole connection.
const TIME_FOR_ALL: Duration = Duration::from_secs(5);
/// Time limit for receiving the request.
const TIME_FOR_REQUEST: Duration = Duration::from_secs(2);
const REQUEST_LEN_MAX: usize = 8 << 10;
const STACK_BYTES: usize = 256 << 10;

/// The address of the page can't be used.
#[derive(Debug, thiserror::Error)]
#[error("--metrics {address}: {cause}; use an address of this machine that nothing else listens on")]
pub struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

/// A bound listener that answers once [`MetricsServer::serve`] is called.
#[derive(Debug)]
pub struct MetricsServer {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl MetricsServer {
    /// Bind to an address of this machine; port 0 picks any free port.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(MetricsServer { address: listener.local_addr()?, listener })
        };
        bound().map_err(|cause| BindError { address, cause })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Start answering from `history`, in a thread that runs until the program ends.
    pub fn serve(self, history: Arc<DecisionHistory>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        linux::thread::spawn("metrics", STACK_BYTES, move || {
            let served = runtime.block_on(accept_all(self.listener, history));
            // The loop ends only if tokio can't take over the listener.
            served.unwrap_or_else(|err| log::warn!("--metrics is not served: {err}"));
        })?;
        Ok(())
    }
}

async fn accept_all(listener: std::net::TcpListener, history: Arc<DecisionHistory>) -> io::Result<()> {
    /// Most likely the process is out of file descriptors, and some will be closed.
    const PAUSE: Duration = Duration::from_millis(200);

    let listener = TcpListener::from_std(listener)?;
    let mut peers = Peers::new(NR_CONNECTIONS_MAX, NR_CONNECTIONS_OF_PEER_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Errors concern only this client, and the connection is closed anyway.
                let conversation = tokio::time::timeout(TIME_FOR_ALL, converse(stream, history.clone()));
                let connection = tokio::spawn(conversation).abort_handle();
                if let Some(closed) = peers.admit(peer.ip(), connection, AbortHandle::is_finished) {
                    closed.abort();
                }
            }
            Err(err) => {
                log::debug!("a connection to --metrics failed: {err}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, history: Arc<DecisionHistory>) -> hyper::Result<()> {
    let answer = service_fn(|request| {
        let answer = answer(&request, &history);
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

/// Return true if the client asks for Prometheus's text format and doesn't know OpenMetrics.
fn wants_text_format<T>(request: &Request<T>) -> bool {
    let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut text, mut open) = (false, false);
    for types in accepted {
        text |= types.contains("text/plain");
        open |= types.contains("application/openmetrics-text");
    }
    text && !open
}

fn answer<T>(request: &Request<T>, history: &DecisionHistory) -> Response<Full<Bytes>> {
    let page = || match wants_text_format(request) {
        true => Ok((openmetrics::TEXT_CONTENT_TYPE, openmetrics::text_page(&history.metrics())?)),
        false => Ok::<_, anyhow::Error>((openmetrics::CONTENT_TYPE, openmetrics::page(&history.metrics())?)),
    };
    let (status, content_type, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match page() {
            Ok((content_type, page)) => (StatusCode::OK, content_type, page),
            Err(err) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{err:#}\n")),
        },
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "use GET\n".into()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "the metrics are at /metrics\n".into()),
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
    fn the_latest_metrics_are_served_as_open_metrics() {
        let address = serve(Metrics { nr_rounds: 42, ..Metrics::default() });
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("content-type: {}\r\n", openmetrics::CONTENT_TYPE)), "{answer}");
        assert!(answer.contains("\nscx_vnuma_rounds_total 42") && answer.ends_with("# EOF\n"), "{answer}");
    }

    #[test]
    fn the_text_format_is_for_clients_that_ask_for_nothing_newer() {
        let address = serve(Metrics::default());
        let content_type = |accept: &str| {
            let answer = ask(address, &format!("GET /metrics HTTP/1.1\r\nHost: it\r\nAccept: {accept}\r\n\r\n"));
            let line = answer.lines().find_map(|line| line.strip_prefix("content-type: ")).map(ToOwned::to_owned);
            line.unwrap_or_else(|| panic!("no type in {answer}"))
        };
        assert_eq!(content_type("text/plain;version=0.0.4;q=1,*/*;q=0.1"), openmetrics::TEXT_CONTENT_TYPE);
        assert_eq!(content_type("*/*"), openmetrics::CONTENT_TYPE);
        let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(content_type(prometheus), openmetrics::CONTENT_TYPE);
    }

    #[test]
    fn requests_for_other_pages_and_malformed_ones_are_refused() {
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
        // The server may close the connection before it has received everything.
        let _ = stream.write_all(long.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains("200 OK"), "{answer}");
    }

    #[test]
    fn hung_clients_are_disconnected_and_delay_nobody() {
        for said in [&b""[..], b"GET /met"] {
            let address = serve(Metrics::default());
            let hang = |_| std::net::TcpStream::connect(address).unwrap();
            let mut hanging: Vec<_> = (0..64).map(hang).collect();
            // The server may have closed it already.
            hanging.iter_mut().for_each(|stream| drop(stream.write_all(said)));
            let began = Instant::now();
            let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(began.elapsed() < TIME_FOR_REQUEST, "{:?}", began.elapsed());
            // The last one wasn't too many: it ends by the time limit for the request.
            let last = hanging.last_mut().unwrap();
            last.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut rest = Vec::new();
            assert!(last.read_to_end(&mut rest).is_ok(), "the server closes the connection");
            assert!(began.elapsed() < 2 * TIME_FOR_REQUEST, "{:?}", began.elapsed());
        }
    }

    #[test]
    fn a_port_in_use_is_refused_with_the_option_and_the_remedy() {
        let taken = serve(Metrics::default());
        let message = MetricsServer::bind(taken).unwrap_err().to_string();
        assert!(message.contains(&format!("--metrics {taken}")) && message.contains("nothing else"), "{message}");
    }
}
