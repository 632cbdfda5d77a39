//! `vnuma-bench FOLDER`: the samples of `vnuma-scenarios bench` as ratios with their spread, with the goals, and as pictures.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vnuma_vmtests::bench::report;

/// Shows what the benchmarks measured
#[derive(Parser)]
#[command(name = "vnuma-bench")]
struct Cli {
    /// Folder of the samples: files *.jsonl with one sample a line. The pictures are written to the same folder
    folder: PathBuf,
}

fn main() -> ExitCode {
    match report::run(&Cli::parse().folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("vnuma-bench: {err:#}");
            ExitCode::FAILURE
        }
    }
}
