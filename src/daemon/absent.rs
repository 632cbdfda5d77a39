//! What `scx_vnuma status` says while no daemon runs.

use anyhow::Result;

use super::drained::{said, DrainedFile};
use super::preflight;
use crate::bpf;

/// What is to be said of this machine without a daemon: lines as those of a status.
pub fn status_without_daemon() -> Result<String> {
    let mut text = "scx_vnuma not running; every task is in the fair class\n".to_string();
    if let Some(name) = preflight::running_scheduler()? {
        let whose =
            if preflight::is_ours(&name) { "whose statistics can't be reached" } else { "which is another one" };
        text = format!("scx_vnuma not running; a sched_ext scheduler is loaded, {name}, {whose}\n");
    } else if bpf::pins().exist() {
        text += "left      a killed scx_vnuma has left something: `scx_vnuma restore` or the next start undoes it\n";
    }
    let drained = DrainedFile::default().read()?;
    if !drained.is_empty() {
        text += &format!("drained   {}\n", said(&drained));
    }
    Ok(text)
}
