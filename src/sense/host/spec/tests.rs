use super::super::access::{Auth, ClientFiles};
use super::*;

fn spec(text: &str) -> HostSpec {
    text.parse().unwrap()
}

#[test]
fn a_url_gets_node_exporters_path_and_loses_its_cpus() {
    for (text, url) in [
        ("0=http://host-a:9100", "http://host-a:9100/metrics"),
        ("0=http://host-a:9100/", "http://host-a:9100/metrics"),
        ("0=http://host-a:9100?cpus=0-1", "http://host-a:9100/metrics"),
        ("0=https://host-a/node/metrics", "https://host-a/node/metrics"),
        ("0=http://[fe80::1]", "http://[fe80::1]/metrics"),
        ("0=http://h:65535", "http://h:65535/metrics"),
        ("0=http://[fe80::1]:9100", "http://[fe80::1]:9100/metrics"),
        ("0=http://host-a:9100/m?collect[]=cpu&cpus=0&x=y", "http://host-a:9100/m?collect[]=cpu&x=y"),
    ] {
        assert_eq!(spec(text).url, url, "{text}");
    }
    assert_eq!(spec("3=http://h?cpus=0-2,7").cpus, Some([0, 1, 2, 7].into()));
    assert_eq!(spec("3=http://h"), HostSpec { node: NodeId(3), cpus: None, ..spec("3=http://h?cpus=1") });
}

#[test]
fn a_bad_host_is_refused_with_the_remedy() {
    for (text, remedy) in [
        ("http://h", "NODE=URL"),
        ("x=http://h", "not a node number"),
        ("-1=http://h", "not a node number"),
        ("0=h:9100", "http://"),
        ("0=ftp://h", "http:// or https://"),
        ("0=http://", "can't be read"),
        ("0=http://h?cpus=", "such as 0-7,16"),
        ("0=http://h?cpus=3-1", "such as 0-7,16"),
        ("0=http://h?cpus=0,3-1", "such as 0-7,16"),
        ("0=http://h?cpus=0-x", "such as 0-7,16"),
        ("0=http://h?cpus=0-99999999999", "such as 0-7,16"),
        ("0=http://h?cpus=18446744073709551615", "such as 0-7,16"),
        ("0=http://h?cpus=0&cpus=1", "twice"),
        ("0=http://h:65536", "'65536' is not a port: ports are 1 to 65535"),
        ("0=https://h:99999999999999999999/metrics", "is not a port"),
        ("0=http://h:0", "'0' is not a port"),
        ("0=http://h:", "'' is not a port"),
        ("0=http://[fe80::1]:65536?cpus=1", "'65536' is not a port"),
    ] {
        let message = text.parse::<HostSpec>().unwrap_err().to_string();
        assert!(message.contains(text) && message.contains(remedy), "{message}");
    }
    for text in [
        "0=http://me:secret@h",
        "0=http://me:secret/and@h",
        "0=http://me:secret?and@h",
        "http://secret=and@h",
        "0=http://me:?cpus=secret@h",
    ] {
        let message = text.parse::<HostSpec>().unwrap_err().to_string();
        assert!(message.contains("password_file") && !message.contains("secret"), "{message}");
    }
}

/// The hosts of a file with this text, or why it is refused.
fn from_file(text: &str) -> Result<Vec<HostSpec>, String> {
    static NR: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let nr = NR.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("vnuma-hosts-{}-{nr}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let specs = host_specs(&[], Some(&path), &[NodeId(0), NodeId(1)]);
    std::fs::remove_file(&path).unwrap();
    specs.map_err(|err| err.to_string())
}

#[test]
fn an_error_in_a_file_names_the_line_and_shows_no_password() {
    let host = "[[host]]\nnode = 0\n";
    for (rest, reason) in [
        ("url = \"http://me:secret@h\" cpus\n", "line 3: "),
        ("url = \"http://me:secret@h\nnode = 1\n", "line 3: "),
        ("url = 5 # http://me:secret@h", "line 3: invalid type"),
        ("cpus = [\"http://me:secret@h\"]", "line 3: invalid type"),
        ("url = \"http://me:secret@h\"", "password_file"),
    ] {
        let message = from_file(&format!("{host}{rest}")).unwrap_err();
        assert!(message.contains(reason) && !message.contains("secret"), "{message}");
    }
    let message = from_file("[[host]]\nnode = \"http://me:secret@h\"").unwrap_err();
    assert!(message.contains("line 2: this value is not expected here"), "{message}");
}

#[test]
fn a_file_adds_credentials_relative_to_its_folder() {
    let specs = from_file(
        "[[host]]\nnode = 0\nurl = 'https://a'\ncpus = '0-3'\nuser = 'me'\npassword_file = 'pw'\nca_file = '/ca.pem'\n\
         cert_file = 'guest.pem'\nkey_file = '/guest.key'\n\
         [[host]]\nnode = 1\nurl = 'http://b?cpus=5'\nbearer_token_file = '/token'\n",
    )
    .unwrap();
    let auth = Auth::Basic { user: "me".into(), password_file: std::env::temp_dir().join("pw") };
    assert_eq!(specs[0].access.auth, Some(auth));
    assert_eq!(specs[0].access.ca_file.as_deref(), Some(Path::new("/ca.pem")));
    let cert_file = std::env::temp_dir().join("guest.pem");
    assert_eq!(specs[0].access.client, Some(ClientFiles { cert_file, key_file: "/guest.key".into() }));
    assert_eq!(specs[0].cpus.as_ref().unwrap().len(), 4);
    assert_eq!(specs[1].access.auth, Some(Auth::Bearer { token_file: "/token".into() }));
    assert_eq!(specs[1].cpus, Some([5].into()));
}

#[test]
fn the_example_file_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hosts.toml");
    let specs = host_specs(&[], Some(&path), &[NodeId(0), NodeId(1), NodeId(2)]).unwrap();
    assert_eq!(specs[0].url, "http://host-a:9100/metrics");
    assert_eq!(specs[1].access.ca_file, Some(path.with_file_name("ca.pem")));
}

#[test]
fn a_bad_file_is_refused_with_the_field() {
    let host = |fields: &str| format!("[[host]]\nnode = 1\n{fields}\n");
    for (text, part) in [
        (String::new(), "no [[host]]"),
        ("[[host]]\nurl = 'http://a'\n".into(), "missing field `node`"),
        (host("url = 'http://a'\npasword = 'x'"), "unknown field `pasword`"),
        (host("url = 5"), "url = 5"),
        (host("url = 'gopher://a'"), "host of node 1: url = \"gopher://a\": the URL must begin with http://"),
        (host("url = 'http://a'\ncpus = '1-'"), "host of node 1: cpus: "),
        (host("url = 'http://a?cpus=1'\ncpus = '1'"), "give it once"),
        (host("url = 'http://a'\nuser = 'me'"), "both user and password_file"),
        (host("url = 'http://a'\nuser = 'a:b'\npassword_file = 'x'"), "user must not contain a ':'"),
        (host("url = 'http://a'\nca_file = 'x'"), "https://"),
        (host("url = 'http://a'\ncert_file = 'x'\nkey_file = 'y'"), "cert_file needs an https:// url"),
        (host("url = 'https://a'\ncert_file = 'x'"), "both cert_file and key_file"),
        (host("url = 'http://a'") + &host("url = 'http://b'"), "node 1 has two hosts"),
        (
            "[[host]]\nnode = 7\nurl = 'http://a'\n".into(),
            "no node 7 for a --host or --hosts: the guest's nodes are 0, 1",
        ),
    ] {
        let message = from_file(&text).unwrap_err();
        assert!(message.contains(part), "{text}: {message}");
    }
    let missing = host_specs(&[], Some(Path::new("/nonexistent.toml")), &[]).unwrap_err().to_string();
    assert!(missing.contains("--hosts /nonexistent.toml: it must be a readable file"), "{missing}");
}

#[test]
fn flags_and_file_together_may_name_each_node_once() {
    let given = [spec("0=http://a"), spec("0=http://b")];
    let message = host_specs(&given, None, &[NodeId(0)]).unwrap_err().to_string();
    assert!(message.contains("node 0 has two hosts"), "{message}");
    assert_eq!(host_specs(&given[..1], None, &[NodeId(0)]).unwrap().len(), 1);
}
