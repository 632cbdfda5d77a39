//! Undoes what a killed daemon left: its tasks' policies, IRQs and workqueues, and its pins.

use std::fmt;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use super::surroundings::{put_back_after_kill, PutBack, SurroundingsError};
use crate::bpf::{remove_pins, PINNED_TASKS, PIN_DIR};
use crate::work::{give_back_all, read_tasks};

/// What was undone after a kill.
#[derive(Debug)]
pub struct Restored {
    /// Tasks that were given their policy back.
    pub nr_given_back: u64,
    /// IRQs and workqueues; `None` when they had not been touched.
    pub put_back: Option<PutBack>,
    /// Why IRQs and workqueues stay as they are, with the remedy.
    pub failure: Option<SurroundingsError>,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tasks went back to the policy they had", self.nr_given_back)?;
        self.put_back.iter().try_for_each(|put_back| write!(f, "; {put_back}"))
    }
}

/// Undoes what a killed daemon left: its tasks' policies, IRQs and workqueues, and its pins. Returns `None` when it left
/// nothing.
pub fn restore_after_kill() -> Result<Option<Restored>> {
    let (put_back, failure) = match put_back_after_kill(Path::new("/")) {
        Ok(put_back) => (put_back, None),
        Err(err) => (None, Some(err)),
    };
    if !Path::new(PIN_DIR).exists() && put_back.is_none() && failure.is_none() {
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
    Ok(Some(Restored { nr_given_back, put_back, failure }))
}
