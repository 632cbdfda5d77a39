//! Keeps the daemon's memory where it is.
//!
//! In a distributed VM a page may live on another host, so a round that faults waits for the network. `mlockall` keeps
//! what is there, malloc is told to keep what it got, and a memory policy of our own keeps the kernel's NUMA balancing
//! from unmapping pages to see who uses them.
//!
//! Why not the allocator of scx_rustland_core: it ignores alignments above its own and locks 64 MiB, a quarter of a
//! small node, for a daemon that needs a few; and its `lock_memory()` panics without CAP_SYS_RESOURCE and leaves
//! vm.compact_unevictable_allowed changed after a kill.

use std::io;

/// Locks all memory, now and later, and keeps malloc from giving any back.
pub fn lock_memory() -> io::Result<()> {
    const GROW_BY: libc::c_int = 1 << 20;
    /// include/uapi/linux/mempolicy.h: allocate on the node of the CPU; no balancing without MPOL_F_NUMA_BALANCING.
    const MPOL_LOCAL: libc::c_int = 4;

    // SAFETY: this mode takes no node mask. A kernel without NUMA refuses it, and doesn't balance.
    unsafe { libc::syscall(libc::SYS_set_mempolicy, MPOL_LOCAL, std::ptr::null::<libc::c_ulong>(), 0) };
    // SAFETY: plain settings of malloc, before any other thread runs.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TOP_PAD, GROW_BY);
        // One arena: a second one is made by mmap when threads contend.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
    // SAFETY: no pointers.
    match unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Page faults of this process since it began, minor and major.
pub fn page_faults() -> u64 {
    // SAFETY: rusage is plain data, which the kernel fills in.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    (usage.ru_minflt + usage.ru_majflt) as u64
}
