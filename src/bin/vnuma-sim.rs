//! The simulator. Its command line is defined in [`scx_vnuma::sim::cli`].

fn main() -> std::process::ExitCode {
    scx_vnuma::sim::cli::main()
}
