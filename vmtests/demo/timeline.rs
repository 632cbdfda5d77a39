//! Both phases of the demo as a timeline in text, a picture, and ratios.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{ensure, Context, Result};

use super::record::{Phase, REMEDY};
use super::summary::Comparison;
use super::{picture, text};

/// Reads `dir`/without.jsonl and `dir`/with.jsonl, prints the timeline and writes the picture to `svg`.
pub fn show(dir: &Path, svg: &Path) -> Result<()> {
    let without = Phase::read("without scx_vnuma", &dir.join("without.jsonl"))?;
    let with = Phase::read("with scx_vnuma", &dir.join("with.jsonl"))?;
    ensure!(
        without.nr_nodes() == with.nr_nodes(),
        "{}: without.jsonl has {} nodes and with.jsonl {}, so they are of different runs; {REMEDY}",
        dir.display(),
        without.nr_nodes(),
        with.nr_nodes(),
    );
    let comparison = Comparison::of(&without, &with);

    let drawn = picture::draw(&without, &with, &comparison).context("drawing the picture")?;
    std::fs::write(svg, drawn)
        .with_context(|| format!("writing {}: --svg needs a file in a folder that exists", svg.display()))?;

    let report = text::report(&without, &with, &comparison);
    match std::io::stdout().write_all(report.as_bytes()) {
        // The reader has closed the pipe.
        Err(err) if err.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to stdout"),
    }
}
