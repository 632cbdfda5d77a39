//! Checks of objectives and of answers on any input.

use std::path::Path;

use super::answer::{refusal, value};
use super::file::parse_file;
use super::SloSpec;
use crate::sense::host::fuzzing::hides_password;

/// The value of `--slo`. One that is printed is parsed to the same one, its limit is above 0, and no message shows a password.
pub(crate) fn slo_option(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<SloSpec>() {
        Ok(spec) => {
            is_complete(&spec);
            assert_eq!(spec.to_string().parse().as_ref(), Ok(&spec));
        }
        Err(err) => {
            // What comes after the '#' is no URL.
            let address = text.split('#').next().unwrap_or_default();
            if text.matches("secret").count() == address.matches("secret").count() {
                hides_password(address, &err.to_string());
            }
        }
    }
}

/// The text of a `--slos` file. What it gives is complete, and no message shows a password.
pub(crate) fn slos_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match parse_file(Path::new("/etc/scx_vnuma/slos.toml"), text) {
        Ok(specs) => {
            assert!(!specs.is_empty());
            specs.iter().for_each(is_complete);
        }
        Err(err) => hides_password(text, &err.to_string()),
    }
}

fn is_complete(spec: &SloSpec) {
    assert!(spec.limit > 0.0 && spec.limit.is_finite(), "{spec:?}");
    assert!(spec.url.starts_with("http://") || spec.url.starts_with("https://"), "{spec:?}");
    let authority = spec.url.split('/').nth(2).expect("a URL has an authority");
    assert!(!authority.is_empty() && !authority.contains('@'), "{}", spec.url);
}

/// A line with an objective, and the answer to it. What it gives is a latency.
pub(crate) fn slo_answer(bytes: &[u8]) {
    let Some((spec, answer)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else { return };
    let Ok(spec) = spec.parse::<SloSpec>() else { return };
    if let Ok(value) = value(&spec.query, answer) {
        assert!(value >= 0.0 && value.is_finite(), "{value}");
    }
    refusal(answer);
}
