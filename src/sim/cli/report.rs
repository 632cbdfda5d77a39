//! `vnuma-sim report`

use std::path::{Path, PathBuf};

use clap::Args;

use super::say::say;

use crate::sim::placement::Shard;
use crate::sim::report::Report as Page;
use crate::sim::result::{self, check_format, parse_json, RunResult};
use crate::sim::sweep::{self, SweepResult};
use crate::sim::SimError;

/// Options of `report`.
#[derive(Args)]
pub struct Report {
    /// Results of run, compare, merge and sweep, in the order in which the report shows policies
    #[arg(required = true, value_name = "RESULT.json")]
    results: Vec<PathBuf>,
    /// Page to write
    #[arg(long, value_name = "report.html")]
    out: PathBuf,
}

impl Report {
    pub fn run(self) -> anyhow::Result<()> {
        let mut page = Page::default();
        for path in &self.results {
            let text = result::read(path)?;
            let value: serde_json::Value = parse_json(path, &text)?;
            match value["format"].as_str() {
                Some(sweep::FORMAT) => page.sweeps.push(SweepResult::parse(path, &text)?),
                // `compare` writes a list of figures next to its runs, and a glob finds that file too.
                None if value.is_array() => say(format_args!(
                    "not fatal: {}: skipped, since it is a table of figures that the runs contain too",
                    path.display()
                )),
                Some(found) if found.starts_with(sweep::NAME) => check_format(path, found, sweep::FORMAT)?,
                found => {
                    check_format(path, found.unwrap_or("unknown"), result::FORMAT)?;
                    let run = RunResult::parse(path, &text)?;
                    refuse_shard(path, run.shard)?;
                    page.runs.push(run);
                }
            }
        }
        Ok(page.write(&self.out)?)
    }
}

/// The figures of a shard are those of its own cells, and look like those of a run.
fn refuse_shard(path: &Path, shard: Shard) -> Result<(), SimError> {
    if shard == Shard::WHOLE {
        return Ok(());
    }
    let what = format!("it is shard {}/{} of a run; draw what `merge` makes of all shards", shard.index, shard.of);
    Err(SimError::Format { path: path.into(), what })
}
