//! The directory of our pins in the BPF file system, which may be one that every user can write to.
//!
//! A mount without `mode=` is writable by all. So a directory of our name counts as ours only if it is root's, is on a BPF file
//! system, and nobody else can write to it; links are not followed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where maps and the task iterator are pinned while the scheduler class is loaded.
pub const PIN_DIR: &str = "/sys/fs/bpf/scx_vnuma";

/// The task iterator's pin: reading it gives the task records, also after the daemon was killed.
pub const PINNED_TASKS: &str = "/sys/fs/bpf/scx_vnuma/tasks";

/// The type of a BPF file system (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// Why pins can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// A system call failed.
    #[error("{action} {path}: {cause}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// It was not made by a scx_vnuma that ran as root.
    #[error(
        "{path} {reason}, so it is not scx_vnuma's and is not read; chmod 700 /sys/fs/bpf keeps others from making it",
        path = path.display()
    )]
    Foreign {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl PinError {
    fn io(action: &'static str, path: &Path, cause: io::Error) -> Self {
        PinError::Io { action, path: path.to_path_buf(), cause }
    }
}

/// The pins of this system.
pub fn pins() -> Pins {
    Pins { dir: PIN_DIR.into(), owner: 0, fs_magic: BPF_FS_MAGIC }
}

/// A directory of pins.
#[derive(Clone, Debug)]
pub struct Pins {
    dir: PathBuf,
    owner: u32,
    fs_magic: u32,
}

impl Pins {
    /// Return true if anything has the directory's name, also if it isn't ours.
    pub fn exist(&self) -> bool {
        self.dir.symlink_metadata().is_ok()
    }

    /// Make the directory, empty and only for root, in place of anything that has its name.
    pub fn make(&self) -> Result<(), PinError> {
        /// Others may make something of that name in between.
        const ATTEMPTS: u32 = 5;

        let mut outcome = Ok(());
        for _ in 0..ATTEMPTS {
            self.remove();
            outcome = DirBuilder::new().mode(0o700).create(&self.dir);
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map_err(|cause| PinError::io("making", &self.dir, cause))?;
        self.open_dir().map(drop)
    }

    /// Open the task iterator for reading. `None` if it is not pinned.
    pub fn open_tasks(&self) -> Result<Option<File>, PinError> {
        if !self.exist() {
            return Ok(None);
        }
        let (dir, path) = (self.open_dir()?, self.dir.join("tasks"));
        // SAFETY: the descriptor is open and the name ends in a zero.
        let fd = unsafe {
            libc::openat(dir.as_raw_fd(), c"tasks".as_ptr(), libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC)
        };
        if fd < 0 {
            let cause = io::Error::last_os_error();
            return match cause.raw_os_error() {
                Some(libc::ENOENT) => Ok(None),
                Some(libc::ELOOP) => Err(PinError::Foreign { path, reason: "is a link" }),
                _ => Err(PinError::io("opening", &path, cause)),
            };
        }
        // SAFETY: it has just been opened, and nothing else owns it.
        Ok(Some(unsafe { File::from_raw_fd(fd) }))
    }

    /// Remove all pins that exist. The kernel frees the maps with their last user. A link is removed, not followed.
    pub fn remove(&self) {
        let is_dir = self.dir.symlink_metadata().map(|metadata| metadata.is_dir());
        let outcome = match is_dir {
            Ok(true) => std::fs::remove_dir_all(&self.dir),
            Ok(false) => std::fs::remove_file(&self.dir),
            Err(err) => Err(err),
        };
        if let Err(err) = outcome {
            if err.kind() != io::ErrorKind::NotFound {
                log::warn!("{0} could not be removed: {err}; remove it by hand", self.dir.display());
            }
        }
    }

    /// Open the directory if it is ours.
    fn open_dir(&self) -> Result<File, PinError> {
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(&self.dir);
        let dir = match opened {
            Ok(dir) => dir,
            Err(err) if matches!(err.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
                return Err(PinError::Foreign { path: self.dir.clone(), reason: "is no directory" })
            }
            Err(cause) => return Err(PinError::io("opening", &self.dir, cause)),
        };
        let reason = self.foreignness(&dir).map_err(|cause| PinError::io("looking at", &self.dir, cause))?;
        match reason {
            None => Ok(dir),
            Some(reason) => Err(PinError::Foreign { path: self.dir.clone(), reason }),
        }
    }

    /// Why an open directory isn't ours.
    fn foreignness(&self, dir: &File) -> io::Result<Option<&'static str>> {
        const WRITABLE_BY_OTHERS: u32 = 0o022;

        let metadata = dir.metadata()?;
        Ok(if fs_magic(dir)? != self.fs_magic {
            Some("is not on a BPF file system")
        } else if metadata.uid() != self.owner {
            Some("is not owned by root")
        } else if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            Some("can be written to by others")
        } else {
            None
        })
    }
}

fn fs_magic(file: &File) -> io::Result<u32> {
    // SAFETY: a struct of integers, for which 0 is valid.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and stat outlives the call.
    match unsafe { libc::fstatfs(file.as_raw_fd(), &mut stat) } {
        0 => Ok(stat.f_type as u32),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{symlink, PermissionsExt};

    use super::*;

    /// Pins in a directory of any file system, owned by whoever runs the test.
    fn pins_in(folder: &Path) -> Pins {
        let file = File::open(folder).unwrap();
        let owner = file.metadata().unwrap().uid();
        Pins { dir: folder.join("scx_vnuma"), owner, fs_magic: fs_magic(&file).unwrap() }
    }

    fn refusal(pins: &Pins) -> String {
        pins.open_tasks().unwrap_err().to_string()
    }

    #[test]
    fn our_own_pins_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pins = pins_in(folder.path());
        assert!(!pins.exist() && pins.open_tasks().unwrap().is_none());
        pins.make().unwrap();
        assert_eq!(pins.dir.metadata().unwrap().mode() & 0o777, 0o700);
        assert!(pins.open_tasks().unwrap().is_none());
        std::fs::write(pins.dir.join("tasks"), "records").unwrap();
        assert!(pins.open_tasks().unwrap().is_some());
        pins.remove();
        assert!(!pins.exist());
    }

    #[test]
    fn what_others_may_have_planted_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let pins = pins_in(folder.path());
        pins.make().unwrap();
        std::fs::write(pins.dir.join("planted"), "records").unwrap();
        symlink("planted", pins.dir.join("tasks")).unwrap();
        assert!(refusal(&pins).contains("tasks is a link"), "{}", refusal(&pins));

        let other_fs = Pins { fs_magic: BPF_FS_MAGIC, ..pins.clone() };
        assert!(refusal(&other_fs).contains("not on a BPF file system"));
        let other_owner = Pins { owner: pins.owner + 1, ..pins.clone() };
        assert!(refusal(&other_owner).contains("not owned by root"));
        std::fs::set_permissions(&pins.dir, PermissionsExt::from_mode(0o770)).unwrap();
        assert!(refusal(&pins).contains("can be written to by others"));

        let link = Pins { dir: folder.path().join("link"), ..pins.clone() };
        symlink(&pins.dir, &link.dir).unwrap();
        assert!(refusal(&link).contains("is no directory") && refusal(&link).contains("chmod 700"));
    }

    #[test]
    fn whatever_has_the_directorys_name_is_replaced_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let pins = pins_in(folder.path());
        let elsewhere = folder.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("kept"), "").unwrap();
        symlink(&elsewhere, &pins.dir).unwrap();
        pins.make().unwrap();
        std::fs::set_permissions(&pins.dir, PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::write(pins.dir.join("target"), "planted").unwrap();
        pins.make().unwrap();
        assert!(!pins.dir.join("target").exists() && elsewhere.join("kept").exists());
        pins.remove();
        std::fs::write(&pins.dir, "").unwrap();
        pins.make().unwrap();
        assert_eq!(pins.dir.metadata().unwrap().mode() & 0o777, 0o700);
    }
}
