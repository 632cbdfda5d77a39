//! Undoes what a killed daemon left: its tasks' policies, IRQs and workqueues, and its pins.

use std::fmt;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use super::affinity::{undo_after_kill, AffinityError, RestoredAffinities};
use crate::bpf::{remove_pins, PINNED_TASKS, PIN_DIR};
use crate::work::{give_back_all, read_tasks};

/// What was undone after a kill.
#[derive(Debug)]
pub struct Restored {
    /// Tasks that were given their policy back.
    pub nr_given_back: u64,
    /// IRQs and workqueues; `None` if it had not moved any.
    pub affinities: Option<RestoredAffinities>,
    /// Why IRQs and workqueues stay where they are.
    pub failure: Option<AffinityError>,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tasks went back to the policy they had", self.nr_given_back)?;
        self.affinities.iter().try_for_each(|affinities| write!(f, "; {affinities}"))
    }
}

/// Undoes what a killed daemon left: its tasks' policies, IRQs and workqueues, and its pins. Returns `None` when it left
/// nothing.
pub fn restore_after_kill() -> Result<Option<Restored>> {
    let (affinities, failure) = match undo_after_kill(Path::new("/")) {
        Ok(affinities) => (affinities, None),
        Err(err) => (None, Some(err)),
    };
    if !Path::new(PIN_DIR).exists() && affinities.is_none() && failure.is_none() {
        return Ok(None);
    }
    let nr_given_back = if Path::new(PINNED_TASKS).exists() {
        give_back_all(|tasks| {
            let iterator = File::open(PINNED_TASKS).with_context(|| format!("opening {PINNED_TASKS}"))?;
            read_tasks(iterator, tasks).with_context(|| format!("reading {PINNED_TASKS}"))
        })?
    } else {
        0
    };
    remove_pins();
    Ok(Some(Restored { nr_given_back, affinities, failure }))
}
