//! Checks the crates linked into the two binaries when one build makes both: the daemon has none that is Apache-2.0
//! only, the simulator none that is GPL-2.0 only.
//!
//! deny.toml and deny-sim.toml check the dependencies of each binary, but a build with both features links a library
//! with both halves. A linked crate shows in a binary by the source paths in its panic messages. Debug information also
//! has paths of code that isn't linked, so it is removed first.
#![cfg(all(feature = "daemon", feature = "sim"))]

use std::process::Command;

/// A copy of a binary without debug information.
fn stripped(binary: &str) -> Vec<u8> {
    let copy = tempfile::NamedTempFile::new().expect("a temporary file");
    let strip = Command::new("strip").args(["--strip-debug", binary, "-o"]).arg(copy.path()).status();
    assert!(strip.expect("strip, of Debian's binutils, is there").success(), "strip failed");
    std::fs::read(copy.path()).expect("strip wrote it")
}

/// Return true if a panic message in the binary names a source file of the crate, from a registry or a vendored copy.
fn has_code_of(binary: &[u8], crate_name: &str) -> bool {
    let binary = String::from_utf8_lossy(binary);
    binary.contains(&format!("/{crate_name}-")) || binary.contains(&format!("/{crate_name}/src/"))
}

#[test]
fn the_daemon_has_no_code_that_is_apache_2_only() {
    let daemon = stripped(env!("CARGO_BIN_EXE_scx_vnuma"));
    assert!(has_code_of(&daemon, "scx_utils"), "paths are not in the binary: this test sees nothing");
    for crate_name in ["parquet", "clang-sys", "ring", "prometheus-parse", "openssl"] {
        assert!(!has_code_of(&daemon, crate_name), "{crate_name} is linked");
    }
}

#[test]
fn the_simulator_has_no_code_that_is_gpl_2_only() {
    let simulator = stripped(env!("CARGO_BIN_EXE_vnuma-sim"));
    assert!(has_code_of(&simulator, "parquet"), "paths are not in the binary: this test sees nothing");
    for crate_name in ["scx_utils", "scx_stats", "scx_cargo", "libbpf-rs"] {
        assert!(!has_code_of(&simulator, crate_name), "{crate_name} is linked");
    }
}
