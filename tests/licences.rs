//! Checks the crates linked into the two binaries when one build makes both: the daemon has none that is Apache-2.0
//! only, the simulator none that is GPL-2.0 only.
//!
//! deny.toml and deny-sim.toml check the dependencies of each binary, but a build with both features links a library
//! with both halves. A linked crate shows in a binary by the source paths in its panic messages. Debug information has
//! paths of code that isn't linked, so only release builds can be tested.
#![cfg(all(feature = "daemon", feature = "sim", not(debug_assertions)))]

/// Return true if a panic message in the binary names a source file of the crate, from a registry or a vendored copy.
fn has_code_of(binary: &str, crate_name: &str) -> bool {
    let binary = std::fs::read(binary).expect("cargo built it");
    let binary = String::from_utf8_lossy(&binary);
    binary.contains(&format!("/{crate_name}-")) || binary.contains(&format!("/{crate_name}/src/"))
}

#[test]
fn the_daemon_has_no_code_that_is_apache_2_only() {
    let daemon = env!("CARGO_BIN_EXE_scx_vnuma");
    assert!(has_code_of(daemon, "scx_utils"), "paths are not in the binary: this test sees nothing");
    for crate_name in ["parquet", "clang-sys", "ring", "prometheus-parse", "openssl"] {
        assert!(!has_code_of(daemon, crate_name), "{crate_name} is linked");
    }
}

#[test]
fn the_simulator_has_no_code_that_is_gpl_2_only() {
    let simulator = env!("CARGO_BIN_EXE_vnuma-sim");
    assert!(has_code_of(simulator, "parquet"), "paths are not in the binary: this test sees nothing");
    for crate_name in ["scx_utils", "scx_stats", "scx_cargo", "libbpf-rs"] {
        assert!(!has_code_of(simulator, crate_name), "{crate_name} is linked");
    }
}
