//! The busiest groups, as `scx_vnuma top` shows them.

use serde::{Deserialize, Serialize};

/// A group over the last round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its id: that of its process, or of its cgroup under `--group cgroup`.
    pub group: u64,
    /// Its first process.
    pub tgid: u32,
    /// Number of its processes.
    pub nr_processes: u32,
    /// Number of its tasks.
    pub nr_tasks: u32,
    /// The node that it ran on.
    pub node: u32,
    /// CPU that it used.
    pub work_cpus: f64,
    /// CPU that it used or waited for while runnable; below `work_cpus` if waiting isn't measured.
    pub wanted_cpus: f64,
    /// Resident memory, in bytes.
    pub memory_bytes: f64,
}
