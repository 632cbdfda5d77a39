//! A scheduler for guests whose vNUMA nodes run on different hosts.
//!
//! Data flows one way, `sense -> policy -> act`, in the types of [`cell`]; `report` observes.
//! The simulator (`sim`) runs the same policies on a cluster trace.
//!
//! - [`cell`]: what a policy sees and returns: nodes, groups of tasks, pressure, the plan.
//! - [`policy`]: decides where migratable work runs. Pure: no I/O, no clock, no BPF.
//! - [`work`]: the workload: which tasks are migratable, how they form groups, where plans have placed them.
//! - [`sense`]: measures a live guest and describes it as a [`cell::CellView`].
//! - [`bpf`]: the scheduler class in the kernel, and the daemon's handle on it.
//! - [`act`]: moves what goes along with the work (IRQs, workqueues, memory, the daemon's threads), and undoes it.
//! - [`linux`]: kernel interfaces that several modules need: CPU sets, affinities, clocks, memory, threads.
//! - [`daemon`]: options, the round loop (sense, decide, act, report), startup and shutdown.
//! - [`decision_log`]: what policies saw and decided, round by round; written live, replayed in the simulator.
//! - [`html`]: pages that stand alone, for reports.
//! - [`report`]: what operators see: statistics, metrics, explanations of decisions.
//! - [`sim`]: a simulated cluster driven by a trace.

#[cfg(feature = "daemon")]
pub mod act;
#[cfg(feature = "daemon")]
pub mod bpf;
pub mod cell;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod decision_log;
#[cfg(all(any(test, feature = "fuzzing"), feature = "daemon", feature = "sim"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod html;
#[cfg(feature = "daemon")]
pub mod linux;
pub mod policy;
#[cfg(feature = "daemon")]
pub mod report;
#[cfg(feature = "daemon")]
pub mod sense;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "daemon")]
pub mod work;
