//! Checks of a host's answer and of hosts' addresses on any input.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::metrics::{CpuCounters, NodeCounters};
use super::sample::Sample;
use super::spec::{parse_file, HostSpec};

/// Rounding of sums of shares.
const SLACK: f64 = 1e-9;

/// Two answers of a host, divided by a zero byte; one counts as both. Shares are shares, and a sample that is printed
/// is parsed to the same sample.
pub(crate) fn metrics_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    text.lines().for_each(sample);
    let (before, after) = text.split_once('\0').unwrap_or((text, text));
    let start = Instant::now();
    let parse = |text: &str, at: Instant| NodeCounters::of(&CpuCounters::parse(text, at, at).ok()?, None).ok();
    let Some(before) = parse(before, start) else { return };
    // The clock has to agree with the counters, and nobody knows by how much they advance.
    for passed_s in [0.01, 1.0, 3600.0] {
        let Some(after) = parse(after, start + Duration::from_secs_f64(passed_s)) else { return };
        let Ok(load) = after.since(&before) else { continue };
        let sum = load.taken_share + load.guest_share;
        assert!(load.taken_share >= 0.0 && load.guest_share >= 0.0 && sum <= 1.0 + SLACK, "{load:?}");
        assert!(load.psi_share.is_none_or(|share| (0.0..=1.0).contains(&share)), "{load:?}");
    }
}

fn sample(line: &str) {
    let Some(sample) = Sample::parse(line) else { return };
    let mut printed = sample.metric.to_string();
    for (nr, (name, value)) in sample.labels().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let before = if nr == 0 { '{' } else { ',' };
        write!(printed, "{before}{name}=\"{value}\"").expect("BUG: writing to a String fails");
    }
    printed += if sample.labels().next().is_some() { "} " } else { " " };
    printed += &sample.value.to_string();
    let again = Sample::parse(&printed).expect("a printed sample is parsed");
    assert!(again.labels().eq(sample.labels()) && again.metric == sample.metric, "{printed}");
    assert!(again.value == sample.value || sample.value.is_nan(), "{printed}");
}

/// The value of `--host`. A spec that is printed is parsed to the same spec, and no message shows a password.
pub(crate) fn host_option(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<HostSpec>() {
        Ok(spec) => {
            let cpus = spec.cpus.as_ref().map(|cpus| {
                let and = if spec.url.contains('?') { '&' } else { '?' };
                format!("{and}cpus={cpus}")
            });
            let printed = format!("{}={}{}", spec.node, spec.url, cpus.unwrap_or_default());
            assert_eq!(printed.parse::<HostSpec>().ok(), Some(spec), "{printed}");
        }
        Err(err) => hides_password(text, &err.to_string()),
    }
}

/// The text of a `--hosts` file. What it gives is complete, and no message shows a password.
pub(crate) fn hosts_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match parse_file(Path::new("/etc/scx_vnuma/hosts.toml"), text) {
        Ok(specs) => {
            assert!(!specs.is_empty());
            for spec in specs {
                assert!(spec.url.starts_with("http://") || spec.url.starts_with("https://"), "{spec:?}");
                assert!(spec.cpus.is_none_or(|cpus| !cpus.is_empty()));
                let authority = spec.url.split('/').nth(2).expect("a URL has an authority");
                assert!(!authority.is_empty() && !authority.contains('@'), "{}", spec.url);
            }
        }
        Err(err) => hides_password(text, &err.to_string()),
    }
}

/// A password in front of an `@` is not shown. The seeds' password is `secret`.
pub(in crate::sense) fn hides_password(text: &str, message: &str) {
    const PASSWORD: &str = "secret";

    let is_end = |char: char| char.is_whitespace() || "\"'`".contains(char);
    let urls = text.split("://").skip(1).map(|rest| rest.split(is_end).next().unwrap_or_default());
    let credentials = urls.filter_map(|url| url.rsplit_once('@')).map(|(before, _)| before);
    if credentials.filter(|before| before.contains(PASSWORD)).count() == 1 && text.matches(PASSWORD).count() == 1 {
        assert!(!message.contains(PASSWORD), "{message}");
    }
}
