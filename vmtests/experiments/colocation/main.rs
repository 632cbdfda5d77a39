//! `vnuma-colocation`: the host level's part of the co-location experiment, and its report. The guest's part is
//! `vnuma-scenarios colocation`.

use std::process::ExitCode;

use clap::Parser;
use vnuma_vmtests::experiments::colocation::{hosts, report};

/// The co-location experiment: LC work on the hosts, BE work in the guest
#[derive(Parser)]
#[command(name = "vnuma-colocation")]
enum Cli {
    Load(hosts::Load),
    Report(report::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse() {
        Cli::Load(load) => load.run(),
        Cli::Report(options) => report::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("vnuma-colocation: {err:#}");
            ExitCode::FAILURE
        }
    }
}
