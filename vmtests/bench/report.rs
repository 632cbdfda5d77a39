//! `vnuma-bench RESULTS --svg FILE`: what `vnuma-scenarios bench` measured, as ratios with their spread, beside the goals, and
//! the cost of a retarget as a picture.

mod picture;
mod ratios;
mod sample;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{ensure, Context, Result};
use clap::Parser;
use ratios::{Comparison, COMPARISONS};
use sample::Sample;

/// Shows what the benchmarks measured.
#[derive(Parser)]
#[command(name = "vnuma-bench")]
struct Cli {
    /// The samples, a line of JSON each
    results: PathBuf,
    /// The picture to write
    #[arg(long, value_name = "FILE")]
    svg: PathBuf,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("vnuma-bench: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let samples = read(&cli.results)?;
    print_values(&samples);
    println!();
    COMPARISONS.iter().for_each(|comparison| print_comparison(comparison, &samples));
    let svg = picture::draw(&samples).context("drawing the picture")?;
    std::fs::write(&cli.svg, svg)
        .with_context(|| format!("writing {}: --svg needs a file in a folder that exists", cli.svg.display()))
}

fn read(path: &Path) -> Result<Vec<Sample>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let samples: Vec<Sample> = (1..)
        .zip(text.lines())
        .map(|(nr, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{nr}: not a sample: {line}", path.display()))
        })
        .collect::<Result<_>>()?;
    ensure!(!samples.is_empty(), "{}: no samples; vmtests/bench/run writes them", path.display());
    Ok(samples)
}

/// Every arm of every measurement, in the order in which they were measured.
fn print_values(samples: &[Sample]) {
    let mut measurements: Vec<&str> = Vec::new();
    for sample in samples {
        if !measurements.contains(&sample.measurement.as_str()) {
            measurements.push(&sample.measurement);
        }
    }
    for measurement in measurements {
        let of_it: Vec<&Sample> = samples.iter().filter(|sample| sample.measurement == measurement).collect();
        println!("{measurement}, {}", of_it[0].unit);
        let mut arms: Vec<&str> = of_it.iter().map(|sample| sample.arm.as_str()).collect();
        arms.sort_unstable();
        arms.dedup();
        for arm in arms {
            let values = ratios::values(samples, measurement, arm);
            let (low, median, high) = ratios::spread(values.iter().map(|&(_, value)| value).collect());
            println!("    {arm:42} {median:>12.3}  ({low:.3} to {high:.3}, {} times)", values.len());
        }
    }
}

fn print_comparison(comparison: &Comparison, samples: &[Sample]) {
    let Comparison { arm, measurement, baseline, at_most } = comparison;
    let what = format!("{measurement}: {arm} / {baseline}");
    match comparison.ratio(samples) {
        None => println!("{what}: not measured"),
        Some((low, median, high)) => {
            let verdict = if median <= *at_most { "holds" } else { "DOES NOT HOLD" };
            println!("{what}: {median:.4} ({low:.4} to {high:.4}), goal {at_most:.4} at most: {verdict}");
        }
    }
}
