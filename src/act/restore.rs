//! Undoes what a killed daemon left: its tasks' policies, IRQs and workqueues, and its pins.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};

use super::affinity::{undo_after_kill, AffinityError, RestoredAffinities};
use crate::bpf::{pins, PinError, Pins, PINNED_TASKS};
use crate::work::{give_back_all, read_tasks};

/// What was undone after a kill.
#[derive(Debug)]
pub struct Restored {
    /// Tasks that were given their policy back.
    pub nr_given_back: u64,
    /// IRQs and workqueues; `None` if it had not moved any.
    pub affinities: Option<RestoredAffinities>,
    /// Why IRQs and workqueues stay where they are.
    pub affinity_failure: Option<AffinityError>,
    /// Why nothing was read from the pins.
    pub pin_failure: Option<PinError>,
}

impl Restored {
    /// What could not be undone.
    pub fn failures(&self) -> impl Iterator<Item = &dyn std::error::Error> {
        let affinity = self.affinity_failure.iter().map(|err| err as &dyn std::error::Error);
        affinity.chain(self.pin_failure.iter().map(|err| err as &dyn std::error::Error))
    }
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
    let (affinities, affinity_failure) = match undo_after_kill(Path::new("/")) {
        Ok(affinities) => (affinities, None),
        Err(err) => (None, Some(err)),
    };
    let pins = pins();
    if !pins.exist() && affinities.is_none() && affinity_failure.is_none() {
        return Ok(None);
    }
    // What isn't ours is removed unread, or anybody could have root's tasks changed.
    let (nr_given_back, pin_failure) = match pins.open_tasks() {
        Ok(Some(_)) => (give_back_pinned(&pins)?, None),
        Ok(None) => (0, None),
        Err(err @ PinError::Foreign { .. }) => (0, Some(err)),
        Err(err) => return Err(err.into()),
    };
    pins.remove();
    Ok(Some(Restored { nr_given_back, affinities, affinity_failure, pin_failure }))
}

fn give_back_pinned(pins: &Pins) -> Result<u64> {
    give_back_all(|tasks| {
        let iterator = pins.open_tasks()?.with_context(|| format!("{PINNED_TASKS} has gone"))?;
        read_tasks(iterator, tasks).with_context(|| format!("reading {PINNED_TASKS}"))
    })
}
