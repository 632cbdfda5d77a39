//! Queries hosts over real sockets: correct answers are used, faulty ones never are, and no round waits for them.

mod key;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use key::{certificate, Key};
use rustls::server::WebPkiClientVerifier;
use scx_vnuma::cell::NodeId;
use scx_vnuma::sense::{host_specs, HostSpec, Hosts, Reading};
use vnuma_vmtests::scenarios::fake_exporter::{FakeExporter, Says, FAULTS};

const SECOND: Duration = Duration::from_secs(1);

fn spec(node: usize, address: SocketAddr) -> HostSpec {
    format!("{node}=http://{address}?cpus=0").parse().expect("invalid spec")
}

fn start(exporters: &[&FakeExporter]) -> Hosts {
    let specs = exporters.iter().enumerate().map(|(node, exporter)| spec(node, exporter.address()));
    Hosts::start(specs.collect(), SECOND).expect("can't start the threads")
}

/// The share that others take according to the last reading, if it succeeded.
fn share(hosts: &Hosts, node: usize) -> Option<f64> {
    match hosts.reading(NodeId(node as u32)).expect("no host is configured for the node") {
        Reading::Taken { share, .. } => Some(share),
        Reading::Failed => None,
    }
}

/// Poll until `holds` returns true, for at most ten seconds.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < 10 * SECOND, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_about(share: Option<f64>, expected: f64) -> bool {
    share.is_some_and(|share| (share - expected).abs() < 0.1)
}

#[test]
fn readings_start_after_two_answers_and_track_changes() {
    let hosts = [FakeExporter::start(Says::Taken(0.75)).unwrap(), FakeExporter::start(Says::Taken(0.0)).unwrap()];
    let asked = start(&[&hosts[0], &hosts[1]]);
    assert_eq!(share(&asked, 0), None);
    assert_eq!(asked.reading(NodeId(2)), None);
    wait_for("both are known", || is_about(share(&asked, 0), 0.75) && is_about(share(&asked, 1), 0.0));
    let Some(Reading::Taken { age, period, .. }) = asked.reading(NodeId(0)) else { panic!("no reading") };
    assert!(period == SECOND && age < 2 * SECOND, "{age:?} old, every {period:?}");
    assert_eq!(asked.psi_share(NodeId(0)), None);
    hosts[0].say(Says::Taken(0.0));
    hosts[1].say(Says::Taken(0.5));
    wait_for("both have changed", || is_about(share(&asked, 0), 0.0) && is_about(share(&asked, 1), 0.5));
    assert!(hosts[0].requests()[0].starts_with("GET /metrics HTTP/1.1\n"), "{:?}", hosts[0].requests()[0]);
}

#[test]
fn faulty_answers_give_no_reading_and_correct_ones_give_readings_again() {
    let exporters: Vec<FakeExporter> = FAULTS.iter().map(|_| FakeExporter::start(Says::Taken(0.25)).unwrap()).collect();
    let asked = start(&exporters.iter().collect::<Vec<_>>());
    wait_for("all are known", || (0..FAULTS.len()).all(|node| is_about(share(&asked, node), 0.25)));
    for (exporter, fault) in exporters.iter().zip(FAULTS) {
        exporter.say(fault);
    }
    // After two periods and the longest timeout the last correct reading is gone.
    std::thread::sleep(3 * SECOND);
    let start = Instant::now();
    while start.elapsed() < 3 * SECOND {
        for (node, fault) in FAULTS.iter().enumerate() {
            let looked = Instant::now();
            assert_eq!(share(&asked, node), None, "{fault:?}");
            assert!(looked.elapsed() < Duration::from_millis(100), "a round waited {:?}", looked.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    exporters.iter().for_each(|exporter| exporter.say(Says::Taken(0.5)));
    wait_for("all are known again", || (0..FAULTS.len()).all(|node| is_about(share(&asked, node), 0.5)));
}

#[test]
fn a_host_that_dies_becomes_unknown() {
    let host = FakeExporter::start(Says::Taken(0.0)).unwrap();
    let asked = start(&[&host]);
    wait_for("the host is known", || is_about(share(&asked, 0), 0.0));
    drop(host);
    wait_for("the host is unknown", || share(&asked, 0).is_none());
}

#[test]
fn a_hung_host_does_not_delay_shutdown() {
    let host = FakeExporter::start(Says::Nothing).unwrap();
    let asked = start(&[&host]);
    wait_for("the host is asked", || !host.requests().is_empty());
    let end = Instant::now();
    drop(asked);
    assert!(end.elapsed() < Duration::from_millis(500), "shutdown took {:?}", end.elapsed());
}

#[test]
fn a_host_has_one_thread_for_all_its_nodes_which_ends_with_its_owner() {
    let hosts = [(); 2].map(|()| FakeExporter::start(Says::Taken(0.0)).unwrap());
    let specs = (300..304).map(|node| spec(node, hosts[node % 2].address())).collect();
    let asked = Hosts::start(specs, SECOND).unwrap();
    let nr_threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("host-30")).count()
    };
    wait_for("both threads have started", || nr_threads() == 2);
    drop(asked);
    // The kernel removes a thread after its function has returned, and later still on a busy machine.
    wait_for("both threads have ended", || nr_threads() == 0);
}

/// A directory for one test, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vnuma-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("can't create a directory below /tmp");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("can't write a file below /tmp");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn from_file(folder: &Folder, toml: &str) -> Vec<HostSpec> {
    host_specs(&[], Some(&folder.write("hosts.toml", toml)), &[NodeId(0), NodeId(1)]).expect("invalid file")
}

#[test]
fn credentials_are_read_from_their_files_for_each_request() {
    let folder = Folder::new("credentials");
    folder.write("password", "sesame\n");
    folder.write("token", "first\n");
    let hosts = [FakeExporter::start(Says::Taken(0.0)).unwrap(), FakeExporter::start(Says::Taken(0.0)).unwrap()];
    let [basic, bearer] = hosts.each_ref().map(|host| format!("url = 'http://{}'", host.address()));
    let specs = from_file(
        &folder,
        &format!(
            "[[host]]\nnode = 0\n{basic}\nuser = 'aladdin'\npassword_file = 'password'\n\
             [[host]]\nnode = 1\n{bearer}\nbearer_token_file = 'token'\n"
        ),
    );
    let _asked = Hosts::start(specs, SECOND).unwrap();
    let last = |host: &FakeExporter| host.requests().last().cloned().unwrap_or_default();
    // `printf aladdin:sesame | base64`
    wait_for("the password is sent", || last(&hosts[0]).contains("authorization: Basic YWxhZGRpbjpzZXNhbWU=\n"));
    wait_for("the token is sent", || last(&hosts[1]).contains("authorization: Bearer first\n"));
    folder.write("token", "second\n");
    wait_for("the new token is sent", || last(&hosts[1]).contains("authorization: Bearer second\n"));
}

#[test]
fn unusable_files_are_refused_at_once_by_name() {
    let folder = Folder::new("bad-files");
    folder.write("two-lines", "a\nb\n");
    folder.write("no-certificate", "hello\n");
    for (fields, part) in [
        ("bearer_token_file = 'missing'", "missing: No such file"),
        ("bearer_token_file = 'two-lines'", "two-lines: it must hold one line"),
        ("ca_file = 'no-certificate'", "no-certificate: it has no certificate in PEM"),
    ] {
        let specs = from_file(&folder, &format!("[[host]]\nnode = 1\nurl = 'https://127.0.0.1'\n{fields}\n"));
        let message = Hosts::start(specs, SECOND).unwrap_err().to_string();
        assert!(message.contains("host of node 1: ") && message.contains(part), "{message}");
    }
}

/// Start a TLS proxy in front of a plain server, which asks clients for a certificate of `client_ca` if that is given.
/// Returns its address.
fn tls_in_front_of(
    plain: SocketAddr,
    certificate: &rcgen::Certificate,
    key: &Key,
    client_ca: Option<&rcgen::Certificate>,
) -> SocketAddr {
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.pkcs8()).expect("a key");
    let provider = Arc::new(rustls_graviola::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions of TLS");
    let config = match client_ca {
        None => config.with_no_client_auth(),
        Some(ca) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(ca.der().clone()).expect("a CA");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a certificate with its key");
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).expect("a connection");
            let mut tls = rustls::StreamOwned::new(connection, stream.expect("a client"));
            let pass_on = || -> std::io::Result<()> {
                let mut request = [0; 4096];
                let length = tls.read(&mut request)?;
                let mut plain = std::net::TcpStream::connect(plain)?;
                plain.write_all(&request[..length])?;
                let mut answer = Vec::new();
                plain.read_to_end(&mut answer)?;
                tls.write_all(&answer)?;
                tls.conn.send_close_notify();
                tls.flush()
            };
            // A client that rejects the certificate closes the connection.
            let _ = { pass_on }();
        }
    });
    address
}

#[test]
fn a_host_that_asks_for_a_certificate_gets_the_guests() {
    let folder = Folder::new("mtls");
    let (key, guest_key) = (Key::generate(), Key::generate());
    let (server, guest) = (certificate("127.0.0.1", &key), certificate("guest", &guest_key));
    folder.write("ca.pem", &server.pem());
    folder.write("guest.pem", &guest.pem());
    folder.write("guest.key", &guest_key.pem());
    folder.write("other.key", &Key::generate().pem());
    let host = FakeExporter::start(Says::Taken(0.5)).unwrap();
    let address = tls_in_front_of(host.address(), &server, &key, Some(&guest));
    let entry =
        |node, more: &str| format!("[[host]]\nnode = {node}\nurl = 'https://{address}'\nca_file = 'ca.pem'\n{more}\n");
    let with_key = |file: &str| format!("cert_file = 'guest.pem'\nkey_file = '{file}'");
    let specs = from_file(&folder, &(entry(0, &with_key("guest.key")) + &entry(1, "")));
    let asked = Hosts::start(specs, SECOND).unwrap();
    wait_for("the node with a certificate is known", || is_about(share(&asked, 0), 0.5));
    assert_eq!(share(&asked, 1), None);
    for (file, part) in [("other.key", "it is not the key of cert_file"), ("ca.pem", "it has no private key in PEM")] {
        let message = Hosts::start(from_file(&folder, &entry(0, &with_key(file))), SECOND).unwrap_err().to_string();
        assert!(message.contains(&format!("{file}: {part}")), "{message}");
    }
}

#[test]
fn a_certificate_is_accepted_only_with_its_ca_file() {
    let folder = Folder::new("tls");
    let key = Key::generate();
    let certificate = certificate("127.0.0.1", &key);
    folder.write("ca.pem", &certificate.pem());
    let host = FakeExporter::start(Says::Taken(0.5)).unwrap();
    let address = tls_in_front_of(host.address(), &certificate, &key, None);
    let specs = from_file(
        &folder,
        &format!(
            "[[host]]\nnode = 0\nurl = 'https://{address}'\nca_file = 'ca.pem'\n\
             [[host]]\nnode = 1\nurl = 'https://{address}'\n"
        ),
    );
    let asked = Hosts::start(specs, SECOND).unwrap();
    wait_for("the node with ca_file is known", || is_about(share(&asked, 0), 0.5));
    std::thread::sleep(2 * SECOND);
    assert!(is_about(share(&asked, 0), 0.5));
    assert_eq!(share(&asked, 1), None);
    assert!(host.requests().len() >= 3, "only the requests of the node with ca_file arrived");
}
