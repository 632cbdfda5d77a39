//! Latency objectives (`--slos`) over real sockets: a Prometheus with TLS and a password, as Debian has it.
//!
//! Says so and passes where Prometheus is missing; `vmtests/setup` fetches it.

mod key;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use key::{certificate, Key};
use scx_vnuma::cell::NodeId;
use scx_vnuma::policy::SloReading;
use scx_vnuma::sense::{slo_specs, SloSpec, Slos};
use tempfile::TempDir;

const USER: &str = "aladdin";
const PASSWORD: &str = "sesame";
/// bcrypt of the password, at the least cost.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuinwY/tkBVrn3xrxQI/TgnMHhkvl85RW";
/// 99 % of the answers to its own scrapes took no longer, in seconds.
const QUERY: &str =
    "histogram_quantile(0.99, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket{handler=\"/metrics\"}[10s])))";

/// The Prometheus that is installed, or that was fetched for the lab.
fn program() -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/prometheus/usr/bin/prometheus");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|folder| folder.join("prometheus"));
    let found = places.chain([fetched]).find(|it| it.is_file());
    if found.is_none() {
        eprintln!("skipped: prometheus is missing; vmtests/setup fetches it, as apt-get install prometheus does");
    }
    found
}

/// A Prometheus that scrapes itself every second, and wants a password of all clients. Killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    /// Also has ca.pem, and the files of a test.
    folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(program: &Path) -> Self {
        let folder = TempDir::new().expect("a folder");
        let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let key = Key::generate();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        write("ca.pem", &certificate("127.0.0.1", &key).pem());
        write("key.pem", &key.pem());
        write("password", PASSWORD);
        let web = "tls_server_config: { cert_file: ca.pem, key_file: key.pem }\nbasic_auth_users: ";
        write("web.yml", &format!("{web}{{ {USER}: '{HASH}' }}\n"));
        let job = "job_name: itself, scheme: https, tls_config: { ca_file: ca.pem }";
        let auth = format!("basic_auth: {{ username: {USER}, password_file: password }}");
        write(
            "prometheus.yml",
            &format!(
                "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
                 scrape_configs: [{{ {job}, {auth}, static_configs: [{{ targets: ['{address}'] }}] }}]\n"
            ),
        );
        let child = Command::new(program)
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.config.file=web.yml"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Prometheus { child, address, folder }
    }

    /// Write a `--slos` file with one objective of itself, and the further fields.
    fn objective(&self, query: &str, limit: &str, fields: &str) -> SloSpec {
        let address = self.address;
        let file = self.folder.path().join("slos.toml");
        let entry = format!("[[slo]]\nurl = 'https://{address}/api/v1/query'\nquery = '{query}'\nlimit = '{limit}'\n");
        std::fs::write(&file, entry + fields).expect("a file");
        slo_specs(&[], Some(&file), &[NodeId(0)]).expect("a valid file").remove(0)
    }
}

/// Poll until the first objective's reading is as it should be, for at most a minute.
fn wait_for(what: &str, slos: &Slos, holds: impl Fn(Option<f64>, SloReading) -> bool) {
    let began = Instant::now();
    loop {
        let (_, value, reading) = slos.readings().next().expect("an objective");
        if holds(value, reading) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: {value:?}, {reading:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const ACCESS: &str = "user = 'aladdin'\npassword_file = 'secret'\nca_file = 'ca.pem'\n";

#[test]
fn a_prometheus_with_tls_and_a_password_tells_a_real_latency() {
    let Some(program) = program() else { return };
    let prometheus = Prometheus::start(&program);
    let secret = prometheus.folder.path().join("secret");
    std::fs::write(&secret, PASSWORD).expect("a file");

    let objective = prometheus.objective(QUERY, "1h", ACCESS);
    let slos = Slos::start(vec![objective], Duration::from_millis(500)).expect("a thread");
    let is_latency = |value: Option<f64>| value.is_some_and(|seconds| seconds > 0.0 && seconds < 60.0);
    wait_for("its own latency", &slos, |value, reading| {
        is_latency(value) && matches!(reading, SloReading::Known(ratio) if ratio > 0.0 && ratio < 0.1)
    });
    // The file is read for each request: a password may change.
    std::fs::write(&secret, "wrong").expect("a file");
    wait_for("a wrong password", &slos, |value, reading| value.is_none() && reading == SloReading::Unknown);
    std::fs::write(&secret, PASSWORD).expect("a file");
    wait_for("the password again", &slos, |value, reading| is_latency(value) && reading != SloReading::Unknown);
}

#[test]
fn without_a_password_or_trust_nothing_is_known() {
    let Some(program) = program() else { return };
    let prometheus = Prometheus::start(&program);
    std::fs::write(prometheus.folder.path().join("secret"), PASSWORD).expect("a file");
    let start = |fields: &str| {
        Slos::start(vec![prometheus.objective("vector(1)", "5", fields)], Duration::from_secs(1)).expect("a thread")
    };
    let with = start(ACCESS);
    let others = [start("ca_file = 'ca.pem'\n"), start("user = 'aladdin'\npassword_file = 'secret'\n")];
    wait_for("the value", &with, |value, _| value == Some(1.0));
    for (slos, what) in others.iter().zip(["no password", "no ca_file"]) {
        wait_for(what, slos, |_, reading| reading == SloReading::Unknown);
        assert_eq!(slos.readings().next().expect("an objective").1, None, "{what}");
    }
    assert_eq!(with.readings().next().expect("an objective").2, SloReading::Known(0.2));
}

#[test]
fn a_file_that_cannot_be_used_is_refused_at_once_by_name() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("slos.toml");
    let entry = "[[slo]]\nurl = 'https://127.0.0.1:9/api/v1/query'\nquery = 'vector(1)'\nlimit = 1\n";
    std::fs::write(&file, format!("{entry}bearer_token_file = 'missing'\n")).expect("a file");
    let specs = slo_specs(&[], Some(&file), &[NodeId(0)]).expect("a valid file");
    let message = Slos::start(specs, Duration::from_secs(1)).unwrap_err().to_string();
    let named = folder.path().join("missing");
    let expected = format!("--slo 'https://127.0.0.1:9/api/v1/query#vector(1)<1': {}: No such file", named.display());
    assert!(message.starts_with(&expected), "{message}");
}
