//! The benchmarks' samples as ratios with their spread, with the goals, and as pictures.

mod picture;
mod pictures;
pub(crate) mod ratios;

use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use ratios::{Comparison, COMPARISONS};

use super::sample::Sample;

/// Prints the results of the samples in `folder`, and writes the pictures to it.
pub fn run(folder: &Path) -> Result<()> {
    let mut samples = Vec::new();
    for path in sample_files(folder)? {
        samples.extend(read(&path)?);
    }
    ensure!(!samples.is_empty(), "{}: no samples; vmtests/bench/run writes them", folder.display());
    print_values(&samples);
    println!();
    COMPARISONS.iter().for_each(|comparison| print_comparison(comparison, &samples));
    for (name, panels) in pictures::ALL {
        let path = folder.join(name);
        if let Some(svg) = picture::draw(panels, &samples).with_context(|| format!("drawing {name}"))? {
            std::fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))?;
            println!("As a picture: {}", path.display());
        }
    }
    Ok(())
}

fn sample_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort_unstable();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<Sample>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let samples = (1..).zip(text.lines()).map(|(nr, line)| {
        serde_json::from_str(line).with_context(|| format!("{}:{nr}: not a sample: {line}", path.display()))
    });
    samples.collect()
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

/// Prints each ratio with its goal, or `not measured` where samples are missing.
fn print_comparison(comparison: &Comparison, samples: &[Sample]) {
    let Comparison { arm, measurement, baseline, at_most } = comparison;
    if !samples.iter().any(|sample| sample.measurement == *measurement) {
        return;
    }
    let what = format!("{measurement}: {arm} / {baseline}");
    match comparison.ratio(samples) {
        None => println!("{what}: not measured"),
        Some((low, median, high)) => {
            let verdict = if median <= *at_most { "holds" } else { "DOES NOT HOLD" };
            println!("{what}: {median:.4} ({low:.4} to {high:.4}), goal {at_most:.4} at most: {verdict}");
        }
    }
}
