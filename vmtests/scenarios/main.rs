//! `vnuma-scenarios`: what runs inside a guest of the lab. `vnuma-scenarios --help` lists its commands.

mod all;
#[path = "../bench/measure.rs"]
mod bench;
mod boots;
mod bound;
#[path = "../experiments/colocation/arms.rs"]
mod colocation;
mod demo;
mod experiment;
mod fake_exporter;
mod fine;
mod fixed;
mod following;
mod guest;
mod hosts;
mod hotplug;
mod killing;
mod leaving;
mod moving;
mod register;
mod scale;
mod shapes;
mod storms;
mod watching;
mod workers;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use register::{Place, Scenario, SCENARIOS};

/// Scenarios, measurements and load that run inside the guests of the lab
#[derive(Parser)]
#[command(name = "vnuma-scenarios")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the groups and their scenarios
    List {
        /// Only this group
        #[arg(long, value_parser = group_names())]
        group: Option<String>,
    },
    /// Print the machines that vmtests/run boots, one a line: title, command and scenarios, separated by tabs
    Boots {
        /// Kernel series to boot, separated by commas, the newest first
        #[arg(long, value_name = "SERIES", value_delimiter = ',', required = true)]
        kernels: Vec<String>,
        /// Groups and scenarios; without one, all
        #[arg(value_name = "GROUP|SCENARIO")]
        names: Vec<String>,
    },
    /// Run scenarios on this machine, in the given order
    Run {
        /// Names of scenarios
        #[arg(value_name = "SCENARIO", required = true, value_parser = scenario_names(), hide_possible_values = true)]
        names: Vec<String>,
    },
    /// Run a phase of the demo and record it
    Demo { phase: demo::PhaseName },
    /// Take a part of the benchmarks
    Bench {
        /// Measure once, only to see that it works
        #[arg(long)]
        short: bool,
        part: bench::Part,
    },
    /// Run the arms of the co-location experiment
    Colocation(colocation::Options),
}

fn group_names() -> PossibleValuesParser {
    register::groups().into_iter().map(|group| group.name).into()
}

fn scenario_names() -> PossibleValuesParser {
    SCENARIOS.iter().map(|scenario| scenario.name).into()
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List { group } => print!("{}", boots::list(group.as_deref())),
        Command::Boots { kernels, names } => match boots::plan(&names, &kernels) {
            Ok(boots) => boots.iter().for_each(|boot| println!("{boot}")),
            Err(err) => {
                eprintln!("vnuma-scenarios: {err}");
                return ExitCode::from(2);
            }
        },
        Command::Run { names } => return run(&names),
        Command::Demo { phase } => return report_error(demo::record(phase)),
        Command::Bench { short, part } => return report_error(bench::run(part, bench::Extent::of(short))),
        Command::Colocation(options) => return report_error(colocation::run(&options)),
    }
    ExitCode::SUCCESS
}

fn report_error(outcome: Result<()>) -> ExitCode {
    let Err(err) = outcome else { return ExitCode::SUCCESS };
    eprintln!("vnuma-scenarios: {err:#}");
    ExitCode::FAILURE
}

fn run(names: &[String]) -> ExitCode {
    let mut nr_failed = 0;
    for scenario in names.iter().filter_map(|name| register::find(name)) {
        let name = scenario.name;
        let start = Instant::now();
        let outcome = run_one(scenario);
        let took_s = start.elapsed().as_secs_f64();
        match outcome {
            Ok(figures) => println!("ok      {name} ({took_s:.1} s) {figures}"),
            Err(err) => {
                nr_failed += 1;
                println!("FAILED  {name} ({took_s:.1} s): {err:#}");
                guest::print_last_log();
            }
        }
    }
    ExitCode::from(u8::from(nr_failed > 0))
}

fn run_one(scenario: &Scenario) -> Result<String> {
    if scenario.place == Place::Here {
        return (scenario.run)();
    }
    let outcome = (scenario.run)().and_then(|figures| shapes::nothing_is_left().map(|()| figures));
    // Whatever happened, the next one starts without hogs; outside the lab there are none.
    let _ = guest::hog(&[]);
    outcome
}
