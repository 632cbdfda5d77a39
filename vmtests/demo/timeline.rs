//! `vnuma-timeline DIR --svg FILE`: the demo's two records as a timeline to read, a picture, and ratios.
//!
//! Reads DIR/without.jsonl and DIR/with.jsonl, which `vnuma-scenarios demo` wrote (see `run`).

mod picture;
mod record;
mod summary;
mod text;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{ensure, Context, Result};
use clap::Parser;
use record::Phase;
use summary::Comparison;

/// Shows what the demo recorded, without and with scx_vnuma: a timeline, ratios, and a picture.
#[derive(Parser)]
#[command(name = "vnuma-timeline")]
struct Cli {
    /// The folder with without.jsonl and with.jsonl
    dir: PathBuf,
    /// The picture to write
    #[arg(long, value_name = "FILE")]
    svg: PathBuf,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("vnuma-timeline: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let without = Phase::read("without scx_vnuma", &cli.dir.join("without.jsonl"))?;
    let with = Phase::read("with scx_vnuma", &cli.dir.join("with.jsonl"))?;
    ensure!(
        without.nr_nodes() == with.nr_nodes(),
        "{}: without.jsonl has {} nodes and with.jsonl {}, so they are of different runs; {}",
        cli.dir.display(),
        without.nr_nodes(),
        with.nr_nodes(),
        record::REMEDY
    );
    let comparison = Comparison::of(&without, &with);

    let svg = picture::draw(&without, &with, &comparison).context("drawing the picture")?;
    std::fs::write(&cli.svg, svg)
        .with_context(|| format!("writing {}: --svg needs a file in a folder that exists", cli.svg.display()))?;

    let report = text::report(&without, &with, &comparison);
    match std::io::stdout().write_all(report.as_bytes()) {
        // Whoever reads along has seen enough.
        Err(err) if err.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to stdout"),
    }
}
