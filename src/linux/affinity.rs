//! The CPUs that threads of this process may run on.

use std::io;

use super::cpu_set::{CpuSet, MaskWord};

/// Restrict a thread, or the calling one if `tid` is 0, to these CPUs. The kernel ignores CPUs that are offline or do not
/// exist, and fails with EINVAL if no other is left.
pub fn set(tid: i32, cpus: &CpuSet) -> io::Result<()> {
    let words = cpus.to_words();
    // SAFETY: the call only reads the mask, whose length in bytes is passed; it takes masks of any length.
    let status = unsafe { libc::sched_setaffinity(tid, size_of_val(&words[..]), words.as_ptr().cast()) };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The CPUs that the calling thread may run on.
pub fn of_this_thread() -> io::Result<CpuSet> {
    read_mask(1024 / MaskWord::BITS as usize)
}

/// Read the mask of the calling thread into `nr_words` words, or twice as many until they are as many as the kernel's.
fn read_mask(mut nr_words: usize) -> io::Result<CpuSet> {
    /// More than any kernel's mask has.
    const NR_WORDS_MAX: usize = 1 << 14;

    loop {
        let mut words: Vec<MaskWord> = vec![0; nr_words];
        // SAFETY: the call writes at most the mask's length in bytes, which is passed.
        let status = unsafe { libc::sched_getaffinity(0, size_of_val(&words[..]), words.as_mut_ptr().cast()) };
        if status == 0 {
            return Ok(CpuSet::from_words(&words));
        }
        let err = io::Error::last_os_error();
        let is_short = err.raw_os_error() == Some(libc::EINVAL) && nr_words < NR_WORDS_MAX;
        if !is_short {
            return Err(err);
        }
        nr_words = (2 * nr_words).max(1);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// For tests that change affinities: some change those of all threads, other tests' threads among them.
    pub(crate) fn changing_affinities() -> MutexGuard<'static, ()> {
        static CHANGING: Mutex<()> = Mutex::new(());
        CHANGING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_thread_runs_where_it_is_set_to() {
        let _alone = changing_affinities();
        let allowed = of_this_thread().unwrap();
        let first = allowed.iter().take(1).collect::<CpuSet>();
        set(0, &first).unwrap();
        assert_eq!(of_this_thread().unwrap(), first);
        set(0, &allowed).unwrap();
        assert_eq!(of_this_thread().unwrap(), allowed);
    }

    #[test]
    fn a_mask_shorter_than_the_kernels_is_extended() {
        let _alone = changing_affinities();
        assert_eq!(read_mask(0).unwrap(), of_this_thread().unwrap());
    }

    #[test]
    fn cpus_that_do_not_exist_are_ignored_whatever_their_id() {
        let _alone = changing_affinities();
        let allowed = of_this_thread().unwrap();
        let with_absent_cpus: CpuSet = allowed.iter().chain([1024, 9000]).collect();
        set(0, &with_absent_cpus).unwrap();
        assert_eq!(of_this_thread().unwrap(), allowed);
        // No kernel has so many CPUs, so none is left.
        assert_eq!(set(0, &CpuSet::from([90_000])).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(of_this_thread().unwrap(), allowed);
    }

    #[test]
    fn an_empty_set_is_refused() {
        assert_eq!(set(0, &CpuSet::default()).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
