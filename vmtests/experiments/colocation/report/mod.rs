//! The experiment's records as a table and one HTML page with its figures drawn in it.

mod data;
mod figures;
mod goals;
mod heat;
mod page;
mod prediction;
mod tables;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use data::Run;

/// Shows what the experiment measured.
#[derive(Args)]
pub struct Options {
    /// The folder with the records
    dir: PathBuf,
    /// The page to write
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
}

/// Prints the tables and writes the page.
pub fn run(options: &Options) -> Result<()> {
    let run = Run::read(&options.dir)?;
    let predictions = prediction::predictions(&run)?;
    print!("{}", tables::text(&run, &predictions));
    let html = page::html(&run, &predictions).context("drawing the figures")?;
    std::fs::write(&options.html, html)
        .with_context(|| format!("writing {}: --html needs a file in a folder that exists", options.html.display()))?;
    println!("The same with figures: open {} in a browser", options.html.display());
    Ok(())
}
