//! `vnuma-sim run`

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::load::{is_sample, load, Wanted};
use super::options::{ModelOptions, RunningOptions, ShardOption, TraceOptions};
use super::say::say;
use super::series::SeriesOptions;
use super::table;
use crate::sim::engine::Prepared;
use crate::sim::params::Params;
use crate::sim::placement::Shard;
use crate::sim::progress::Progress;
use crate::sim::result::RunResult;
use crate::sim::trace::Trace;
use crate::sim::SimError;

/// Options of `run`.
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    trace: TraceOptions,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    running: RunningOptions,
    #[command(flatten)]
    series: SeriesOptions,
    /// Run only the cells i, i + n, i + 2n, …; merge the shards with `merge`
    #[arg(long, value_name = "i/n")]
    shard: Option<ShardOption>,
    /// Print the figures as JSON; with --shard, print the whole result, which `merge` needs
    #[arg(long)]
    json: bool,
    /// Write the whole result to DIR/result.json
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Run {
    pub fn run(self) -> anyhow::Result<()> {
        self.running.start_threads()?;
        let params = self.model.params(is_sample(&self.trace, &self.running))?;
        let shard = self.shard.map_or(Shard::WHOLE, |shard| shard.0);
        let checksums = self.out.is_some() || self.shard.is_some();
        let began = Instant::now();
        let trace = load(&self.trace, &self.running, &Wanted { params: &params, shard, checksums })?;
        let loading_s = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let result = run_once(&trace, &params, shard, &self.series)?;
        if !self.json {
            let (events, running_s) =
                (result.cells.iter().map(|cell| cell.events).sum(), began.elapsed().as_secs_f64());
            say(speed(loading_s, events, running_s));
        }
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out).map_err(SimError::file(out))?;
            result.write(&out.join("result.json"))?;
        }
        let mut stdout = std::io::stdout().lock();
        match (self.json, self.shard) {
            (true, Some(_)) => writeln!(stdout, "{}", serde_json::to_string(&result)?)?,
            (true, None) => writeln!(stdout, "{}", serde_json::to_string_pretty(&result.figures)?)?,
            (false, _) => stdout.write_all(table::run(&params.policy_label(), &result.figures).as_bytes())?,
        }
        Ok(stdout.flush()?)
    }
}

fn speed(loading_s: f64, events: u64, running_s: f64) -> String {
    format!(
        "loaded in {loading_s:.3} s; ran {events} events in {running_s:.3} s, {:.3e} per second",
        events as f64 / running_s
    )
}

fn run_once(trace: &Trace, params: &Params, shard: Shard, series: &SeriesOptions) -> Result<RunResult, SimError> {
    let prepared = Prepared::new(trace, params, shard);
    prepared.check_tasks()?;
    let prepared = series.recording(prepared, params, shard)?;
    let progress = Progress::new("cells", prepared.nr_cells() as u64);
    let outcome = prepared.run(params, &|| progress.step());
    series.write(&prepared, params, &outcome)?;
    Ok(RunResult::new(trace, params, shard, prepared.horizon(), outcome))
}
