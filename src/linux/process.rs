//! Processes by name.

use std::fs::{self, DirEntry};
use std::path::Path;

/// Return true if a process of this name runs, by the proc file system below `root`, usually `/`.
pub fn runs(root: &Path, name: &str) -> bool {
    let is_it = |entry: &DirEntry| {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        // A process that has ended meanwhile has no name.
        is_process && fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    fs::read_dir(root.join("proc")).is_ok_and(|entries| entries.flatten().any(|entry| is_it(&entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_is_found_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, comm: &str| {
            fs::create_dir_all(root.path().join(path)).unwrap();
            fs::write(root.path().join(path).join("comm"), comm).unwrap();
        };
        assert!(!runs(root.path(), "irqbalance"));
        put("proc/1", "init\n");
        put("proc/bus", "irqbalance\n");
        assert!(!runs(root.path(), "irqbalance"), "what has no number is no process");
        put("proc/77", "irqbalance\n");
        assert!(runs(root.path(), "irqbalance"));
    }
}
