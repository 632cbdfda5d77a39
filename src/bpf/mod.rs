//! The BPF scheduler, compiled from `main.bpf.c` and its headers at build time, and its interface to the daemon (`intf.h`).

mod class;
mod counters;
mod plain;
mod scheduler_class;
mod steal;

pub use class::Class;
pub use counters::{CpuNs, KernelCounters};
pub use plain::{NoPadding, Plain};
pub use scheduler_class::{
    cannot_kick_cpus, remove_pins, LoadOptions, NodeStats, Retargeted, RunTime, RunTimes, SchedulerClass, OPS_NAME,
    PINNED_TASKS, PIN_DIR,
};
pub use steal::StealReader;

use std::io;

use libbpf_rs::{ProgramInput, ProgramMut};

/// The generated skeleton: programs, maps, knobs.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::undocumented_unsafe_blocks)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/bpf_skel.rs"));
}

/// Rust's view of `intf.h`.
#[allow(
    missing_docs,
    non_upper_case_globals,
    non_camel_case_types,
    non_snake_case,
    dead_code,
    clippy::all,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks
)]
pub mod intf {
    include!(concat!(env!("OUT_DIR"), "/bpf_intf.rs"));
}

use skel::{BpfSkel, BpfSkelBuilder};

/// Runs a syscall program, which reads and writes `args`.
fn run<T: NoPadding>(program: &ProgramMut<'_>, args: &mut T) -> io::Result<()> {
    let input = ProgramInput { context_in: Some(args.as_bytes_mut()), ..Default::default() };
    let output = program.test_run(input).map_err(io::Error::other)?;
    match output.return_value as i32 {
        0 => Ok(()),
        err => Err(io::Error::from_raw_os_error(-err)),
    }
}
