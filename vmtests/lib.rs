//! The tests in virtual machines, benchmarks, demo and experiments: what runs inside the machines, and the reports.
//!
//! - `guest`: what code in a guest needs: the scheduler, its maps, processes to be scheduled, load on the hosts.
//! - [`scenarios`]: tests of a behaviour, with the register that says where each runs; `vmtests/run` runs them.
//! - [`bench`]: what scheduling costs.
//! - [`demo`]: the same load without and with the scheduler, as a timeline.
//! - [`experiments`]: comparisons that take long.
//!
//! The machines themselves are shell scripts: `vmtests/lab` and `vmtests/vm`, over `machines/`.

pub mod bench;
pub mod demo;
pub mod experiments {
    //! Comparisons that take long: each has a `run` of its own.
    pub mod colocation;
}
mod guest;
pub mod scenarios;
