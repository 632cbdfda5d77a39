//! What IRQs and workqueues were set to before we wrote to them, on file, so that it outlives a kill.
//!
//! The file is there before the first write and is replaced as a whole, so a reader finds the old or the new state. A
//! file that can't be read is renamed and kept: what it held is for a person to judge, and the next start finds none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::knob::Knob;
use crate::linux::CpuSet;

/// The form of the file; one of another form is not guessed at.
const VERSION: u32 = 1;

/// What was found, and what we have written since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    version: u32,
    /// The CPUs of each knob before our first write to it.
    pub found: BTreeMap<Knob, CpuSet>,
    /// All sets that we may have written; a knob with another one was set by somebody else.
    pub wrote: BTreeSet<CpuSet>,
}

/// Why the saved state can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The file can't be written, read or renamed.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file isn't one of ours, or isn't whole.
    #[error(
        "{path} is damaged ({reason}), so IRQs and workqueues stay as they are; it is kept as {kept_as}: set them by hand \
         from what it has, in /proc/irq/N/smp_affinity_list and /sys/devices/virtual/workqueue/cpumask, and remove it",
        path = path.display(), kept_as = kept_as.display()
    )]
    Damaged {
        /// Where it was.
        path: PathBuf,
        /// Where it is now.
        kept_as: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The file of the saved state, run/scx_vnuma/saved.json below a root.
#[derive(Clone, Debug)]
pub struct SavedFile {
    folder: PathBuf,
}

impl SavedFile {
    /// Below `root`, usually `/`.
    pub fn new(root: &Path) -> Self {
        SavedFile { folder: root.join("run/scx_vnuma") }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("saved.json")
    }

    fn new_path(&self) -> PathBuf {
        self.folder.join("saved.json.new")
    }

    /// The saved state; `None` when there is none. A damaged file is renamed.
    pub fn load(&self) -> Result<Option<Saved>, SavedError> {
        let path = self.path();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SavedError::Io { action: "reading", path, source }),
        };
        let reason = match serde_json::from_slice::<Saved>(&bytes) {
            Ok(saved) if saved.version == VERSION => return Ok(Some(saved)),
            Ok(saved) => format!("its version is {}, not {VERSION}", saved.version),
            Err(err) => err.to_string(),
        };
        let kept_as = self.free_name();
        match std::fs::rename(&path, &kept_as) {
            Ok(()) => Err(SavedError::Damaged { path, kept_as, reason }),
            Err(source) => Err(SavedError::Io { action: "renaming the damaged", path, source }),
        }
    }

    /// One that no earlier damaged file has.
    fn free_name(&self) -> PathBuf {
        let names = (1u32..).map(|nr| self.folder.join(format!("saved.json.damaged.{nr}")));
        names.into_iter().find(|name| !name.exists()).expect("BUG: numbers have ended")
    }

    /// Replaces the file by one with this state, on disk when this returns.
    pub fn store(&self, saved: &Saved) -> Result<(), SavedError> {
        let at = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| SavedError::Io { action, path, source }
        };
        std::fs::create_dir_all(&self.folder).map_err(at("making", &self.folder))?;
        let new = self.new_path();
        let text = serde_json::to_string(&Saved { version: VERSION, ..saved.clone() }).expect("BUG: it is plain data");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(at("writing", &new))?;
        std::fs::rename(&new, self.path()).map_err(at("replacing", &self.path()))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(at("syncing", &self.folder))
    }

    /// Removes the file, what a kill left of a new one, and the folder, unless a damaged file is kept in it.
    pub fn remove(&self) -> Result<(), SavedError> {
        for path in [self.new_path(), self.path()] {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(SavedError::Io { action: "removing", path, source })
                }
                _ => {}
            }
        }
        // Not there, or not empty: both are fine.
        let _ = std::fs::remove_dir(&self.folder);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::fake_root::FakeRoot;

    fn state() -> Saved {
        let found =
            [(Knob::Irq(24), CpuSet::from_list("0-3").unwrap()), (Knob::Workqueues, CpuSet::from_mask("f").unwrap())];
        Saved { version: VERSION, found: found.into(), wrote: [CpuSet::from_list("2").unwrap()].into() }
    }

    #[test]
    fn what_is_stored_is_loaded_and_nothing_is_left_in_the_end() {
        let root = FakeRoot::new();
        let file = SavedFile::new(root.path());
        assert_eq!(file.load().unwrap(), None);
        file.store(&state()).unwrap();
        file.store(&state()).unwrap();
        assert_eq!(file.load().unwrap(), Some(state()));
        // As a kill between writing and renaming leaves it.
        std::fs::write(file.new_path(), "{").unwrap();
        file.remove().unwrap();
        assert!(!file.folder.exists());
    }

    #[test]
    fn a_damaged_file_is_reported_once_and_each_one_is_kept() {
        let root = FakeRoot::new();
        let file = SavedFile::new(root.path());
        file.store(&state()).unwrap();
        let whole = std::fs::read_to_string(file.path()).unwrap();
        let other_version = whole.replace("\"version\":1", "\"version\":2");
        let other_knob = whole.replace("irq 24", "disk 24");
        let damages = [&whole[..whole.len() / 2], "", &other_version, &other_knob];
        for (nr, damage) in damages.iter().enumerate() {
            std::fs::write(file.path(), damage).unwrap();
            let message = file.load().unwrap_err().to_string();
            let kept_as = file.folder.join(format!("saved.json.damaged.{}", nr + 1));
            assert!(message.contains(&*kept_as.to_string_lossy()) && message.contains("by hand"), "{message}");
            assert_eq!(&std::fs::read_to_string(kept_as).unwrap(), damage);
            assert_eq!(file.load().unwrap(), None);
        }
        file.store(&state()).unwrap();
        file.remove().unwrap();
        assert_eq!(std::fs::read_dir(&file.folder).unwrap().count(), damages.len());
    }
}
