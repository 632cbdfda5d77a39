//! What follows the work beside tasks: each is a file of the kernel that takes a set of CPUs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{irqs, workqueues};
use crate::linux::CpuSet;

/// One such file. In the saved state it is named `irq 24` or `workqueues`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Knob {
    /// An IRQ's affinity.
    Irq(u32),
    /// The unbound workqueues' mask.
    Workqueues,
}

impl Knob {
    /// The CPUs that are set now.
    pub fn read(self, root: &Path) -> io::Result<CpuSet> {
        self.read_from(&self.open(root)?)
    }

    /// Sets the CPUs. The kernel may refuse.
    pub fn write(self, root: &Path, cpus: &CpuSet) -> io::Result<()> {
        self.write_to(&self.open_to_write(root)?, cpus)
    }

    fn read_from(self, file: &File) -> io::Result<CpuSet> {
        let text = read_small(file)?;
        let cpus = match self {
            Knob::Irq(_) => CpuSet::from_list(&text),
            Knob::Workqueues => CpuSet::from_mask(&text),
        };
        cpus.map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
    }

    fn write_to(self, mut file: &File, cpus: &CpuSet) -> io::Result<()> {
        let text = match self {
            Knob::Irq(_) => cpus.to_string(),
            Knob::Workqueues => cpus.to_mask(),
        };
        file.set_len(0)?;
        // Such files don't know a write at an offset (fs/seq_file.c, FMODE_PWRITE).
        file.rewind()?;
        // In one call: the kernel takes each write for a whole value.
        file.write_all(text.as_bytes())
    }

    /// To be read at least.
    fn open(self, root: &Path) -> io::Result<File> {
        self.open_to_write(root).or_else(|_| File::open(self.path(root)))
    }

    fn open_to_write(self, root: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path(root))
    }

    fn path(self, root: &Path) -> PathBuf {
        match self {
            Knob::Irq(irq) => irqs::affinity_file(root, irq),
            Knob::Workqueues => workqueues::mask_file(root),
        }
    }
}

/// The text of a file of the kernel's, from its start. It gives all of a short one at once, so nothing more is asked for.
fn read_small(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; 4096];
    let mut len = file.read_at(&mut bytes, 0)?;
    while len == bytes.len() {
        bytes.resize(2 * len, 0);
        len += file.read_at(&mut bytes[len..], len as u64)?;
    }
    bytes.truncate(len);
    String::from_utf8(bytes).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
}

/// Knobs whose files stay open: looking for a file takes several times as long as reading it, there are many, and all of it is
/// time that the work's node hasn't for the work.
#[derive(Debug)]
pub struct OpenKnobs {
    root: PathBuf,
    files: BTreeMap<Knob, File>,
}

impl OpenKnobs {
    /// So many at most, as a process may have only so many files open; others are opened each time.
    const OPEN_MAX: usize = 256;

    /// Below `root`, usually `/`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        OpenKnobs { root: root.into(), files: BTreeMap::new() }
    }

    /// As [`Knob::read`].
    pub fn read(&mut self, knob: Knob) -> io::Result<CpuSet> {
        self.with(knob, |file| knob.read_from(file))
    }

    /// As [`Knob::write`].
    pub fn write(&mut self, knob: Knob, cpus: &CpuSet) -> io::Result<()> {
        let done = self.with(knob, |file| knob.write_to(file, cpus));
        // A file that may only be read is open all the same, and doesn't say why it can't be written.
        done.map_err(|err| knob.open_to_write(&self.root).err().unwrap_or(err))
    }

    /// Closes all but these.
    pub fn retain(&mut self, is_there: impl Fn(&Knob) -> bool) {
        self.files.retain(|knob, _| is_there(knob));
    }

    fn with<T>(&mut self, knob: Knob, f: impl Fn(&File) -> io::Result<T>) -> io::Result<T> {
        if let Some(Ok(done)) = self.files.get(&knob).map(&f) {
            return Ok(done);
        }
        // What is open may be of an IRQ that is gone, and another has its number now.
        self.files.remove(&knob);
        let file = knob.open(&self.root)?;
        let done = f(&file)?;
        if self.files.len() < Self::OPEN_MAX {
            self.files.insert(knob, file);
        }
        Ok(done)
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Knob::Irq(irq) => write!(f, "irq {irq}"),
            Knob::Workqueues => f.write_str("workqueues"),
        }
    }
}

impl From<Knob> for String {
    fn from(knob: Knob) -> Self {
        knob.to_string()
    }
}

impl TryFrom<String> for Knob {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.strip_prefix("irq ").map(str::parse) {
            Some(Ok(irq)) => Ok(Knob::Irq(irq)),
            None if name == "workqueues" => Ok(Knob::Workqueues),
            _ => Err(format!("'{name}' is neither an irq nor workqueues")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::fake_root::FakeRoot;

    fn cpus(list: &str) -> CpuSet {
        CpuSet::from_list(list).unwrap()
    }

    #[test]
    fn an_open_file_is_read_and_written_anew_each_time() {
        let root = FakeRoot::new();
        let (irq, mut open) = (Knob::Irq(24), OpenKnobs::new(root.path()));
        assert_eq!(open.read(irq).unwrap(), cpus("0-3"));
        root.put("proc/irq/24/smp_affinity_list", "1\n");
        assert_eq!(open.read(irq).unwrap(), cpus("1"));
        open.write(irq, &cpus("0,2-3")).unwrap();
        open.write(irq, &cpus("2")).unwrap();
        assert_eq!((root.irq(24).as_str(), open.read(irq).unwrap()), ("2", cpus("2")));
    }

    #[test]
    fn an_irq_that_is_gone_is_not_found_and_one_that_came_again_is() {
        let root = FakeRoot::new();
        let (irq, mut open) = (Knob::Irq(24), OpenKnobs::new(root.path()));
        open.read(irq).unwrap();
        // What the kernel answers through a file of an IRQ that is gone, this one answers from its content.
        root.put("proc/irq/24/smp_affinity_list", "gone");
        std::fs::remove_dir_all(root.path().join("proc/irq/24")).unwrap();
        assert_eq!(open.read(irq).unwrap_err().kind(), io::ErrorKind::NotFound);
        root.put("proc/irq/24/smp_affinity_list", "0\n");
        assert_eq!(open.read(irq).unwrap(), cpus("0"));
    }

    #[test]
    fn why_a_file_can_only_be_read_is_said_when_it_is_written() {
        let root = FakeRoot::new();
        let file = root.path().join("proc/irq/24/smp_affinity_list");
        std::fs::remove_file(&file).unwrap();
        // A program that runs can be written by nobody, not even root.
        std::os::unix::fs::symlink("/proc/self/exe", file).unwrap();
        let mut open = OpenKnobs::new(root.path());
        assert_eq!(open.write(Knob::Irq(24), &cpus("2")).unwrap_err().kind(), io::ErrorKind::ExecutableFileBusy);
    }

    #[test]
    fn a_long_set_of_cpus_is_read_to_its_end() {
        let root = FakeRoot::new();
        let list: Vec<String> = (0..4000).map(|cpu| (cpu * 2).to_string()).collect();
        root.put("proc/irq/24/smp_affinity_list", &list.join(","));
        assert_eq!(Knob::Irq(24).read(root.path()).unwrap(), cpus(&list.join(",")));
    }
}
