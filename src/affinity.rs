//! Which CPUs threads of this process may use.

use std::io;

/// Lets a thread, or the calling one if `tid` is 0, run on these CPUs only. Those that are offline don't count; it fails when
/// no other is left.
pub fn set(tid: i32, cpus: &[u32]) -> io::Result<()> {
    // SAFETY: a bit mask, for which all bits 0 is valid; CPU_SET's index is below its size; the call only reads it.
    let failed = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        for &cpu in cpus.iter().filter(|&&cpu| (cpu as usize) < libc::CPU_SETSIZE as usize) {
            libc::CPU_SET(cpu as usize, &mut set);
        }
        libc::sched_setaffinity(tid, size_of_val(&set), &set) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The CPUs that the calling thread may use.
pub fn of_this_thread() -> io::Result<Vec<u32>> {
    // SAFETY: as above, but that the call fills it in.
    unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size_of_val(&set), &mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((0..libc::CPU_SETSIZE as u32).filter(|&cpu| libc::CPU_ISSET(cpu as usize, &set)).collect())
    }
}
