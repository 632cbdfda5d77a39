//! Cgroup paths by id, for selectors.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A cache of the v2 hierarchy's paths. A cgroup's id is its directory's inode number, which the kernel gives only once.
#[derive(Default)]
pub struct CgroupPaths {
    root: Option<PathBuf>,
    paths: HashMap<u64, PathBuf>,
    /// Ids that the hierarchy doesn't show: of cgroups outside a cgroup namespace, or of removed ones.
    absent: HashSet<u64>,
    /// What reading the hierarchy in this round came to; `None` if it was not read.
    read: Option<Completeness>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Completeness {
    Whole,
    /// Some of it could not be read, so a missing id may be there.
    Partial,
}

impl CgroupPaths {
    /// More absent ids are forgotten, and looked for again.
    const NR_ABSENT_MAX: usize = 1 << 16;

    /// Use the hierarchy mounted at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        CgroupPaths { root: Some(root.into()), ..CgroupPaths::default() }
    }

    /// Begin a round. The ids that are looked up in a round must have been read before it.
    pub fn begin_round(&mut self) {
        self.read = None;
    }

    /// The path of the cgroup with this id, relative to the hierarchy's root, as in `/batch`; `/` is the root cgroup.
    /// An unknown id makes the cache read the hierarchy again, at most once a round, and once for each id that isn't there.
    pub fn path(&mut self, id: u64) -> Option<&Path> {
        if !self.paths.contains_key(&id) && !self.absent.contains(&id) {
            self.look_for(id);
        }
        self.paths.get(&id).map(PathBuf::as_path)
    }

    fn look_for(&mut self, id: u64) {
        let Some(root) = &self.root else { return };
        let read = *self.read.get_or_insert_with(|| {
            self.paths.clear();
            read_hierarchy(root, &mut self.paths)
        });
        if read == Completeness::Whole && !self.paths.contains_key(&id) {
            if self.absent.len() >= Self::NR_ABSENT_MAX {
                self.absent.clear();
            }
            self.absent.insert(id);
        }
    }
}

fn read_hierarchy(root: &Path, paths: &mut HashMap<u64, PathBuf>) -> Completeness {
    match add(root, root, paths) {
        Ok(()) => Completeness::Whole,
        Err(err) => {
            log::debug!("reading the cgroups below {}: {err}", root.display());
            Completeness::Partial
        }
    }
}

/// Add a cgroup and those below it. Cgroups may be removed meanwhile; that is no error. After another one, such as too many
/// open files, the rest is read all the same.
fn add(root: &Path, cgroup: &Path, paths: &mut HashMap<u64, PathBuf>) -> io::Result<()> {
    let mut outcome = Ok(());
    let mut add_children = || -> io::Result<()> {
        let inside = cgroup.strip_prefix(root).unwrap_or(cgroup);
        paths.insert(cgroup.metadata()?.ino(), Path::new("/").join(inside));
        for entry in cgroup.read_dir()? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                outcome = add(root, &entry.path(), paths).and(std::mem::replace(&mut outcome, Ok(())));
            }
        }
        Ok(())
    };
    match add_children() {
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => outcome,
        Err(err) => Err(err),
        Ok(()) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_created_later_is_found() {
        let root = std::env::temp_dir().join(format!("vnuma-cgroups-{}", std::process::id()));
        std::fs::create_dir_all(root.join("batch")).unwrap();
        let mut paths = CgroupPaths::new(&root);
        paths.begin_round();
        let id = root.join("batch").metadata().unwrap().ino();
        assert_eq!(paths.path(id), Some(Path::new("/batch")));

        std::fs::create_dir(root.join("batch/job")).unwrap();
        paths.begin_round();
        let id = root.join("batch/job").metadata().unwrap().ino();
        assert_eq!(paths.path(id), Some(Path::new("/batch/job")));
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(CgroupPaths::default().path(id), None);
    }

    #[test]
    fn the_hierarchy_is_read_once_a_round_and_once_for_ids_that_it_does_not_show() {
        let root = tempfile::tempdir().unwrap();
        let mut paths = CgroupPaths::new(root.path());
        // Removed from the cache behind its back, so that it shows whether the hierarchy has been read again.
        let reads_for = |paths: &mut CgroupPaths, ids: std::ops::Range<u64>| {
            let mut nr_reads = 0;
            for id in ids {
                paths.paths.clear();
                paths.path(id);
                nr_reads += usize::from(!paths.paths.is_empty());
            }
            nr_reads
        };
        let own = root.path().metadata().unwrap().ino();
        let outside = own + 1000..own + 1200;
        paths.begin_round();
        assert_eq!(reads_for(&mut paths, outside.clone()), 1);
        paths.begin_round();
        assert_eq!(reads_for(&mut paths, outside.clone()), 0);
        assert_eq!(reads_for(&mut paths, outside.end..outside.end + 5), 1, "others are looked for");
    }

    #[test]
    fn an_id_is_looked_for_again_if_the_hierarchy_could_not_be_read() {
        let root = tempfile::tempdir().unwrap();
        let hierarchy = root.path().join("cgroup");
        // A file can't be read as a directory.
        std::fs::write(&hierarchy, "").unwrap();
        let mut paths = CgroupPaths::new(&hierarchy);
        paths.begin_round();
        std::fs::create_dir(root.path().join("later")).unwrap();
        let id = root.path().join("later").metadata().unwrap().ino();
        assert_eq!(paths.path(id), None);
        std::fs::remove_file(&hierarchy).unwrap();
        std::fs::rename(root.path().join("later"), &hierarchy).unwrap();
        paths.begin_round();
        assert_eq!(paths.path(id), Some(Path::new("/")));
    }
}
