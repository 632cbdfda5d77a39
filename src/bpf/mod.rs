//! The BPF scheduler, compiled from `main.bpf.c` and its headers at build time, and its interface to the daemon (`intf.h`).

mod class;
mod counters;
mod exit;
mod hits;
mod pins;
mod plain;
mod plan;
mod quota;
mod scheduler_class;
mod steal;
mod timers;
mod wakeups;

pub use class::Class;
pub use counters::{CpuNs, KernelCounters};
pub use exit::{Exit, ExitCause};
pub use hits::{Hit, Hits};
pub use pins::{pins, PinError, Pins, PINNED_TASKS, PIN_DIR};
pub use plain::{NoPadding, Plain};
pub use plan::{KernelPlan, Steering};
pub use quota::KernelQuota;
pub use scheduler_class::{
    cannot_exit, cannot_kick_cpus, LoadOptions, NodeStats, Retargeted, RunTime, RunTimes, SchedulerClass, OPS_NAME,
};
pub use steal::StealReader;
pub use wakeups::{WakeupCount, WakeupReader};

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libbpf_rs::libbpf_sys::{bpf_prog_test_run_opts, bpf_test_run_opts};
use libbpf_rs::{ProgramInput, ProgramMut};

/// The generated skeleton: programs, maps and read-only options.
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

/// Ids of nodes are below this.
pub const NODE_IDS: u32 = intf::vnuma_limits_VNUMA_MAX_NODES;

/// Ids of CPUs are below this.
pub const CPU_IDS: u32 = intf::vnuma_limits_VNUMA_MAX_CPUS;

impl intf::vnuma_task_record {
    /// A record with the head of this version, whose other fields are 0.
    pub fn empty() -> Self {
        let size = size_of::<Self>() as u32;
        Self { version: intf::vnuma_record_VNUMA_RECORD_VERSION, size, ..Plain::zeroed() }
    }
}

/// Runs a syscall program, which reads and writes `args`.
fn run<T: NoPadding>(program: &ProgramMut<'_>, args: &mut T) -> io::Result<()> {
    run_with(program, ProgramInput { context_in: Some(args.as_bytes_mut()), ..Default::default() })
}

/// Runs a syscall program without arguments.
fn run_bare(program: &ProgramMut<'_>) -> io::Result<()> {
    run_with(program, ProgramInput::default())
}

fn run_with(program: &ProgramMut<'_>, input: ProgramInput<'_>) -> io::Result<()> {
    let output = program.test_run(input).map_err(io::Error::other)?;
    match output.return_value as i32 {
        0 => Ok(()),
        err => Err(io::Error::from_raw_os_error(-err)),
    }
}

/// Runs a syscall program like [`run`], from any thread.
fn run_by_fd<T: NoPadding>(program: BorrowedFd<'_>, args: &mut T) -> io::Result<()> {
    let bytes = args.as_bytes_mut();
    let mut options = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as _,
        // The kernel writes the program's results back to it.
        ctx_in: bytes.as_mut_ptr().cast(),
        ctx_size_in: bytes.len() as u32,
        ..Default::default()
    };
    // SAFETY: the descriptor is open, and the pointer in options is to args, which outlives the call.
    let err = unsafe { bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) };
    match (err, options.retval as i32) {
        (0, 0) => Ok(()),
        (0, err) | (err, _) => Err(io::Error::from_raw_os_error(-err)),
    }
}
