//! Both phases of the demo as a timeline in text, a picture, and ratios.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{ensure, Context, Result};

use super::record::{Phase, REMEDY};
use super::summary::Comparison;
use super::{picture, text};

/// Reads `dir`/alone.jsonl and `dir`/with.jsonl, prints the timeline and writes the picture to `svg`.
pub fn show(dir: &Path, svg: &Path) -> Result<()> {
    let alone = Phase::read("Linux alone", &dir.join("alone.jsonl"))?;
    let with = Phase::read("With scx_vnuma", &dir.join("with.jsonl"))?;
    ensure!(
        alone.nr_nodes() == with.nr_nodes(),
        "{}: alone.jsonl has {} nodes and with.jsonl {}, so they are of different runs; {REMEDY}",
        dir.display(),
        alone.nr_nodes(),
        with.nr_nodes(),
    );
    let comparison = Comparison::of(&alone, &with);

    let drawn = picture::draw(&alone, &with, &comparison).context("drawing the picture")?;
    std::fs::write(svg, drawn)
        .with_context(|| format!("writing {}: --svg needs a file in a folder that exists", svg.display()))?;

    let report = text::report(&alone, &with, &comparison);
    match std::io::stdout().write_all(report.as_bytes()) {
        // The reader has closed the pipe.
        Err(err) if err.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to stdout"),
    }
}
