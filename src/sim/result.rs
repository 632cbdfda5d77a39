//! What a run leaves behind: its figures, and all that is needed to repeat it, merge it and draw it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use super::engine::{CellOutcome, Heat, Outcome, Rounds};
use super::error::SimError;
use super::figures::Figures;
use super::params::Params;
use super::placement::Shard;
use super::tasks::{seconds, Horizon};
use super::trace::{Input, OddityKind, Trace};

/// Raised when a reader of older results would misread newer ones.
pub const FORMAT: &str = "vnuma-sim result 1";

/// One run, or one shard of one.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RunResult {
    /// The figures; of a shard, those of its cells alone.
    #[serde(flatten)]
    pub figures: Figures,
    /// [`FORMAT`].
    pub format: String,
    /// The simulator's version.
    pub version: String,
    /// All that the figures depend on besides the trace.
    pub parameters: Params,
    /// The files read, with checksums.
    pub inputs: Vec<Input>,
    /// Where the data come from and which of them are synthetic, if the trace says so.
    pub provenance: Option<String>,
    /// Oddities of the files, by kind.
    pub oddities: BTreeMap<String, u64>,
    /// t0 and t1, microseconds of trace time.
    pub span_us: (i64, i64),
    /// Which part of the cluster this is.
    pub shard: Shard,
    /// What happened in each cell.
    pub cells: Vec<CellOutcome>,
    /// What happened in each rebalance.
    pub rounds: Rounds,
    /// Busy time of the first machines.
    pub heat: Heat,
}

/// A result that could not be read, or results that are not parts of one run.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// No result was given.
    #[error("nothing to merge: name the result files of the shards")]
    Nothing,
    /// Two results of different runs.
    #[error("{0} differ between the shards: they are not parts of one run")]
    Different(&'static str),
    /// A shard is there twice.
    #[error("shard {0}/{1} is there twice")]
    Twice(u32, u32),
    /// Shards are missing.
    #[error("of {of} shards these are missing: {missing:?}")]
    Missing {
        /// How many there should be.
        of: u32,
        /// Those that aren't there.
        missing: Vec<u32>,
    },
}

impl RunResult {
    /// The result of a run.
    pub fn new(trace: &Trace, params: &Params, shard: Shard, horizon: Horizon, outcome: Outcome) -> RunResult {
        RunResult {
            figures: Figures::new(&outcome.cells, params, horizon.length_s()),
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
        }
    }

    /// T, seconds.
    pub fn length_s(&self) -> f64 {
        seconds(self.span_us.1 - self.span_us.0)
    }

    /// Put the shards of one run together: to the last digit what one run of the whole gives.
    pub fn merge(mut shards: Vec<RunResult>) -> Result<RunResult, MergeError> {
        shards.sort_by_key(|shard| shard.shard.index);
        let mut whole = shards.first().cloned().ok_or(MergeError::Nothing)?;
        let of = whole.shard.of;
        let mut seen = BTreeSet::from([whole.shard.index]);
        for part in shards.into_iter().skip(1) {
            let same = [
                ("versions", part.version == whole.version),
                ("parameters", part.parameters == whole.parameters),
                ("inputs", part.inputs == whole.inputs),
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
        whole.figures = Figures::new(&whole.cells, &whole.parameters, whole.length_s());
        Ok(whole)
    }

    /// Write it as JSON.
    pub fn write(&self, path: &Path) -> Result<(), SimError> {
        write_json(path, self)
    }

    /// Read one back.
    pub fn read(path: &Path) -> Result<RunResult, SimError> {
        let result: RunResult = read_json(path)?;
        check_format(path, &result.format, FORMAT)?;
        Ok(result)
    }
}

fn name_of(kind: OddityKind) -> String {
    serde_json::to_value(kind).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
}

/// Write a value as one line of JSON.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), SimError> {
    let mut file = BufWriter::new(File::create(path).map_err(SimError::file(path))?);
    serde_json::to_writer(&mut file, value)
        .map_err(|error| SimError::File { path: path.into(), source: error.into() })?;
    file.write_all(b"\n").and_then(|()| file.flush()).map_err(SimError::file(path))
}

/// Read a value back.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, SimError> {
    let file = BufReader::new(File::open(path).map_err(SimError::file(path))?);
    serde_json::from_reader(file)
        .map_err(|error| SimError::Format { path: path.into(), what: format!("not a result of vnuma-sim: {error}") })
}

/// Say so when a file is of another format.
pub fn check_format(path: &Path, found: &str, wanted: &str) -> Result<(), SimError> {
    if found == wanted {
        return Ok(());
    }
    Err(SimError::Format { path: path.into(), what: format!("is a '{found}', not a '{wanted}'") })
}
