//! The metrics page and examples/monitoring, as Prometheus's own tools see them.
//!
//! Tests that need promtool or Prometheus say so and pass where these are missing; `vmtests/setup` fetches them.

// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "daemon")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scx_vnuma::report::{
    page, text_page, DecisionHistory, Metrics, MetricsServer, NodeMetrics, SloMetrics, SourceMetrics,
};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/monitoring").join(name)
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(example(name)).expect("the example can be read")
}

/// A program of Prometheus: as installed, or as fetched for the lab. Without it the calling test is skipped.
fn tool(name: &str) -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("vmtests/.cache/prometheus/usr/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).chain([fetched]).find(|it| it.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is missing; vmtests/setup fetches it, as apt-get install prometheus does");
    }
    found
}

/// Metrics in which every figure is known, of two nodes.
fn metrics() -> Metrics {
    let source = || SourceMetrics { pressure_pct: 12.5, age_ms: 400 };
    let node = || NodeMetrics {
        nr_cpus: 2,
        sources: ["steal", "host", "probe"].map(|name| (name.to_owned(), source())).into(),
        ..NodeMetrics::default()
    };
    let slo = || SloMetrics { latency_pct: 40.0, room_pct: 100.0 };
    Metrics {
        slos: [(0, slo())].into(),
        nr_rounds: 7,
        nr_migratable: 3,
        nodes: [(0, node()), (1, node())].into(),
        ..Metrics::default()
    }
}

/// The names of our metrics in a text, as a query has them.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("scx_vnuma_")).collect()
}

fn assert_success(output: &Output) {
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{said}");
}

#[test]
fn examples_and_docs_name_only_metrics_that_exist() {
    let page = page(&metrics()).unwrap();
    let samples: BTreeSet<&str> = page.lines().filter(|line| !line.starts_with('#')).flat_map(names).collect();
    assert!(samples.len() > 30, "{samples:?}");
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md")).unwrap();
    // Descriptions on the page name a counter without _total.
    let queries: String = docs.lines().filter(|line| !line.starts_with("# ")).collect::<Vec<_>>().join("\n");
    for (file, text) in [
        ("alerts.yml", text_of("alerts.yml")),
        ("alerts-test.yml", text_of("alerts-test.yml")),
        ("dashboard.json", text_of("dashboard.json")),
        ("docs/monitoring.md", queries),
    ] {
        let named = names(&text);
        assert!(!named.is_empty(), "{file} names no metric");
        let unknown: Vec<_> = named.difference(&samples).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
}

#[test]
fn promtool_finds_nothing_to_criticise_in_the_page() {
    let Some(promtool) = tool("promtool") else { return };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text_page(&metrics()).unwrap().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn each_alert_fires_where_it_should_and_none_where_all_is_well() {
    let Some(promtool) = tool("promtool") else { return };
    let run = |args: &[&str], file: &str| {
        assert_success(&Command::new(&promtool).args(args).arg(example(file)).output().unwrap());
    };
    run(&["check", "rules"], "alerts.yml");
    run(&["check", "config"], "prometheus.yml");
    run(&["test", "rules"], "alerts-test.yml");
    let (alerts, tests) = (text_of("alerts.yml"), text_of("alerts-test.yml"));
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n");
        assert!(tests.contains(&fires), "no test in which {alert} fires");
        assert!(tests.contains(&format!("alertname: {alert}, exp_alerts: []")), "no test in which {alert} is quiet");
    }
}

/// A Prometheus that scrapes one target every second. Killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Start it with the example's rules, which need not wait for minutes here.
    fn start(program: &Path, target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = text_of("alerts.yml").replace("[2m]", "[5s]");
        let at_once: Vec<&str> = rules.lines().filter(|line| !line.trim().starts_with("for: ")).collect();
        std::fs::write(folder.path().join("alerts.yml"), at_once.join("\n")).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\nrule_files: [alerts.yml]\n\
             scrape_configs: [{{ job_name: scx_vnuma, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Prometheus { child, address, _folder: folder }
    }

    /// The answer to a GET, or nothing if it doesn't answer yet.
    fn get(&self, path: &str) -> Option<serde_json::Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: it\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// The results of a query.
    fn query(&self, query: &str) -> Option<serde_json::Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("/api/v1/query?query={escaped}"))
    }

    /// Wait until a condition holds.
    fn wait_for(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < Duration::from_secs(60), "{what} did not happen in a minute");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn is_firing(&self, alert: &str) -> bool {
        let alerts = self.get("/api/v1/alerts").unwrap_or_default();
        let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
        alerts.iter().any(|it| it["labels"]["alertname"] == alert && it["state"] == "firing")
    }
}

#[test]
fn a_real_prometheus_reads_the_page_runs_the_dashboards_queries_and_fires_an_alert() {
    let Some(program) = tool("prometheus") else { return };
    let history = Arc::new(DecisionHistory::default());
    history.publish_metrics(metrics());
    let server = MetricsServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let prometheus = Prometheus::start(&program, server.address());
    server.serve(history.clone()).unwrap();

    let value = |prometheus: &Prometheus, query: &str| {
        let answer = prometheus.query(query)?;
        answer["data"]["result"][0]["value"][1].as_str().map(ToOwned::to_owned)
    };
    prometheus.wait_for("a scrape", |it| value(it, "scx_vnuma_rounds_total").as_deref() == Some("7"));
    assert_eq!(value(&prometheus, "scx_vnuma_node_source_age_seconds{node='1',source='host'}").as_deref(), Some("0.4"));
    assert_eq!(value(&prometheus, "count(scx_vnuma_node_pressure_ratio)").as_deref(), Some("2"));
    // Rounds that don't go on are what the alert is about.
    prometheus.wait_for("VnumaGone", |it| it.is_firing("VnumaGone"));
    assert!(!prometheus.is_firing("VnumaBlind"));
    let mut blind = metrics();
    blind.nodes.values_mut().for_each(|node| node.pressure_pct = -1.0);
    history.publish_metrics(blind);
    prometheus.wait_for("VnumaBlind", |it| it.is_firing("VnumaBlind"));

    let dashboard: serde_json::Value = serde_json::from_str(&text_of("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = queries.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() >= 14);
    let began = Instant::now();
    for query in queries {
        let short = query.replace("[5m]", "[10s]").replace("[2m]", "[10s]");
        let query = short.replace("$__rate_interval", "10s").replace("$instance", ".*");
        // An empty answer would be an empty panel: a wrong label, or sides of a division that don't match.
        prometheus.wait_for(&format!("a series for {query}"), |it| {
            let mut running = metrics();
            running.nodes.values_mut().for_each(|node| node.run_ms = began.elapsed().as_millis() as u64);
            history.publish_metrics(running);
            let answer = it.query(&query).unwrap();
            assert_eq!(answer["status"], "success", "{query}: {answer}");
            !answer["data"]["result"].as_array().unwrap().is_empty()
        });
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let instances = variables.iter().find(|it| it["name"] == "instance").unwrap()["query"]["query"].as_str().unwrap();
    let selector = instances.strip_prefix("label_values(").unwrap().strip_suffix(", instance)").unwrap();
    assert_eq!(value(&prometheus, &format!("count({selector})")).as_deref(), Some("1"), "{instances} offers no guest");
}

/// What a scrape takes with 64 nodes, while every CPU is busy.
#[test]
fn a_scrape_of_64_nodes_under_load_takes_less_than_a_second() {
    let node = metrics().nodes[&0].clone();
    let history = Arc::new(DecisionHistory::default());
    history.publish_metrics(Metrics { nodes: (0..64).map(|id| (id, node.clone())).collect(), ..metrics() });
    let server = MetricsServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address();
    server.serve(history).unwrap();
    let nr_cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let mut bytes = 0;
    let slowest = std::thread::scope(|scope| {
        for _ in 0..2 * nr_cpus {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let mut scrape = |_| {
            let began = Instant::now();
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("# EOF\n"));
            bytes = answer.len();
            began.elapsed()
        };
        let slowest = (0..20).map(&mut scrape).max().unwrap();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        slowest
    });
    eprintln!("the slowest of 20 scrapes of {bytes} bytes took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}
