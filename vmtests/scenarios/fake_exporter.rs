//! A fake of a host's node_exporter: an HTTP server on loopback that gives correct or faulty answers as configured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What it reports of its one CPU, CPU 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Says {
    /// Correct counters of a host on which work other than guests takes this share of the CPU.
    Taken(f64),
    /// This text as the value of the time in `user`.
    User(&'static str),
    /// Counters that never change.
    TheSame,
    /// Counters that are smaller each time.
    Backwards,
    /// Ten megabytes of correct lines.
    TooMuch,
    /// Half of the length that its header announces.
    Half,
    /// An answer that is not HTTP.
    Garbage,
    /// Metrics without any of CPUs.
    NoCpus,
    /// A status other than 200, with correct counters.
    Status(u16),
    /// No answer, while the connection stays open.
    Nothing,
    /// One byte every tenth of a second.
    ByteByByte,
    /// Closes the connection.
    HangsUp,
}

/// Every kind of faulty answer.
pub const FAULTS: [Says; 15] = [
    Says::User("NaN"),
    Says::User("-5"),
    Says::User("1e300"),
    Says::User("+Inf"),
    Says::User("many"),
    Says::TheSame,
    Says::Backwards,
    Says::TooMuch,
    Says::Half,
    Says::Garbage,
    Says::NoCpus,
    Says::Status(500),
    Says::Nothing,
    Says::ByteByByte,
    Says::HangsUp,
];

/// State shared by all connections.
struct Script {
    says: Says,
    /// Seconds in `user` and `idle` at that time.
    user_s: f64,
    idle_s: f64,
    at: Instant,
    /// The heads of the requests so far.
    requests: Vec<String>,
    ended: bool,
}

/// The server. It ends when dropped: connections are refused from then on.
pub struct FakeExporter {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FakeExporter {
    /// Starts one on a free port.
    pub fn start(says: Says) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let script = Script { says, user_s: 1e3, idle_s: 1e4, at: Instant::now(), requests: Vec::new(), ended: false };
        let script = Arc::new(Mutex::new(script));
        let script_too = script.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if lock(&script_too).ended {
                    return;
                }
                let script = script_too.clone();
                // The client may have closed the connection.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &script)));
            }
        });
        Ok(FakeExporter { address, script, thread: Some(thread) })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes its answers from now on.
    pub fn say(&self, says: Says) {
        let mut script = lock(&self.script);
        script.go_on();
        script.says = says;
    }

    /// The heads of the requests so far, with header names in lower case.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.script).requests.clone()
    }
}

impl Drop for FakeExporter {
    fn drop(&mut self) {
        lock(&self.script).ended = true;
        // Wakes the thread, which then closes its listener.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Script {
    /// Advances the counters to the present, according to the current kind of answer.
    fn go_on(&mut self) {
        let passed_s = self.at.elapsed().as_secs_f64();
        self.at = Instant::now();
        let busy = match self.says {
            Says::Taken(share) => share,
            Says::TheSame => return,
            _ => 0.0,
        };
        self.user_s += busy * passed_s;
        self.idle_s += (1.0 - busy) * passed_s;
        if self.says == Says::Backwards {
            self.user_s -= 1.0;
        }
    }

    fn metrics(&self) -> String {
        let user = match self.says {
            Says::User(value) => value.to_string(),
            _ => self.user_s.to_string(),
        };
        let mut text = String::from("# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 0.5\n");
        if self.says == Says::NoCpus {
            return text;
        }
        text += "# TYPE node_cpu_guest_seconds_total counter\n";
        text += "node_cpu_guest_seconds_total{cpu=\"0\",mode=\"nice\"} 0\n";
        text += "node_cpu_guest_seconds_total{cpu=\"0\",mode=\"user\"} 0\n";
        text += "# TYPE node_cpu_seconds_total counter\n";
        for (mode, value) in [("idle", self.idle_s.to_string()), ("system", "7.5".into()), ("user", user)] {
            text += &format!("node_cpu_seconds_total{{cpu=\"0\",mode=\"{mode}\"}} {value}\n");
        }
        if self.says == Says::TooMuch {
            text += &"node_load1 0.5\n".repeat((10 << 20) / 15);
        }
        text
    }
}

fn answer(mut stream: TcpStream, script: &Mutex<Script>) -> std::io::Result<()> {
    /// No client waits longer than this for an answer.
    const PATIENCE: Duration = Duration::from_secs(60);

    let head = read_head(&stream)?;
    let (says, metrics) = {
        let mut script = lock(script);
        script.requests.push(head);
        script.go_on();
        (script.says, script.metrics())
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let status = if let Says::Status(status) = says { status } else { 200 };
    let head = format!(
        "HTTP/1.1 {status} -\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        metrics.len()
    );
    match says {
        Says::HangsUp => return Ok(()),
        Says::Garbage => return stream.write_all(&[0xff; 1000]),
        // Until the client closes the connection.
        Says::Nothing => return stream.read(&mut [0]).map(|_| ()),
        _ => stream.write_all(head.as_bytes())?,
    }
    match says {
        Says::Half => stream.write_all(&metrics.as_bytes()[..metrics.len() / 2]),
        Says::ByteByByte => metrics.as_bytes().iter().try_for_each(|byte| {
            thread::sleep(Duration::from_millis(100));
            stream.write_all(&[*byte])
        }),
        _ => stream.write_all(metrics.as_bytes()),
    }
}

fn read_head(stream: &TcpStream) -> std::io::Result<String> {
    let mut head = String::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some((name, value)) => head += &format!("{}: {value}\n", name.to_lowercase()),
            None => head += &format!("{line}\n"),
        }
    }
    Ok(head)
}
