//! Keeps the process's memory resident and on its node.
//!
//! In a distributed VM a page may be on another host, so a round that faults waits for the network. `mlockall` keeps
//! resident what is there, malloc is set never to return memory, and an explicit memory policy keeps NUMA balancing from
//! unmapping pages to find out who uses them.
//!
//! The allocator of scx_rustland_core is not an alternative: it ignores alignments larger than its own and locks 64 MiB, a
//! quarter of a small node, for a daemon that needs a few; its `lock_memory()` panics without CAP_SYS_RESOURCE and
//! leaves vm.compact_unevictable_allowed changed after a kill.

use std::io;

/// Lock all current and future memory, and keep malloc from returning any. Call it before other threads allocate.
/// Without CAP_IPC_LOCK it fails if RLIMIT_MEMLOCK is too low.
pub fn lock_memory() -> io::Result<()> {
    const GROW_BY_BYTES: libc::c_int = 1 << 20;
    /// include/uapi/linux/mempolicy.h: allocate on the node of the CPU; no balancing without MPOL_F_NUMA_BALANCING.
    const MPOL_LOCAL: libc::c_int = 4;

    // SAFETY: this mode takes no node mask. A kernel without NUMA refuses it, and has no balancing either.
    unsafe { libc::syscall(libc::SYS_set_mempolicy, MPOL_LOCAL, std::ptr::null::<libc::c_ulong>(), 0) };
    // SAFETY: these calls only change settings of malloc, and no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TOP_PAD, GROW_BY_BYTES);
        // A single arena: malloc would mmap more of them when threads contend.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
    // SAFETY: no pointers.
    match unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The number of page faults of this process since it started, minor and major.
pub fn page_faults() -> u64 {
    // SAFETY: rusage is plain data, which the kernel fills in.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    (usage.ru_minflt + usage.ru_majflt) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_new_page_that_is_touched_is_a_fault() {
        const NR_PAGES: usize = 16;
        let len = NR_PAGES * procfs::page_size() as usize;
        let before = page_faults();
        // SAFETY: a new private mapping, only written within its length and unmapped at the end.
        unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let pages = libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0);
            assert_ne!(pages, libc::MAP_FAILED);
            libc::madvise(pages, len, libc::MADV_NOHUGEPAGE);
            libc::memset(pages, 1, len);
            libc::munmap(pages, len);
        }
        assert!(page_faults() - before >= NR_PAGES as u64);
    }
}
