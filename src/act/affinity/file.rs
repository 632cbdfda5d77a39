//! The kernel's files that have affinities.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::linux::CpuSet;

/// A file that has the CPUs of an IRQ or of the unbound workqueues. Displayed, and named in the undo log, as `irq 24` or
/// `workqueues`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum AffinityFile {
    /// The affinity of an IRQ, a list of CPUs (Documentation/core-api/irq/irq-affinity.rst).
    Irq(u32),
    /// The mask of all unbound workqueues (Documentation/core-api/workqueue.rst).
    Workqueues,
}

impl AffinityFile {
    /// Read the CPUs. The file is below `root`, usually `/`.
    pub fn read(self, root: &Path) -> io::Result<CpuSet> {
        self.read_from(&self.open(root)?, root)
    }

    /// Set the CPUs, which the kernel may refuse. The file is below `root`, usually `/`.
    pub fn write(self, root: &Path, cpus: &CpuSet) -> io::Result<()> {
        self.write_to(&self.open_to_write(root)?, cpus)
    }

    /// `file` is the open file itself.
    fn read_from(self, file: &File, root: &Path) -> io::Result<CpuSet> {
        let text = match self {
            AffinityFile::Irq(_) => read_all(file)?,
            AffinityFile::Workqueues => requested_workqueues(root)?.map_or_else(|| read_all(file), Ok)?,
        };
        let cpus = match self {
            AffinityFile::Irq(_) => CpuSet::from_list(&text),
            AffinityFile::Workqueues => CpuSet::from_mask(&text),
        };
        cpus.map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
    }

    fn write_to(self, mut file: &File, cpus: &CpuSet) -> io::Result<()> {
        let text = match self {
            AffinityFile::Irq(_) => cpus.to_string(),
            AffinityFile::Workqueues => cpus.to_mask(),
        };
        file.set_len(0)?;
        // These files do not support pwrite (fs/seq_file.c, FMODE_PWRITE).
        file.rewind()?;
        // In a single call, as the kernel takes each write as a whole value.
        file.write_all(text.as_bytes())
    }

    /// Open the file for reading, and for writing if possible.
    fn open(self, root: &Path) -> io::Result<File> {
        self.open_to_write(root).or_else(|_| File::open(self.path(root)))
    }

    fn open_to_write(self, root: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path(root))
    }

    fn path(self, root: &Path) -> PathBuf {
        match self {
            AffinityFile::Irq(irq) => root.join(format!("proc/irq/{irq}/smp_affinity_list")),
            AffinityFile::Workqueues => root.join("sys/devices/virtual/workqueue/cpumask"),
        }
    }
}

/// The mask that was asked for, in kernels that keep it: `cpumask` is that without isolated CPUs, which have
/// to come back when they are isolated no longer.
fn requested_workqueues(root: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(root.join("sys/devices/virtual/workqueue/cpumask_requested")) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Read a file of the kernel from its start. Such files return as much as the buffer takes, so a short read is the last one.
fn read_all(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; 4096];
    let mut len = file.read_at(&mut bytes, 0)?;
    while len == bytes.len() {
        bytes.resize(2 * len, 0);
        len += file.read_at(&mut bytes[len..], len as u64)?;
    }
    bytes.truncate(len);
    String::from_utf8(bytes).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
}

/// Keeps affinity files open. There are many of them, opening one takes several times as long as reading it, and that is
/// CPU time of the node to which the work has just moved.
#[derive(Debug)]
pub struct OpenFiles {
    root: PathBuf,
    files: BTreeMap<AffinityFile, File>,
}

impl OpenFiles {
    /// The process may only have a limited number of files open. Further ones are opened for each access.
    const NR_OPEN_MAX: usize = 256;

    /// For the files below `root`, usually `/`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        OpenFiles { root: root.into(), files: BTreeMap::new() }
    }

    /// As [`AffinityFile::read`].
    pub fn read(&mut self, affinity: AffinityFile) -> io::Result<CpuSet> {
        let root = self.root.clone();
        self.with(affinity, |file| affinity.read_from(file, &root))
    }

    /// As [`AffinityFile::write`].
    pub fn write(&mut self, affinity: AffinityFile, cpus: &CpuSet) -> io::Result<()> {
        let outcome = self.with(affinity, |file| affinity.write_to(file, cpus));
        // If the file could only be opened for reading, the reason is the error of opening it for writing.
        outcome.map_err(|err| affinity.open_to_write(&self.root).err().unwrap_or(err))
    }

    /// Close all files but those for which `is_there` returns true.
    pub fn retain(&mut self, is_there: impl Fn(&AffinityFile) -> bool) {
        self.files.retain(|affinity, _| is_there(affinity));
    }

    fn with<T>(&mut self, affinity: AffinityFile, access: impl Fn(&File) -> io::Result<T>) -> io::Result<T> {
        if let Some(Ok(done)) = self.files.get(&affinity).map(&access) {
            return Ok(done);
        }
        // The open file may be that of an IRQ that was freed, and its number given to another one.
        self.files.remove(&affinity);
        let file = affinity.open(&self.root)?;
        let done = access(&file)?;
        if self.files.len() < Self::NR_OPEN_MAX {
            self.files.insert(affinity, file);
        }
        Ok(done)
    }
}

impl fmt::Display for AffinityFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AffinityFile::Irq(irq) => write!(f, "irq {irq}"),
            AffinityFile::Workqueues => f.write_str("workqueues"),
        }
    }
}

impl From<AffinityFile> for String {
    fn from(file: AffinityFile) -> Self {
        file.to_string()
    }
}

impl TryFrom<String> for AffinityFile {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.strip_prefix("irq ").map(str::parse) {
            Some(Ok(irq)) => Ok(AffinityFile::Irq(irq)),
            None if name == "workqueues" => Ok(AffinityFile::Workqueues),
            _ => Err(format!("'{name}' is neither 'irq' and a number nor 'workqueues'")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::affinity::fake_root::FakeRoot;

    fn cpus(list: &str) -> CpuSet {
        CpuSet::from_list(list).unwrap()
    }

    #[test]
    fn an_open_file_is_read_and_written_from_its_start_each_time() {
        let root = FakeRoot::new();
        let (irq, mut open) = (AffinityFile::Irq(24), OpenFiles::new(root.path()));
        assert_eq!(open.read(irq).unwrap(), cpus("0-3"));
        root.put("proc/irq/24/smp_affinity_list", "1\n");
        assert_eq!(open.read(irq).unwrap(), cpus("1"));
        open.write(irq, &cpus("0,2-3")).unwrap();
        open.write(irq, &cpus("2")).unwrap();
        assert_eq!((root.irq(24).as_str(), open.read(irq).unwrap()), ("2", cpus("2")));
    }

    #[test]
    fn the_workqueues_mask_is_the_one_that_was_asked_for() {
        let root = FakeRoot::new();
        root.put("sys/devices/virtual/workqueue/cpumask", "3\n");
        assert_eq!(AffinityFile::Workqueues.read(root.path()).unwrap(), cpus("0-1"));
        root.put("sys/devices/virtual/workqueue/cpumask_requested", "f\n");
        assert_eq!(AffinityFile::Workqueues.read(root.path()).unwrap(), cpus("0-3"));
        assert_eq!(OpenFiles::new(root.path()).read(AffinityFile::Workqueues).unwrap(), cpus("0-3"));
    }

    #[test]
    fn a_freed_irq_is_not_found_and_another_one_with_its_number_is() {
        let root = FakeRoot::new();
        let (irq, mut open) = (AffinityFile::Irq(24), OpenFiles::new(root.path()));
        open.read(irq).unwrap();
        // Stands for the error that the kernel returns through the open file of a freed IRQ.
        root.put("proc/irq/24/smp_affinity_list", "gone");
        std::fs::remove_dir_all(root.path().join("proc/irq/24")).unwrap();
        assert_eq!(open.read(irq).unwrap_err().kind(), io::ErrorKind::NotFound);
        root.put("proc/irq/24/smp_affinity_list", "0\n");
        assert_eq!(open.read(irq).unwrap(), cpus("0"));
    }

    #[test]
    fn writing_a_read_only_file_fails_with_the_reason_for_that() {
        let root = FakeRoot::new();
        let file = root.path().join("proc/irq/24/smp_affinity_list");
        std::fs::remove_file(&file).unwrap();
        // Nobody can write a running program, not even root.
        std::os::unix::fs::symlink("/proc/self/exe", file).unwrap();
        let mut open = OpenFiles::new(root.path());
        assert_eq!(
            open.write(AffinityFile::Irq(24), &cpus("2")).unwrap_err().kind(),
            io::ErrorKind::ExecutableFileBusy
        );
    }

    #[test]
    fn a_set_of_cpus_longer_than_the_buffer_is_read_whole() {
        let root = FakeRoot::new();
        let list: Vec<String> = (0..4000).map(|cpu| (cpu * 2).to_string()).collect();
        root.put("proc/irq/24/smp_affinity_list", &list.join(","));
        assert_eq!(AffinityFile::Irq(24).read(root.path()).unwrap(), cpus(&list.join(",")));
    }
}
