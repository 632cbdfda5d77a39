//! The scheduler class, compiled from `main.bpf.c` at build time, and what it shares with the daemon (`intf.h`).

mod class;
mod counters;
mod scheduler_class;
mod steal;

pub use class::Class;
pub use counters::{CpuNs, KernelCounters};
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

/// A C struct of `intf.h`: only integers, no padding that matters, any bit pattern valid.
///
/// # Safety
/// Implement it only for such types.
pub unsafe trait Plain: Copy {
    /// All fields 0.
    fn zeroed() -> Self {
        // SAFETY: every bit pattern is valid (the trait's contract).
        unsafe { std::mem::zeroed() }
    }

    /// Its bytes, for the kernel to read or write.
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: every bit pattern is valid (the trait's contract), and the slice borrows self.
        unsafe { std::slice::from_raw_parts_mut((self as *mut Self).cast(), size_of::<Self>()) }
    }

    /// Its bytes, as a map's key or value.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the types hold no references, and the slice borrows self.
        unsafe { std::slice::from_raw_parts((self as *const Self).cast(), size_of::<Self>()) }
    }

    /// The value at the start of `bytes`; `None` when they are too few.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<Self>() {
            return None;
        }
        // SAFETY: long enough, read unaligned, and every bit pattern is valid.
        Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
    }
}

// SAFETY: structs of integers.
unsafe impl Plain for intf::vnuma_target {}
// SAFETY: structs of integers.
unsafe impl Plain for intf::vnuma_node_stats {}
// SAFETY: structs of integers.
unsafe impl Plain for intf::vnuma_process_node {}
// SAFETY: structs of integers.
unsafe impl Plain for intf::vnuma_run_time {}
// SAFETY: structs of integers.
unsafe impl Plain for intf::vnuma_retarget_args {}
// SAFETY: structs of integers.
unsafe impl Plain for intf::vnuma_select_args {}
// SAFETY: structs of integers and a char array.
unsafe impl Plain for intf::vnuma_task_record {}
// SAFETY: structs of integers.
unsafe impl Plain for intf::vnuma_placement {}
// SAFETY: structs of integers.
unsafe impl Plain for intf::vnuma_counters_args {}
// SAFETY: structs of integers.
unsafe impl Plain for intf::vnuma_steal_args {}

/// Runs a syscall program on `args`, in and out.
fn run<T: Plain>(program: &ProgramMut<'_>, args: &mut T) -> io::Result<()> {
    let input = ProgramInput { context_in: Some(args.as_bytes_mut()), ..Default::default() };
    let output = program.test_run(input).map_err(io::Error::other)?;
    match output.return_value as i32 {
        0 => Ok(()),
        err => Err(io::Error::from_raw_os_error(-err)),
    }
}
