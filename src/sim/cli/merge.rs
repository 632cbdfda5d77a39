//! `vnuma-sim merge`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::table;
use crate::sim::result::RunResult;
use crate::sim::SimError;

/// Options of `merge`.
#[derive(Args)]
pub struct Merge {
    /// Results of all shards of a run, as `run --shard i/n` prints them with --json or writes them with --out
    #[arg(required = true, value_name = "SHARD.json")]
    shards: Vec<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Write the merged result to DIR/result.json
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Merge {
    pub fn run(self) -> anyhow::Result<()> {
        let shards = self.shards.iter().map(|path| RunResult::read(path)).collect::<Result<Vec<_>, _>>()?;
        let result = RunResult::merge(shards)?;
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out).map_err(SimError::file(out))?;
            result.write(&out.join("result.json"))?;
        }
        let mut stdout = std::io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", table::json(&result)?)?;
        } else {
            stdout.write_all(table::run(&result).as_bytes())?;
        }
        Ok(stdout.flush()?)
    }
}
