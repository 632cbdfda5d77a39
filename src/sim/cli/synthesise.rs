//! `vnuma-sim synthesise`

use std::path::PathBuf;
use std::sync::OnceLock;

use clap::Args;

use super::options::{start_threads, MAX_THREADS};
use crate::sim::placement::{Cells, Placement};
use crate::sim::progress::Progress;
use crate::sim::synthesise::{write_csv, Synthetic};

/// Options of `synthesise`.
#[derive(Args)]
pub struct Synthesise {
    /// Number of machines for whose tasks the trace is written
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    machines: u32,
    /// Length of the trace in hours
    #[arg(long, value_name = "H")]
    hours: f64,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Output: a directory for CSV tables in the published format, or a .parquet file for --trace
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Order a .parquet file for `run --shard i/N` with the same --machines, --cell 4 and --seed 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    shards: u32,
    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=MAX_THREADS))]
    threads: Option<u16>,
}

impl Synthesise {
    pub fn run(self) -> anyhow::Result<()> {
        if !(self.hours > 0.0 && self.hours <= 24.0 * 366.0) {
            anyhow::bail!("--hours {}: must be above 0 and at most a year", self.hours);
        }
        start_threads(self.threads)?;
        let synthetic = Synthetic { machines: self.machines, hours: self.hours, seed: self.seed };
        if self.out.extension().is_some_and(|extension| extension == "parquet") {
            let placement = Placement { seed: 1, machines: self.machines, cells: Cells::Of(4) };
            let progress = Progress::new("shards", self.shards.into());
            return Ok(synthetic.write_parquet(&self.out, &placement, self.shards, &|| progress.step())?);
        }
        let progress = OnceLock::new();
        write_csv(&synthetic, &self.out, &|parts| progress.get_or_init(|| Progress::new("parts", parts)).step())?;
        Ok(())
    }
}
