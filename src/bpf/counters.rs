//! The kernel's counters of each CPU and each queue, read by one call per round.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use anyhow::{ensure, Context, Result};
use libbpf_rs::{MapCore, MapMut};

use super::intf;

/// A CPU's times since boot, ns: its id, the time that it spent on the guest's work, and the time that the host took while it
/// wanted to run.
pub type CpuNs = (u32, u64, u64);

/// All counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct KernelCounters {
    /// The online CPUs in order of id; `None` on kernels that don't expose these times to BPF programs.
    pub cpu_times: Option<Vec<CpuNs>>,
    /// Number of tasks waiting in each node's queue, by node id.
    pub nr_queued: Vec<u32>,
    /// Time for which CPUs of each node gave way to others while tasks were queued, since load, ns, by node id; 0 for nodes that
    /// don't give way at the moment.
    pub rested_ns: Vec<u64>,
    /// True if the class sees CPUs being taken from it, and can wake them again once they have rested.
    pub can_give_way: bool,
}

/// The map `cpu_times`, mapped into memory: reading it needs no system call.
pub(super) struct MappedCpuTimes {
    times: NonNull<intf::vnuma_cpu_time>,
    nr_cpu_ids: usize,
}

const NR_CPUS: usize = intf::vnuma_limits_VNUMA_MAX_CPUS as usize;
const MAPPED_LEN: usize = NR_CPUS * size_of::<intf::vnuma_cpu_time>();

impl MappedCpuTimes {
    pub(super) fn of(map: &MapMut<'_>, nr_cpu_ids: usize) -> Result<Self> {
        ensure!(
            (map.max_entries() as usize, map.value_size() as usize) == (NR_CPUS, size_of::<intf::vnuma_cpu_time>()),
            "BUG: the map cpu_times differs from its definition in intf.h"
        );
        // SAFETY: a new shared mapping of a map of this length, checked below.
        let memory = unsafe {
            let fd = map.as_fd().as_raw_fd();
            libc::mmap(std::ptr::null_mut(), MAPPED_LEN, libc::PROT_READ, libc::MAP_SHARED, fd, 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("mapping cpu_times");
        }
        let times = NonNull::new(memory.cast()).context("BUG: cpu_times is mapped at 0")?;
        Ok(MappedCpuTimes { times, nr_cpu_ids: nr_cpu_ids.min(NR_CPUS) })
    }

    pub(super) fn online(&self) -> Vec<CpuNs> {
        let read = |cpu: usize| {
            // SAFETY: inside the mapping, which lives as long as self. Volatile: the kernel writes it.
            unsafe { self.times.add(cpu).read_volatile() }
        };
        let cpus = (0..self.nr_cpu_ids).map(|cpu| (cpu as u32, read(cpu)));
        cpus.filter(|(_, time)| time.is_online != 0).map(|(cpu, time)| (cpu, time.busy_ns, time.steal_ns)).collect()
    }
}

impl Drop for MappedCpuTimes {
    fn drop(&mut self) {
        // SAFETY: the mapping made in of(), which nothing else refers to.
        unsafe { libc::munmap(self.times.as_ptr().cast(), MAPPED_LEN) };
    }
}
