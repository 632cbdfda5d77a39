//! Compiles the scheduler class to BPF and generates its Rust skeleton, for builds that include the daemon.

fn main() {
    #[cfg(feature = "daemon")]
    scx_cargo::BpfBuilder::new()
        .expect("clang for BPF is needed: install clang-19, or name another (18 or newer) in BPF_CLANG")
        .enable_intf("src/bpf/intf.h", "bpf_intf.rs")
        .enable_skel("src/bpf/main.bpf.c", "bpf")
        .build()
        .expect("src/bpf did not compile; the compiler's words are above");
}
