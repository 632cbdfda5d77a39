//! Child processes that go on in this program, and memory that they share with it.

use anyhow::{ensure, Result};

/// Starts a child that runs `body`, which does not return while all is well. The child dies with this process.
///
/// This program must have one thread.
pub fn fork(body: impl FnOnce()) -> Result<i32> {
    // SAFETY: with one thread no lock is held by another, so the child may go on as usual.
    let pid = unsafe { libc::fork() };
    ensure!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        body();
        std::process::exit(1);
    }
    Ok(pid)
}

/// Kills a child of [`fork`], and waits for its end.
pub fn end(pid: i32) {
    // SAFETY: our own child, not waited for before.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
}

/// `length` bytes of zeros that children share with this process.
pub fn shared_memory(length: usize) -> Result<*mut u8> {
    // SAFETY: a new anonymous mapping, checked below.
    let memory = unsafe {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        libc::mmap(std::ptr::null_mut(), length, access, kind, -1, 0)
    };
    ensure!(memory != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    Ok(memory.cast())
}
