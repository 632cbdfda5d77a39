//! The command line of `vnuma-sim`.

mod compare;
mod load;
mod merge;
mod options;
mod prepare;
mod run;
mod table;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Replay a cluster trace through a simulated cluster under the schedulers of scx_vnuma, and show what each does to CPU
/// utilisation, balance, overcommit, task duration and the network.
#[derive(Parser)]
#[command(name = "vnuma-sim", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one policy over a trace (without one: over the sample that comes with the program)
    Run(run::Run),
    /// Run every policy and order over one loaded trace
    Compare(compare::Compare),
    /// Parse a trace once, for every command to read with --trace
    Prepare(prepare::Prepare),
    /// Put the shards of one run together, exactly
    Merge(merge::Merge),
}

/// Run the command line; the exit code is 0, 1 after an error, 2 after wrong usage.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Prepare(command) => command.run(),
        Command::Merge(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vnuma-sim: fatal: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A reader that has seen enough, such as `head`, is no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|io| io.kind() == io::ErrorKind::BrokenPipe)
}
