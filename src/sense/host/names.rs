//! Looks up the hosts' names, in one thread for all hosts.
//!
//! With a dead name server a look-up takes tens of seconds and can't be stopped, so a thread for each would pile up. Names
//! wait for their turn instead, each at most once, while a request waits no longer than its own time limit. An address that
//! was found counts until a newer one is: a host is asked on while the name server is down.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::linux;

/// An address is looked up again when it is this old, for the requests after this one.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// glibc's resolver keeps its packets on the stack.
const STACK_BYTES: usize = 256 << 10;
/// Maximum number of addresses of a name; the library holds no more.
const NR_ADDRESSES_MAX: usize = 16;

/// The names and their addresses. Clones share them. The thread ends with the last clone.
#[derive(Clone, Debug)]
pub(in crate::sense) struct Names {
    shared: Arc<Shared>,
    wanted: Sender<String>,
}

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<HashMap<String, Known>>,
    changed: Condvar,
}

impl Shared {
    /// A poisoned lock is fine: every change to an entry is complete at once.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    /// The addresses last found; empty if none ever was.
    addresses: Vec<IpAddr>,
    /// Why the last look-up found none.
    failure: Option<String>,
    /// When the last look-up ended.
    looked_up: Option<Instant>,
    /// Whether the name waits for the thread, or the thread for its look-up.
    is_pending: bool,
}

/// Why there is no address.
#[derive(Debug, PartialEq)]
enum Unknown {
    /// No look-up has ended in time.
    Late,
    /// The name has no address, or the name server doesn't answer.
    Failed(String),
}

impl Names {
    /// Start the thread that asks the system's resolver.
    pub(in crate::sense) fn start() -> io::Result<Self> {
        Names::with(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }

    fn with(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + 'static) -> io::Result<Self> {
        // Unbounded, but a name is in it at most once.
        let (wanted, names) = crossbeam_channel::unbounded::<String>();
        let shared = Arc::new(Shared::default());
        let names_shared = shared.clone();
        linux::thread::spawn("names", STACK_BYTES, move || {
            for name in names {
                let found = look_up(&name);
                names_shared.lock().entry(name).or_default().update(found);
                names_shared.changed.notify_all();
            }
        })?;
        Ok(Names { shared, wanted })
    }

    /// The addresses of a name, waiting for at most `patience` if none is known yet. At least one.
    fn addresses(&self, name: &str, patience: Duration) -> Result<Vec<IpAddr>, Unknown> {
        let until = Instant::now() + patience;
        let mut known = self.shared.lock();
        let entry = known.entry(name.to_string()).or_default();
        let asked_before = entry.looked_up;
        if !entry.is_pending && asked_before.is_none_or(|at| at.elapsed() >= FRESH_FOR || entry.addresses.is_empty()) {
            entry.is_pending = true;
            // The thread lives as long as this sender.
            let _ = self.wanted.send(name.to_string());
        }
        loop {
            let entry = known.entry(name.to_string()).or_default();
            if !entry.addresses.is_empty() {
                return Ok(entry.addresses.clone());
            }
            match &entry.failure {
                Some(failure) if entry.looked_up != asked_before => return Err(Unknown::Failed(failure.clone())),
                _ => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unknown::Late);
            }
            known = self.shared.changed.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Known {
    fn update(&mut self, found: io::Result<Vec<IpAddr>>) {
        (self.is_pending, self.looked_up) = (false, Some(Instant::now()));
        match found {
            Ok(addresses) if addresses.is_empty() => self.failure = Some("the name has no address".into()),
            Ok(addresses) => (self.addresses, self.failure) = (addresses, None),
            Err(err) => self.failure = Some(err.to_string()),
        }
    }
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let found = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.addresses(host, *timeout.after).map_err(|unknown| match unknown {
                Unknown::Late => ureq::Error::Timeout(timeout.reason),
                Unknown::Failed(why) => ureq::Error::Io(io::Error::other(why)),
            })?,
        };
        let mut addresses = self.empty();
        for address in found.into_iter().take(NR_ADDRESSES_MAX) {
            addresses.push(SocketAddr::new(address, port));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATER: Duration = Duration::from_secs(20);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn with_a_dead_name_server_requests_end_in_time_and_one_look_up_is_under_way() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (release, dead) = crossbeam_channel::bounded::<()>(0);
        let counted = asked.clone();
        let names = Names::with(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = dead.recv();
            Err(io::Error::other("timed out"))
        });
        let names = names.unwrap();
        for _ in 0..5 {
            assert_eq!(names.addresses("a", SOON), Err(Unknown::Late));
            assert_eq!(names.addresses("b", SOON), Err(Unknown::Late));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "b waits for its turn");
        drop(release);
        assert_eq!(names.addresses("b", LATER), Err(Unknown::Failed("timed out".into())));
    }

    #[test]
    fn an_address_counts_on_while_later_look_ups_fail() {
        let found_once = AtomicUsize::new(0);
        let names = Names::with(move |_| match found_once.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(vec![HERE]),
            _ => Err(io::Error::other("timed out")),
        });
        let names = names.unwrap();
        assert_eq!(names.addresses("a", LATER), Ok(vec![HERE]));
        let age = |names: &Names| {
            let mut known = names.shared.lock();
            let entry = known.get_mut("a").unwrap();
            entry.looked_up = entry.looked_up.and_then(|at| at.checked_sub(FRESH_FOR));
        };
        age(&names);
        assert_eq!(names.addresses("a", SOON), Ok(vec![HERE]));
        let began = Instant::now();
        while names.shared.lock()["a"].failure.is_none() {
            assert!(began.elapsed() < LATER, "it was not looked up again");
            std::thread::sleep(SOON);
        }
        assert_eq!(names.addresses("a", SOON), Ok(vec![HERE]));
    }

    #[test]
    fn a_name_that_failed_is_looked_up_again_for_the_next_request() {
        let nr = AtomicUsize::new(0);
        let names = Names::with(move |_| match nr.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Vec::new()),
            _ => Ok(vec![HERE]),
        });
        let names = names.unwrap();
        assert_eq!(names.addresses("a", LATER), Err(Unknown::Failed("the name has no address".into())));
        assert_eq!(names.addresses("a", LATER), Ok(vec![HERE]));
    }

    #[test]
    fn an_address_needs_no_look_up() {
        let names = Names::with(|_| Err(io::Error::other("looked up"))).unwrap();
        let timeout = NextTimeout { after: SOON.into(), reason: ureq::Timeout::Global, ..NextTimeout::default() };
        for (url, expected) in [
            ("http://[::1]:9100/metrics", "[::1]:9100"),
            ("http://127.0.0.1/metrics", "127.0.0.1:80"),
            ("https://127.0.0.1/metrics", "127.0.0.1:443"),
        ] {
            let found = names.resolve(&url.parse().unwrap(), &Config::default(), timeout).unwrap();
            assert_eq!(found.iter().map(SocketAddr::to_string).collect::<Vec<_>>(), [expected]);
        }
        let failed = names.resolve(&"http://a".parse().unwrap(), &Config::default(), timeout).unwrap_err();
        assert!(failed.to_string().contains("looked up"), "{failed}");
    }
}
