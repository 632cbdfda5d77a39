//! Output files, which are whole or not there: each is written next to its place and renamed once it is whole.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use super::error::SimError;

/// A file that is being written. Dropped before it is finished, it leaves nothing, and a file that was there stays.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    /// `None` for a pipe or a device, which is written as it is.
    unfinished: Option<Unfinished>,
}

/// The file under its temporary name, which is hidden so that no pattern takes it for a part of a table.
#[derive(Debug)]
struct Unfinished(PathBuf);

/// The unfinished files of this process.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NewFile {
    /// Create a file that will replace the one at `path`.
    pub fn create(path: &Path) -> Result<NewFile, SimError> {
        remove_unfinished_at_a_signal();
        // A link stays one, and what it points to is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if path.exists() && !path.is_file() {
            let file = File::options().write(true).open(&path).map_err(SimError::file(&path))?;
            return Ok(NewFile { file, path, unfinished: None });
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let unfinished = path.with_file_name(format!(".{name}.{}.unfinished", std::process::id()));
        let file = {
            let mut all = self::unfinished();
            let file = File::create(&unfinished).map_err(SimError::file(&path))?;
            all.insert(unfinished.clone());
            file
        };
        if let Ok(old) = path.metadata() {
            file.set_permissions(old.permissions()).map_err(SimError::file(&path))?;
        }
        Ok(NewFile { file, path, unfinished: Some(Unfinished(unfinished)) })
    }

    /// Put the file in its place. All of it is on disk then.
    pub fn finish(mut self) -> Result<(), SimError> {
        let Some(unfinished) = self.unfinished.take() else { return Ok(()) };
        self.file.sync_all().map_err(SimError::file(&self.path))?;
        let mut all = self::unfinished();
        std::fs::rename(&unfinished.0, &self.path).map_err(SimError::file(&self.path))?;
        all.remove(&unfinished.0);
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once finished it is not there any more.
        if self::unfinished().remove(&self.0) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// Write all bytes of a file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), SimError> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes).map_err(SimError::file(path))?;
    file.finish()
}

/// At INT, TERM and HUP remove what is unfinished, and end.
fn remove_unfinished_at_a_signal() {
    /// 128 and the number of INT, as shells report it.
    const INTERRUPTED: i32 = 130;

    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let handler = || {
            // Held until the end, so that no file is begun or put in its place meanwhile.
            let all = unfinished();
            for path in all.iter() {
                let _ = std::fs::remove_file(path);
            }
            std::process::exit(INTERRUPTED);
        };
        // It fails if the program has a handler of its own, or was started to ignore a signal, as by nohup(1). Then a hidden
        // file may be left, and the old one is whole all the same.
        let _ = ctrlc::try_set_handler(handler);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("vnuma-output-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.collect()
    }

    #[test]
    fn a_file_is_replaced_once_it_is_whole_and_not_before() {
        let folder = folder("whole");
        let path = folder.join("t.parquet");
        std::fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(&folder), ["t.parquet"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_and_the_old_one_stays() {
        let folder = folder("unfinished");
        let path = folder.join("t.parquet");
        drop(NewFile::create(&path).unwrap());
        assert!(names(&folder).is_empty());
        std::fs::write(&path, "old").unwrap();
        NewFile::create(&path).unwrap().write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(&folder), ["t.parquet"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_link_stays_and_a_device_is_written() {
        let folder = folder("link");
        write(&folder.join("a"), b"old").unwrap();
        std::os::unix::fs::symlink("a", folder.join("link")).unwrap();
        write(&folder.join("link"), b"new").unwrap();
        assert_eq!(std::fs::read(folder.join("a")).unwrap(), b"new");
        assert!(folder.join("link").is_symlink());
        write(Path::new("/dev/null"), b"new").unwrap();
        assert!(write(Path::new("/dev/full"), b"new").is_err());
        assert!(write(&folder.join("no-such-folder/a"), b"new").unwrap_err().to_string().contains("no-such-folder/a"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
