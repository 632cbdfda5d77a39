//! The parts of the Linux interface that more than one module needs, each in one place. Imports nothing else of the crate.
//!
//! - [`affinity`]: the CPUs that a thread may run on.
//! - [`cgroup_mount`]: where the cgroup v2 hierarchy is mounted.
//! - [`clock`]: the CPU time of a thread.
//! - [`cpu_set`]: a set of CPUs, and its text forms.
//! - [`memory`]: locks the process's memory, and counts its page faults.
//! - [`process`]: whether a process of some name runs.
//! - [`thread`]: starts named threads with small stacks.
//! - [`wait`]: waits for file descriptors, and tells whether one hung up.

pub mod affinity;
pub mod cgroup_mount;
pub mod clock;
pub mod cpu_set;
pub mod memory;
pub mod process;
pub mod thread;
pub mod wait;

pub use cpu_set::{CpuSet, CpuSetError};
