//! The sample trace that comes with the program.

use super::error::SimError;
use super::trace::{from_readers, Input, TaskId, Trace};

const EVENTS_GZ: &[u8] = include_bytes!("../../data/sample/task_events/part-00000-of-00001.csv.gz");
const USAGE_GZ: &[u8] = include_bytes!("../../data/sample/task_usage/part-00000-of-00001.csv.gz");
const PROVENANCE: &str = include_str!("../../data/sample/PROVENANCE");

/// Number of machines for the sample: it has a twentieth of the tasks of 800 machines.
pub const MACHINES: u32 = 40;

/// Load the tasks of the sample that `keep` accepts.
pub fn load(keep: &(dyn Fn(TaskId) -> bool + Sync)) -> Result<Trace, SimError> {
    let mut trace = from_readers(EVENTS_GZ, USAGE_GZ, keep)?;
    trace.provenance = Some(PROVENANCE.trim().to_owned());
    trace.inputs = inputs();
    Ok(trace)
}

/// The sample's files.
pub fn inputs() -> Vec<Input> {
    vec![Input::of_bytes("task_events", "sample", EVENTS_GZ), Input::of_bytes("task_usage", "sample", USAGE_GZ)]
}
