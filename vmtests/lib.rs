//! Tests in virtual machines, benchmarks, the demo and experiments: the programs that run inside the machines, and the reports.
//!
//! - `guest`: what code in a guest needs: the scheduler, its maps, processes to be scheduled, load on the hosts.
//! - [`scenarios`]: tests of a behaviour, with the register of the machines on which each runs; `vmtests/run` runs them.
//! - [`mod@bench`]: the cost of scheduling.
//! - [`demo`]: the same load without and with the scheduler, as a timeline.
//! - [`experiments`]: comparisons that take long.
//! - [`pages`]: pages that travel between nodes, told by use.
//!
//! The machines themselves are shell scripts: `vmtests/lab` and `vmtests/vm`, over `machines/`.

pub mod bench;
pub mod demo;
pub mod experiments {
    //! Comparisons that take long. Each has its own `run` command.
    pub mod colocation;
    pub mod sharers;
}
mod guest;
pub mod pages;
mod picture;
pub mod scenarios;
