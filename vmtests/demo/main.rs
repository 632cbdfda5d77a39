//! `vnuma-timeline DIR --svg FILE`: shows the demo's two records as a timeline in text, a picture, and ratios.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vnuma_vmtests::demo;

/// Shows what the demo recorded, under Linux alone and with scx_vnuma: a timeline, ratios, and a picture
#[derive(Parser)]
#[command(name = "vnuma-timeline")]
struct Cli {
    /// The folder with alone.jsonl and with.jsonl
    dir: PathBuf,
    /// The picture to write
    #[arg(long, value_name = "FILE")]
    svg: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match demo::show(&cli.dir, &cli.svg) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("vnuma-timeline: {err:#}");
            ExitCode::FAILURE
        }
    }
}
