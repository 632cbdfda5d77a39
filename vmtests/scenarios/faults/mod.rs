//! Faults on purpose, in the spirit of scx_chaos: whatever happens to the daemon or the guest, no task is lost or stuck.
//! docs/reliability.md says what is promised.

pub mod cpus;
pub mod daemon;
pub mod starting;
