//! A scheduler for guests whose vNUMA nodes run on different hosts.
//!
//! Data goes one way, `sense -> policy -> act`, over the words of [`cell`]; `report` reads along.
//! The simulator (`sim`) feeds the same policies from a cluster trace.
//!
//! - [`cell`]: what a policy sees and what it answers: nodes, groups of tasks, pressure, the plan.
//! - [`policy`]: decides where migratable work should run. Pure: no I/O, no clock, no BPF.
//! - [`sense`]: a live guest as a [`cell::CellView`].
//! - [`bpf`]: the scheduler class in the kernel, and the daemon's handle on it.
//! - [`act`]: makes a [`cell::Plan`] true in the kernel, and undoes it.
//! - [`decision_log`]: what policies saw and answered, round by round; written live, replayed in the simulator.
//! - [`report`]: what operators see.
//! - [`sim`]: a simulated cluster driven by a trace.

#[cfg(feature = "daemon")]
pub mod act;
#[cfg(feature = "daemon")]
mod affinity;
#[cfg(feature = "daemon")]
pub mod bpf;
pub mod cell;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod decision_log;
pub mod policy;
#[cfg(feature = "daemon")]
pub mod report;
#[cfg(feature = "daemon")]
pub mod sense;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "daemon")]
pub mod work;
