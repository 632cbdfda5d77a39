//! What follows the work beside tasks: each is a file of the kernel that takes a set of CPUs.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cpu_set::CpuSet;
use super::{irqs, workqueues};

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
        let text = read_small(&self.path(root))?;
        let cpus = match self {
            Knob::Irq(_) => CpuSet::from_list(&text),
            Knob::Workqueues => CpuSet::from_mask(&text),
        };
        cpus.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("'{}' is no set of CPUs", text.trim())))
    }

    /// Sets the CPUs. The kernel may refuse.
    pub fn write(self, root: &Path, cpus: &CpuSet) -> io::Result<()> {
        let text = match self {
            Knob::Irq(_) => cpus.to_string(),
            Knob::Workqueues => cpus.to_mask(),
        };
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.path(root))?;
        // In one call: the kernel takes each write for a whole value.
        file.write_all(text.as_bytes())
    }

    fn path(self, root: &Path) -> PathBuf {
        match self {
            Knob::Irq(irq) => irqs::affinity_file(root, irq),
            Knob::Workqueues => workqueues::mask_file(root),
        }
    }
}

/// The text of a file of the kernel's. It gives all of a short one at once, so there is nothing more to ask for; there are many
/// of them, and each call is time that the work's node hasn't for the work.
fn read_small(path: &Path) -> io::Result<String> {
    let mut bytes = [0; 4096];
    let mut file = File::open(path)?;
    let len = file.read(&mut bytes)?;
    let mut text = bytes[..len].to_vec();
    if len == bytes.len() {
        file.read_to_end(&mut text)?;
    }
    String::from_utf8(text).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
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
