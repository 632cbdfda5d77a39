//! The undo log: the affinities that we found and those that we wrote, on file, so that they survive a kill.
//!
//! The file exists before the first write of an affinity and is replaced atomically, so a reader finds either the old or
//! the new state. A file that can't be parsed is renamed and kept: a person has to judge what it has, and the next start
//! finds no file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::AffinityFile;
use crate::linux::CpuSet;

/// The version of the file's format. A file of another version is treated as damaged.
const VERSION: u32 = 1;

/// A longer file is not one of ours: 64 MiB is thousands of IRQs of thousands of CPUs.
const LEN_MAX: u64 = 64 << 20;

/// The affinities that we found, and those that we wrote since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoLog {
    version: u32,
    /// The affinity of each file before we first wrote to it. Earlier releases wrote it as `found`.
    #[serde(alias = "found")]
    pub original: BTreeMap<AffinityFile, CpuSet>,
    /// All affinities that we may have written; a file with another one was set by someone else. Earlier releases wrote them
    /// as `wrote`.
    #[serde(alias = "wrote")]
    pub written: BTreeSet<CpuSet>,
}

/// Why the undo log can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UndoLogError {
    /// The file can't be written, read or renamed.
    #[error(
        "{action} {path}: {cause}; check that {folder} can be written, or run with --move-irqs=false --move-workqueues=false",
        path = path.display(), folder = path.parent().unwrap_or(path).display()
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The file is incomplete or not one of ours.
    #[error(
        "{path} is damaged ({reason}), so IRQs and workqueues stay as they are. It is kept as {kept_as}: set the \
         affinities that it has by hand, in /proc/irq/N/smp_affinity_list and /sys/devices/virtual/workqueue/cpumask, \
         then remove it",
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

/// The file of the undo log, run/scx_vnuma/saved.json below a root.
#[derive(Clone, Debug)]
pub struct UndoLogFile {
    folder: PathBuf,
}

impl UndoLogFile {
    /// The file below `root`, usually `/`.
    pub fn new(root: &Path) -> Self {
        UndoLogFile { folder: root.join("run/scx_vnuma") }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("saved.json")
    }

    fn new_path(&self) -> PathBuf {
        self.folder.join("saved.json.new")
    }

    /// Load the log; `None` if there is no file. A damaged file is renamed.
    pub fn load(&self) -> Result<Option<UndoLog>, UndoLogError> {
        let path = self.path();
        let reason = match read(&path).map(|read| read.and_then(|bytes| parse(&bytes))) {
            Ok(Ok(log)) => return Ok(Some(log)),
            Ok(Err(reason)) => reason,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(UndoLogError::Io { action: "reading", path, cause }),
        };
        let kept_as = self.free_name();
        match std::fs::rename(&path, &kept_as) {
            Ok(()) => Err(UndoLogError::Damaged { path, kept_as, reason }),
            Err(cause) => Err(UndoLogError::Io { action: "renaming the damaged", path, cause }),
        }
    }

    /// A name that no earlier damaged file has.
    fn free_name(&self) -> PathBuf {
        let mut names = (1u32..).map(|nr| self.folder.join(format!("saved.json.damaged.{nr}")));
        names.find(|name| !name.exists()).expect("BUG: the numbers have run out")
    }

    /// Replace the file. The new one is on disk when this returns.
    pub fn store(&self, log: &UndoLog) -> Result<(), UndoLogError> {
        let at = |action, path: &Path| {
            let path = path.to_path_buf();
            move |cause| UndoLogError::Io { action, path, cause }
        };
        std::fs::create_dir_all(&self.folder).map_err(at("making", &self.folder))?;
        let new = self.new_path();
        let text = serde_json::to_string(&UndoLog { version: VERSION, ..log.clone() }).expect("BUG: it is plain data");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(at("writing", &new))?;
        std::fs::rename(&new, self.path()).map_err(at("replacing", &self.path()))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(at("syncing", &self.folder))
    }

    /// Remove the file, a new one that a kill has left, and the directory unless a damaged file is kept in it.
    pub fn remove(&self) -> Result<(), UndoLogError> {
        for path in [self.new_path(), self.path()] {
            match std::fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(UndoLogError::Io { action: "removing", path, cause })
                }
                _ => {}
            }
        }
        // It fails if the directory is missing or not empty, and both are fine.
        let _ = std::fs::remove_dir(&self.folder);
        Ok(())
    }
}

/// Read the file, or tell why it is not one of ours: a link or a pipe, say.
fn read(path: &Path) -> io::Result<Result<Vec<u8>, String>> {
    let kind = path.symlink_metadata()?;
    if !kind.is_file() {
        return Ok(Err("it is no regular file".into()));
    }
    // In case that changes now.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(LEN_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= LEN_MAX {
        true => Ok(Ok(bytes)),
        false => Ok(Err(format!("it has more than {} MiB", LEN_MAX >> 20))),
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<UndoLog, String> {
    match serde_json::from_slice::<UndoLog>(bytes) {
        Ok(log) if log.version == VERSION => Ok(log),
        Ok(log) => Err(format!("its version is {}, not {VERSION}", log.version)),
        Err(err) => Err(err.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::affinity::fake_root::FakeRoot;

    fn log() -> UndoLog {
        let original = [(AffinityFile::Irq(24), [0, 1, 2, 3].into()), (AffinityFile::Workqueues, [0, 1].into())];
        UndoLog { version: VERSION, original: original.into(), written: [[2].into()].into() }
    }

    #[test]
    fn a_stored_log_is_loaded_and_nothing_is_left_of_it_once_removed() {
        let root = FakeRoot::new();
        let file = UndoLogFile::new(root.path());
        assert_eq!(file.load().unwrap(), None);
        file.store(&log()).unwrap();
        file.store(&log()).unwrap();
        assert_eq!(file.load().unwrap(), Some(log()));
        // A kill between writing and renaming leaves this.
        std::fs::write(file.new_path(), "{").unwrap();
        file.remove().unwrap();
        assert!(!file.folder.exists());
    }

    #[test]
    fn a_log_of_an_earlier_release_is_loaded() {
        let root = FakeRoot::new();
        let old = r#"{"version":1,"found":{"irq 24":[0,1,2,3],"workqueues":[0,1]},"wrote":[[2]]}"#;
        root.put("run/scx_vnuma/saved.json", old);
        assert_eq!(UndoLogFile::new(root.path()).load().unwrap(), Some(log()));
    }

    #[test]
    fn a_damaged_file_is_reported_once_and_each_one_is_kept() {
        let root = FakeRoot::new();
        let file = UndoLogFile::new(root.path());
        file.store(&log()).unwrap();
        let whole = std::fs::read_to_string(file.path()).unwrap();
        let other_version = whole.replace("\"version\":1", "\"version\":2");
        let other_name = whole.replace("irq 24", "disk 24");
        let other_cpu = whole.replace("[2]", "[4294967295]");
        let damages = [&whole[..whole.len() / 2], "", &other_version, &other_name, &other_cpu];
        for (nr, damage) in damages.iter().enumerate() {
            std::fs::write(file.path(), damage).unwrap();
            let message = file.load().unwrap_err().to_string();
            let kept_as = file.folder.join(format!("saved.json.damaged.{}", nr + 1));
            assert!(message.contains(&*kept_as.to_string_lossy()) && message.contains("by hand"), "{message}");
            assert_eq!(&std::fs::read_to_string(kept_as).unwrap(), damage);
            assert_eq!(file.load().unwrap(), None);
        }
        file.store(&log()).unwrap();
        file.remove().unwrap();
        assert_eq!(std::fs::read_dir(&file.folder).unwrap().count(), damages.len());
    }

    #[test]
    fn what_is_no_regular_file_or_too_long_is_kept_aside_unread() {
        let root = FakeRoot::new();
        let file = UndoLogFile::new(root.path());
        file.store(&log()).unwrap();
        std::fs::rename(file.path(), root.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(root.path().join("elsewhere"), file.path()).unwrap();
        assert!(file.load().unwrap_err().to_string().contains("no regular file"));
        assert!(root.path().join("elsewhere").exists() && file.load().unwrap().is_none());

        // Sparse: it takes no room.
        File::create(file.path()).unwrap().set_len(LEN_MAX + 1).unwrap();
        assert!(file.load().unwrap_err().to_string().contains("more than 64 MiB"));
        assert_eq!(file.load().unwrap(), None);
    }

    #[test]
    fn an_error_names_the_file_the_cause_once_and_the_remedy() {
        let root = FakeRoot::new();
        // A file where the directory should be.
        root.put("run", "");
        let err = UndoLogFile::new(root.path()).store(&log()).unwrap_err();
        let message = format!("{:#}", anyhow::Error::from(err));
        assert!(message.contains("making") && message.contains("run/scx_vnuma: "), "{message}");
        assert_eq!(message.matches("os error").count(), 1, "{message}");
        assert!(message.contains("--move-irqs=false"), "{message}");
    }
}
