//! Ensures that only one scx_vnuma runs: a lock that is held from before the preflight checks to the end.
//!
//! Without it, if two daemons started at once, the loser would remove the winner's pins, and `restore` could undo what a
//! starting daemon does.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{bail, Context, Result};

/// Path of the lock file. The file stays; the kernel releases the lock when the holder ends, however it ends.
pub const LOCK_FILE: &str = "/run/scx_vnuma.lock";

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct InstanceLock(#[allow(dead_code, reason = "dropping it is what unlocks")] File);

impl InstanceLock {
    /// Take the lock at `path`, usually [`LOCK_FILE`]. The error names the process that holds it.
    pub fn acquire(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(path).with_context(|| format!("opening the lock {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).unwrap_or_default();
                let holder = holder.trim();
                let holder = if holder.is_empty() { "a process" } else { &format!("process {holder}") };
                bail!(
                    "{holder} holds {}: another scx_vnuma is starting, running or restoring; `scx_vnuma --monitor 1` \
                     shows one that is running",
                    path.display()
                );
            }
            Err(TryLockError::Error(err)) => {
                return Err(err).with_context(|| format!("locking {}", path.display()));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(InstanceLock(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_refused_with_the_firsts_process_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = InstanceLock::acquire(&path).unwrap();
        let message = InstanceLock::acquire(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        drop(first);
        InstanceLock::acquire(&path).unwrap();
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("precious");
        std::fs::write(&target, "content").unwrap();
        let path = folder.path().join("lock");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(InstanceLock::acquire(&path).is_err());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "content");
    }
}
