//! `vnuma-colocation`: the host level's part of the co-location experiment, and its report. The guest's part is
//! `vnuma-scenarios colocation`.

use std::process::ExitCode;

use clap::Parser;
use vnuma_vmtests::experiments::colocation::{hosts, report, Arm};

/// The co-location experiment: LC work on the hosts, BE work in the guest
#[derive(Parser)]
#[command(name = "vnuma-colocation")]
enum Cli {
    Load(hosts::Load),
    Report(report::Options),
    /// Prints the names of the arms, in the order in which they take turns
    Arms,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse() {
        Cli::Load(load) => load.run(),
        Cli::Report(options) => report::run(&options),
        Cli::Arms => {
            Arm::ALL.into_iter().for_each(|arm| println!("{}", arm.name()));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("vnuma-colocation: {err:#}");
            ExitCode::FAILURE
        }
    }
}
