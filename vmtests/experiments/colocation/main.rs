//! `vnuma-colocation`: latency-critical (LC) work on the hosts, best-effort (BE) work in the guest, as in section 5.1 of the
//! thesis.
//!
//! `load` puts the LC load on the hosts and measures it. The guest's part, with the arms that are compared, is
//! `vnuma-scenarios colocation` (arms.rs). `report` puts both together.

mod client;
mod hosts;
mod load_map;
mod record;
mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// The co-location experiment: LC work on the hosts, BE work in the guest.
#[derive(Parser)]
#[command(name = "vnuma-colocation", version)]
enum Cli {
    Load(hosts::Load),
    Report(report::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("vnuma-colocation: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli {
        Cli::Load(load) => load.run(),
        Cli::Report(options) => report::run(&options),
    }
}
