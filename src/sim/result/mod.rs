//! The result of a run: its figures, and all that is needed to repeat, merge and draw it.

mod check;
#[cfg(test)]
mod mutants;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::sim::engine::{CellOutcome, Heat, Outcome, Rounds};
use crate::sim::error::SimError;
use crate::sim::figures::Figures;
use crate::sim::models::ModelFigures;
use crate::sim::output::NewFile;
use crate::sim::params::Params;
use crate::sim::placement::Shard;
use crate::sim::sweep;
use crate::sim::tasks::{seconds, Horizon};
use crate::sim::trace::{Input, OddityKind, Trace};

/// Changed when a reader of older results would misread newer ones.
pub const FORMAT: &str = "vnuma-sim result 2";

/// The commands that write a result.
const WRITERS: &str = "`vnuma-sim run`, `compare` or `merge`";

/// The result of a run or of one of its shards.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RunResult {
    /// The figures; for a shard, those of its own cells.
    #[serde(flatten)]
    pub figures: Figures,
    /// The figures of models that are off by default; likewise.
    #[serde(flatten)]
    pub model_figures: ModelFigures,
    /// Equals [`FORMAT`].
    pub format: String,
    /// The simulator's version.
    pub version: String,
    /// All that the figures depend on besides the trace.
    pub parameters: Params,
    /// The files that were read, with checksums.
    pub inputs: Vec<Input>,
    /// Where the data come from and which of them are synthetic, if the trace has this information.
    pub provenance: Option<String>,
    /// Number of oddities in the files, by kind.
    pub oddities: BTreeMap<String, u64>,
    /// t0 and t1, microseconds of trace time.
    pub span_us: (i64, i64),
    /// The part of the cluster that was run.
    pub shard: Shard,
    /// The outcome of each cell.
    pub cells: Vec<CellOutcome>,
    /// The outcome of each rebalance.
    pub rounds: Rounds,
    /// Busy time of the first machines.
    pub heat: Heat,
    /// CRC-32 of the result without this field, as compact JSON; `None` until it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
}

/// Why results can't be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// No result was given.
    #[error("nothing to merge: name the result files of the shards")]
    Nothing,
    /// The results are from different runs.
    #[error("{0} differ between the shards, so they are not parts of one run")]
    Different(&'static str),
    /// A shard was given twice.
    #[error("shard {0}/{1} is given twice")]
    Twice(u32, u32),
    /// Some shards were not given.
    #[error("some of the {of} shards are missing: {missing:?}")]
    Missing {
        /// Number of shards of the run.
        of: u32,
        /// Indices of the shards that were not given.
        missing: Vec<u32>,
    },
    /// No shard has a task.
    #[error("none of the shards has a task, so there are no figures; change --start or --end of the runs")]
    NoTasks,
}

impl RunResult {
    /// The result of a run.
    pub fn new(trace: &Trace, params: &Params, shard: Shard, horizon: Horizon, outcome: Outcome) -> RunResult {
        let mut result = RunResult {
            figures: Figures::new(&outcome.cells, params, horizon.length_s()),
            model_figures: ModelFigures::new(&outcome.cells),
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            parameters: params.clone(),
            inputs: trace.inputs.clone(),
            provenance: trace.provenance.clone(),
            oddities: trace.oddities.counts().map(|(kind, count)| (name_of(kind), count)).collect(),
            span_us: (horizon.start_us, horizon.end_us),
            shard,
            cells: outcome.cells,
            rounds: outcome.rounds,
            heat: outcome.heat,
            crc32: None,
        };
        result.seal();
        result
    }

    /// T, seconds.
    pub fn length_s(&self) -> f64 {
        seconds(self.span_us.1 - self.span_us.0)
    }

    /// Merge the shards of one run. The result equals that of a single run to the last digit.
    pub fn merge(mut shards: Vec<RunResult>) -> Result<RunResult, MergeError> {
        shards.sort_by_key(|shard| shard.shard.index);
        let oddities = oddities_of(&shards)?;
        let mut whole = shards.first().cloned().ok_or(MergeError::Nothing)?;
        let of = whole.shard.of;
        let mut seen = BTreeSet::from([whole.shard.index]);
        for part in shards.into_iter().skip(1) {
            let same = [
                ("versions", part.version == whole.version),
                ("parameters", part.parameters == whole.parameters),
                ("inputs", part.inputs == whole.inputs),
                ("origins of the data", part.provenance == whole.provenance),
                ("simulated spans", part.span_us == whole.span_us),
                ("numbers of shards", part.shard.of == of),
            ];
            if let Some((what, _)) = same.into_iter().find(|(_, same)| !same) {
                return Err(MergeError::Different(what));
            }
            if !seen.insert(part.shard.index) {
                return Err(MergeError::Twice(part.shard.index, of));
            }
            whole.cells.extend(part.cells);
            whole.rounds.add(&part.rounds);
            whole.heat.add(&part.heat);
        }
        let missing: Vec<u32> = (0..of).filter(|index| !seen.contains(index)).collect();
        if !missing.is_empty() {
            return Err(MergeError::Missing { of, missing });
        }
        whole.cells.sort_by_key(|cell| cell.cell);
        whole.shard = Shard::WHOLE;
        whole.oddities = oddities;
        whole.figures = Figures::new(&whole.cells, &whole.parameters, whole.length_s());
        whole.model_figures = ModelFigures::new(&whole.cells);
        match whole.figures.tasks {
            0 => Err(MergeError::NoTasks),
            _ => {
                whole.seal();
                Ok(whole)
            }
        }
    }

    /// Write the result as JSON.
    pub fn write(&self, path: &Path) -> Result<(), SimError> {
        write_json(path, self)
    }

    /// Read a result from a file.
    pub fn read(path: &Path) -> Result<RunResult, SimError> {
        RunResult::parse(path, &read(path)?)
    }

    /// Parse the text of the result at `path`.
    pub fn parse(path: &Path, text: &[u8]) -> Result<RunResult, SimError> {
        let result: RunResult = parse_json(path, text)?;
        check_format(path, &result.format, FORMAT)?;
        match result.check_keys(text).and_then(|()| has_checksum(result.crc32)).and_then(|()| result.check()) {
            Ok(()) => Ok(result),
            Err(what) => {
                let what = format!("{what}; create it again with {}", result.writers());
                Err(SimError::Format { path: path.into(), what })
            }
        }
    }

    /// The commands that may have written it.
    fn writers(&self) -> String {
        match self.shard {
            Shard { index, of } if of > 1 && index < of => format!("`vnuma-sim run --shard {index}/{of}`"),
            _ => WRITERS.to_owned(),
        }
    }
}

/// The oddities of all shards together. Each shard meets all of them, but of those that are about tasks only its own.
fn oddities_of(shards: &[RunResult]) -> Result<BTreeMap<String, u64>, MergeError> {
    let of_tasks = name_of(OddityKind::UsageWithoutEvents);
    let mut all = BTreeMap::new();
    let mut sum = 0;
    for (nr, shard) in shards.iter().enumerate() {
        let mut others = shard.oddities.clone();
        sum += others.remove(&of_tasks).unwrap_or(0);
        if nr > 0 && others != all {
            return Err(MergeError::Different("oddities"));
        }
        all = others;
    }
    if sum > 0 {
        all.insert(of_tasks, sum);
    }
    Ok(all)
}

fn name_of(kind: OddityKind) -> String {
    serde_json::to_value(kind).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
}

/// Write a value as a single line of JSON.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), SimError> {
    let mut file = BufWriter::new(NewFile::create(path)?);
    serde_json::to_writer(&mut file, value)
        .map_err(|error| SimError::File { path: path.into(), source: error.into() })?;
    file.write_all(b"\n").map_err(SimError::file(path))?;
    file.into_inner().map_err(|error| SimError::file(path)(error.into_error()))?.finish()
}

/// Read the text of a result or a sweep.
pub fn read(path: &Path) -> Result<Vec<u8>, SimError> {
    if path.is_dir() {
        // Which `--out` named.
        let what = "a folder, and results are files: name those in it, such as result.json or compare.json".to_owned();
        return Err(SimError::Format { path: path.into(), what });
    }
    std::fs::read(path).map_err(SimError::file(path))
}

/// Parse a value from the text of a JSON file.
pub fn parse_json<T: serde::de::DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, SimError> {
    serde_json::from_slice(text).map_err(|error| {
        let what = format!(
            "not a result of vnuma-sim, or damaged: {error}; create it again with {WRITERS}, or {}",
            sweep::WRITERS
        );
        SimError::Format { path: path.into(), what }
    })
}

/// Check that a file has a checksum: without one, as in an earlier release, a change of it would go unnoticed.
pub fn has_checksum(crc32: Option<u32>) -> Result<(), String> {
    match crc32 {
        Some(_) => Ok(()),
        None => Err("it has no checksum (crc32): it was edited, damaged, or written by an earlier release".to_owned()),
    }
}

/// Check the format that a file names.
pub fn check_format(path: &Path, found: &str, wanted: &str) -> Result<(), SimError> {
    if found == wanted {
        return Ok(());
    }
    // Of another release some figures are missing or mean something else, so its results are not drawn next to ours.
    let is_sweep = [found, wanted].iter().any(|format| format.starts_with(sweep::NAME));
    let writers = if is_sweep { sweep::WRITERS } else { WRITERS };
    let what = format!("the file's format is '{found}', not '{wanted}'; create it with {writers} of this release");
    Err(SimError::Format { path: path.into(), what })
}
