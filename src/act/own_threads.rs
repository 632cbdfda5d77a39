//! The daemon's own threads run where the work runs: rounds are load too, and a host without room for migratable work has
//! none for them either.

use std::io;

use crate::linux::{affinity, CpuSet};

/// The threads of this process. Dropping it lets them run again wherever they could before.
pub struct OwnThreads {
    /// Where the process was allowed to run when it started. Empty if that is unknown; then nothing is ever moved.
    allowed: CpuSet,
}

impl OwnThreads {
    /// Leave all threads where they are.
    pub fn as_they_are() -> Self {
        let allowed = affinity::of_this_thread();
        let allowed = allowed.inspect_err(|err| log::debug!("reading the affinity of the daemon's threads: {err}"));
        OwnThreads { allowed: allowed.unwrap_or_default() }
    }

    /// Restrict all threads except those of `except` to the CPUs of `cpus` on which the process may run. If there is none, they
    /// stay where they are.
    pub fn retarget(&self, cpus: &CpuSet, except: &[i32]) {
        if let Err(err) = restrict(&cpus.and(&self.allowed), except) {
            log::debug!("the daemon's own threads stay where they are: {err}");
        }
    }
}

impl Drop for OwnThreads {
    fn drop(&mut self) {
        self.retarget(&self.allowed, &[]);
    }
}

fn restrict(cpus: &CpuSet, except: &[i32]) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/task")? {
        let tid = entry?.file_name().to_string_lossy().parse().ok().filter(|tid| !except.contains(tid));
        match tid.map_or(Ok(()), |tid| affinity::set(tid, cpus)) {
            // The thread has ended meanwhile.
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::affinity::tests::changing_affinities;

    #[test]
    fn threads_run_where_the_work_runs_except_those_that_stay() {
        let _alone = changing_affinities();
        let own = OwnThreads::as_they_are();
        let all = own.allowed.clone();
        let last = all.iter().last().unwrap();
        // SAFETY: no arguments.
        let tid = || unsafe { libc::gettid() };
        let (send_tid, tids) = std::sync::mpsc::channel();
        let (stays, go) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send_tid.send(tid()).unwrap();
            go.recv().unwrap();
            affinity::of_this_thread().unwrap()
        });
        own.retarget(&[last, u32::MAX].into(), &[tids.recv().unwrap()]);
        assert_eq!(affinity::of_this_thread().unwrap(), [last].into());
        own.retarget(&[u32::MAX].into(), &[]);
        assert_eq!(affinity::of_this_thread().unwrap(), [last].into(), "it may use none of them");
        stays.send(()).unwrap();
        assert_eq!(thread.join().unwrap(), all);
        drop(own);
        assert_eq!(affinity::of_this_thread().unwrap(), all);
    }
}
