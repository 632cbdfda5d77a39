//! The steal time of a CPU in ns, read on that CPU at any moment.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use libbpf_rs::ProgramMut;

use super::{intf, run_by_fd, Plain};

/// Calls the program `read_steal`. It can be sent to another thread.
pub struct StealReader {
    program: OwnedFd,
}

impl StealReader {
    pub(super) fn of(program: &ProgramMut<'_>) -> Result<Self> {
        let program = program.as_fd().try_clone_to_owned().context("keeping the program read_steal")?;
        Ok(StealReader { program })
    }

    /// The steal time since boot of the CPU that the calling thread is on, ns.
    pub fn read_ns(&self) -> io::Result<u64> {
        let mut args = intf::vnuma_steal_args::zeroed();
        run_by_fd(self.program.as_fd(), &mut args)?;
        Ok(args.steal_ns)
    }
}
