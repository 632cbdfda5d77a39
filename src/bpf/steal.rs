//! A CPU's stolen time, read on that CPU at any moment and in ns.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use libbpf_rs::libbpf_sys::{bpf_prog_test_run_opts, bpf_test_run_opts};
use libbpf_rs::ProgramMut;

use super::{intf, NoPadding, Plain};

/// Calls the program `read_steal`; may go to another thread.
pub struct StealReader {
    program: OwnedFd,
}

impl StealReader {
    pub(super) fn of(program: &ProgramMut<'_>) -> Result<Self> {
        let program = program.as_fd().try_clone_to_owned().context("keeping the program read_steal")?;
        Ok(StealReader { program })
    }

    /// The stolen time since boot of the CPU that the calling thread is on, ns.
    pub fn read_ns(&self) -> io::Result<u64> {
        let mut args = intf::vnuma_steal_args::zeroed();
        let bytes = args.as_bytes_mut();
        let mut options = bpf_test_run_opts {
            sz: size_of::<bpf_test_run_opts>() as _,
            // The kernel writes what the program answers back to it.
            ctx_in: bytes.as_mut_ptr().cast(),
            ctx_size_in: bytes.len() as u32,
            ..Default::default()
        };
        // SAFETY: the descriptor is open, and the pointers in options are to args, which outlives the call.
        match unsafe { bpf_prog_test_run_opts(self.program.as_raw_fd(), &mut options) } {
            0 => Ok(args.steal_ns),
            err => Err(io::Error::from_raw_os_error(-err)),
        }
    }
}
