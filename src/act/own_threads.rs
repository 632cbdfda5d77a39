//! The daemon's own threads go where the work goes: rounds are load, too, and a host that has no room for migratable work has
//! none for them.

use std::io;

use crate::affinity;

/// The threads of this process. They may run where they did before once this is dropped.
pub struct OwnThreads {
    /// Where whoever started us lets us run; nowhere if that can't be known, and then nothing is moved.
    allowed: Vec<u32>,
}

impl OwnThreads {
    /// None has been moved yet.
    pub fn as_they_are() -> Self {
        let allowed = affinity::of_this_thread();
        let allowed = allowed.inspect_err(|err| log::debug!("where the daemon's threads may run is unknown: {err}"));
        OwnThreads { allowed: allowed.unwrap_or_default() }
    }

    /// Sends all threads `but` these to those of `cpus` that they may use. Without any of them they stay where they are.
    pub fn follow(&self, cpus: &[u32], but: &[i32]) {
        let cpus: Vec<u32> = cpus.iter().copied().filter(|cpu| self.allowed.contains(cpu)).collect();
        if let Err(err) = follow(&cpus, but) {
            log::debug!("the daemon's own threads stay: {err}");
        }
    }
}

impl Drop for OwnThreads {
    fn drop(&mut self) {
        self.follow(&self.allowed, &[]);
    }
}

fn follow(cpus: &[u32], but: &[i32]) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/task")? {
        let tid = entry?.file_name().to_string_lossy().parse().ok().filter(|tid| !but.contains(tid));
        match tid.map_or(Ok(()), |tid| affinity::set(tid, cpus)) {
            // It has ended meanwhile.
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_go_where_the_work_goes_but_for_those_that_stay() {
        let own = OwnThreads::as_they_are();
        let &last = own.allowed.last().unwrap();
        // SAFETY: no arguments.
        let tid = || unsafe { libc::gettid() };
        let all = own.allowed.clone();
        let (send_tid, tids) = std::sync::mpsc::channel();
        let (stays, go) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send_tid.send(tid()).unwrap();
            go.recv().unwrap();
            affinity::of_this_thread().unwrap()
        });
        own.follow(&[last, u32::MAX], &[tids.recv().unwrap()]);
        assert_eq!(affinity::of_this_thread().unwrap(), [last]);
        own.follow(&[u32::MAX], &[]);
        assert_eq!(affinity::of_this_thread().unwrap(), [last], "none of them may be used");
        stays.send(()).unwrap();
        assert_eq!(thread.join().unwrap(), all);
        drop(own);
        assert_eq!(affinity::of_this_thread().unwrap(), all);
    }
}
