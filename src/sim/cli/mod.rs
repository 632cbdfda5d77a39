//! The command line of `vnuma-sim`.

mod compare;
mod load;
mod merge;
mod options;
mod prepare;
mod replay;
mod report;
mod run;
mod sweep;
mod synthesise;
pub(super) mod table;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

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
    /// Vary options, and run every combination
    Sweep(sweep::Sweep),
    /// Parse a trace once, for every command to read with --trace
    Prepare(prepare::Prepare),
    /// Draw a synthetic trace of any size, calibrated on real ones
    Synthesise(synthesise::Synthesise),
    /// Put the shards of one run together, exactly
    Merge(merge::Merge),
    /// Say what another policy would have decided in the rounds of a decision log
    Replay(replay::Replay),
    /// Draw results as one HTML page
    Report(report::Report),
}

/// The command line's definition, for documentation.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Run the command line; the exit code is 0, 1 after an error, 2 after wrong usage.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Prepare(command) => command.run(),
        Command::Synthesise(command) => command.run(),
        Command::Sweep(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Replay(command) => command.run(),
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
