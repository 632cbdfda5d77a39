//! The command line of `vnuma-sim`.

mod advise;
mod compare;
mod experiment;
mod load;
mod merge;
mod model_line;
mod models;
mod options;
mod prepare;
mod replay;
mod report;
mod run;
mod say;
mod seeds;
mod series;
mod shapes;
mod spreads;
mod sweep;
mod synthesise;
pub(super) mod table;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use options::ModelOptions;
use say::say;

use crate::sim::params::Params;
use crate::sim::SimError;

/// Replay a cluster trace in a simulated cluster under the schedulers of scx_vnuma, and show how each affects CPU
/// utilisation, balance, overcommit, task duration and the network.
#[derive(Parser)]
#[command(name = "vnuma-sim", version, max_term_width = 110, after_long_help = exit_codes_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one policy on a trace. Without a trace, on the bundled sample
    Run(run::Run),
    /// Run every policy and order on one loaded trace
    Compare(compare::Compare),
    /// Run every combination of varied options
    Sweep(sweep::Sweep),
    /// Run what a file asks for: traces, policies, options and seeds; resumable
    Experiment(experiment::Experiment),
    /// Parse a trace once, so that other commands can load it with --trace
    Prepare(prepare::Prepare),
    /// Write a synthetic trace of any size, calibrated on real ones
    Synthesise(synthesise::Synthesise),
    /// Merge the shards of one run; the result equals that of a single run
    Merge(merge::Merge),
    /// Show what another policy would have decided in the rounds of a decision log
    Replay(replay::Replay),
    /// Show what other settings would have done in the time of a decision log, and what the log can't tell
    Advise(advise::Advise),
    /// Draw results as one HTML page
    Report(report::Report),
}

/// The exit codes and what they mean, for `--help` and the manual page.
pub const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "it did what it was asked to"),
    ("1", "it failed, and standard error has the reason"),
    ("2", "the command line is wrong"),
];

/// The exit codes as the end of `--help` has them.
fn exit_codes_help() -> String {
    let lines = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code}  {meaning}\n"));
    format!("Exit codes:\n{}", lines.collect::<String>())
}

/// The definition of the command line, for generated documentation.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The parameters that options of the model give, by their names without dashes and values as on the command line: for other
/// front ends.
pub fn params(options: &[(String, String)], of_sample: bool) -> Result<Params, SimError> {
    let set = |model: ModelOptions, (name, value): &(String, String)| {
        model.with(name, value).map_err(|what| SimError::Parameters(format!("{name}: {what}")))
    };
    options.iter().try_fold(ModelOptions::default(), set)?.params(of_sample)
}

/// Run the command line. The exit code is 0, 1 after an error, or 2 after wrong usage.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Prepare(command) => command.run(),
        Command::Synthesise(command) => command.run(),
        Command::Sweep(command) => command.run(),
        Command::Experiment(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Advise(command) => command.run(),
        Command::Merge(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("vnuma-sim: fatal: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Return true if a reader closed the pipe, as `head` does, which is no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|io| io.kind() == io::ErrorKind::BrokenPipe)
}
