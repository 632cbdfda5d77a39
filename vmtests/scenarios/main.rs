//! `vnuma-scenarios`: what runs inside a guest of the lab. `vnuma-scenarios --help` lists its commands.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use vnuma_vmtests::bench::measure;
use vnuma_vmtests::experiments::{colocation, sharers};
use vnuma_vmtests::{demo, pages, scenarios};

/// Scenarios, measurements and load that run inside the guests of the lab
#[derive(Parser)]
#[command(name = "vnuma-scenarios")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the groups and their scenarios
    List {
        /// Only this group
        #[arg(long, value_parser = group_names())]
        group: Option<String>,
    },
    /// Prints the machines that vmtests/run boots, one a line: title, command and scenarios, separated by tabs
    Boots {
        /// Kernel series to boot, separated by commas, the newest first
        #[arg(long, value_name = "SERIES", value_delimiter = ',', required = true)]
        kernels: Vec<String>,
        /// Groups and scenarios to run (default: all)
        #[arg(value_name = "GROUP|SCENARIO")]
        names: Vec<String>,
    },
    /// Runs scenarios on this machine, in the given order
    Run {
        /// Names of scenarios
        #[arg(value_name = "SCENARIO", required = true, value_parser = scenario_names(), hide_possible_values = true)]
        names: Vec<String>,
    },
    /// Runs a phase of the demo and records it
    Demo {
        phase: demo::PhaseName,
    },
    /// Runs a part of the benchmarks
    Bench {
        /// Measure once, only to check that it works
        #[arg(long)]
        short: bool,
        part: measure::Part,
    },
    /// Runs the arms of the co-location experiment
    Colocation(colocation::arms::Options),
    /// Runs programs that share memory under each arm
    Sharers(sharers::arms::Options),
    ShowSharers(sharers::report::Options),
    /// Begins a phase in the counts of pages that travel between nodes
    Mark {
        /// Up to 64 bytes
        phase: String,
    },
    /// Names the pages that travelled, and the code that touched them, by what this machine knows about them now
    NamePages {
        /// The file to write
        names: PathBuf,
        /// Also name the pages of processes with this name, the first 15 bytes of it
        #[arg(long = "process", value_name = "NAME")]
        processes: Vec<String>,
        /// The record
        #[arg(long, value_name = "FILE", default_value = "/lab/dsm/dsm.json")]
        record: PathBuf,
    },
    /// Does the work that shows which pages scheduling makes travel, under the fair class and under scx_vnuma
    MeasurePages {
        /// The file to write names to, as name-pages does
        names: PathBuf,
        /// The record
        #[arg(long, value_name = "FILE", default_value = "/lab/dsm/dsm.json")]
        record: PathBuf,
    },
    /// Serves the counts of pages that travel at http://ADDR/metrics, as the hosts of a distributed machine would
    ServePages {
        /// Where it listens
        #[arg(long, value_name = "ADDR", default_value = pages::serve::ADDRESS)]
        listen: std::net::SocketAddr,
        /// The file that is served, which the machine writes every second
        #[arg(long, value_name = "FILE", default_value = pages::serve::FILE)]
        file: PathBuf,
    },
    /// Prints what a page of another node costs here, beside a copy, a switch, a wakeup and a process
    PageCosts,
    /// Shows a record of pages that travelled
    ShowPages {
        /// The record, dsm.json
        record: PathBuf,
        /// What name-pages has written
        #[arg(long, value_name = "FILE")]
        names: Option<PathBuf>,
        /// Only the last phase of this name
        #[arg(long, value_name = "NAME")]
        phase: Option<String>,
        /// Draws a picture instead
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
}

fn group_names() -> PossibleValuesParser {
    scenarios::groups().into_iter().map(|group| group.name).into()
}

fn scenario_names() -> PossibleValuesParser {
    scenarios::SCENARIOS.iter().map(|scenario| scenario.name).into()
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List { group } => {
            print!("{}", scenarios::list(group.as_deref()));
            ExitCode::SUCCESS
        }
        Command::Boots { kernels, names } => print_boots(&names, &kernels),
        Command::Run { names } if scenarios::run(&names) => ExitCode::SUCCESS,
        Command::Run { .. } => ExitCode::FAILURE,
        Command::Demo { phase } => report(demo::record(phase)),
        Command::Bench { short, part } => report(measure::run(part, measure::Extent::of(short))),
        Command::Colocation(options) => report(colocation::arms::run(&options)),
        Command::Sharers(options) => report(sharers::arms::run(&options)),
        Command::ShowSharers(options) => report(sharers::report::run(&options)),
        Command::Mark { phase } => {
            vnuma_dsm::mark::begin_phase(&phase);
            ExitCode::SUCCESS
        }
        Command::NamePages { names, processes, record } => report(pages::naming::run(&record, &names, &processes)),
        Command::MeasurePages { names, record } => report(pages::measure::run(&record, &names)),
        Command::ServePages { listen, file } => report(pages::serve::run(listen, &file)),
        Command::PageCosts => report(pages::measure::costs()),
        Command::ShowPages { record, names, phase, svg } => {
            report(pages::report::show(&record, names.as_deref(), phase.as_deref(), svg.as_deref()))
        }
    }
}

fn print_boots(names: &[String], kernels: &[String]) -> ExitCode {
    match scenarios::plan(names, kernels) {
        Ok(boots) => {
            boots.iter().for_each(|boot| println!("{boot}"));
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("vnuma-scenarios: {err}");
            // The exit status that clap uses for usage errors.
            ExitCode::from(2)
        }
    }
}

fn report(outcome: Result<()>) -> ExitCode {
    let Err(err) = outcome else { return ExitCode::SUCCESS };
    eprintln!("vnuma-scenarios: {err:#}");
    ExitCode::FAILURE
}
