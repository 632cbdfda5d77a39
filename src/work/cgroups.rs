//! Cgroup paths by id, for selectors.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A cache of the v2 hierarchy's paths. A cgroup's id is its directory's inode number.
#[derive(Default)]
pub struct CgroupPaths {
    root: Option<PathBuf>,
    paths: HashMap<u64, PathBuf>,
}

impl CgroupPaths {
    /// Use the hierarchy mounted at `root`, usually /sys/fs/cgroup.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        CgroupPaths { root: Some(root.into()), paths: HashMap::new() }
    }

    /// The path of the cgroup with this id, relative to the hierarchy's root, as in `/batch`; `/` is the root cgroup.
    /// An unknown id makes the cache read the hierarchy again.
    pub fn path(&mut self, id: u64) -> Option<&Path> {
        if !self.paths.contains_key(&id) {
            let root = self.root.clone()?;
            self.paths.clear();
            self.add(&root, &root);
        }
        self.paths.get(&id).map(PathBuf::as_path)
    }

    /// Errors are ignored: cgroups may be removed during the walk.
    fn add(&mut self, root: &Path, dir: &Path) {
        let Ok(metadata) = dir.metadata() else { return };
        let inside = dir.strip_prefix(root).unwrap_or(dir);
        self.paths.insert(metadata.ino(), Path::new("/").join(inside));
        let Ok(entries) = dir.read_dir() else { return };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add(root, &entry.path());
            }
        }
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
        let id = root.join("batch").metadata().unwrap().ino();
        assert_eq!(paths.path(id), Some(Path::new("/batch")));

        std::fs::create_dir(root.join("batch/job")).unwrap();
        let id = root.join("batch/job").metadata().unwrap().ino();
        assert_eq!(paths.path(id), Some(Path::new("/batch/job")));
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(CgroupPaths::default().path(id), None);
    }
}
