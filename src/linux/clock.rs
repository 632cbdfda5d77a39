//! The CPU time of the calling thread, and the time since boot.

use std::time::Duration;

/// CPU time that the calling thread has used since it started, in user and kernel mode.
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time outlives the call, which fills it in; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Time since boot, suspends included: the clock by which the kernel notes when a task started.
pub fn time_since_boot() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time outlives the call, which fills it in; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn time_passes_while_the_thread_runs_and_not_while_it_sleeps() {
        let (before, start) = (thread_cpu_time(), Instant::now());
        while thread_cpu_time() - before < Duration::from_millis(5) {
            assert!(start.elapsed() < Duration::from_secs(10), "no CPU time passes");
        }
        let before = thread_cpu_time();
        std::thread::sleep(Duration::from_millis(50));
        assert!(thread_cpu_time() - before < Duration::from_millis(50));
    }
}
