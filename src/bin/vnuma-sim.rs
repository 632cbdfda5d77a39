//! The simulator; its command line is [`scx_vnuma::sim::cli`].

fn main() -> std::process::ExitCode {
    scx_vnuma::sim::cli::main()
}
