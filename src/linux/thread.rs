//! Starts the daemon's threads.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Start a thread with a name, of which the kernel shows the first 15 bytes, and a stack of `stack_bytes`. The daemon locks
/// its memory, stacks included, so a thread should get no more than it needs rather than the default of 2 MiB.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    stack_bytes: usize,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).stack_size(stack_bytes).spawn(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_shows_the_name_of_a_thread() {
        let comm = || std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert_eq!(spawn("probe 3", 64 << 10, comm).unwrap().join().unwrap(), "probe 3\n");
    }
}
