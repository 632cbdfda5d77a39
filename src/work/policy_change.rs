//! Changes the policies of tasks that others may change at the same time.
//!
//! The kernel has no call that changes a policy only if it is still a certain one. A task that becomes a real-time task
//! between the look and the change would lose its priority for good, so each change looks again right before the call. What
//! remains is the time between two system calls.

use std::io;
use std::sync::OnceLock;

use procfs::ProcError;

use super::policy;
use super::TaskRecord;

/// The flag that is stored with the policy (include/uapi/linux/sched.h). A change of policy clears it unless it is
/// passed.
const SCHED_RESET_ON_FORK: libc::c_int = 0x4000_0000;

/// Make the calling thread migratable. It keeps its nice value and affinity.
pub fn make_migratable() -> io::Result<()> {
    set_policy(0, policy_and_flag(0)?, policy::EXT)
}

/// Make a task migratable whose policy is `own_policy`, as the scheduler class has just recorded it. Returns false, and changes
/// nothing, if the task has another policy by now or has ended.
pub(super) fn select(tid: i32, own_policy: u32) -> io::Result<bool> {
    change(tid, own_policy, policy::EXT)
}

/// Restore a migratable task's own policy. Returns false, and changes nothing, if the task is no longer migratable or has
/// ended, also if another one has its id by now.
pub(super) fn give_back(task: &TaskRecord, own_policy: u32) -> io::Result<bool> {
    match is_still_there(task) {
        true => change(task.tid, policy::EXT, own_policy),
        false => Ok(false),
    }
}

fn change(tid: i32, from: u32, to: u32) -> io::Result<bool> {
    let found = match policy_and_flag(tid) {
        Ok(found) => found,
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
        Err(err) => return Err(err),
    };
    if (found & !SCHED_RESET_ON_FORK) as u32 != from {
        return Ok(false);
    }
    match set_policy(tid, found, to) {
        Ok(()) => Ok(true),
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(err) => Err(err),
    }
}

fn policy_and_flag(tid: i32) -> io::Result<libc::c_int> {
    // SAFETY: no pointers.
    let found = unsafe { libc::sched_getscheduler(tid) };
    match found {
        0.. => Ok(found),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_policy(tid: i32, found: libc::c_int, policy: u32) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: param outlives the call.
    match unsafe { libc::sched_setscheduler(tid, policy as libc::c_int | (found & SCHED_RESET_ON_FORK), &param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Return true if the record's id is still that of the record's task.
fn is_still_there(task: &TaskRecord) -> bool {
    const NS_PER_S: i128 = 1_000_000_000;

    let found = procfs::process::Process::new(task.tgid).and_then(|process| process.task_from_tid(task.tid)?.stat());
    let stat = match found {
        Ok(stat) => stat,
        Err(ProcError::NotFound(_)) => return false,
        // As with too many open files. The policy is looked at in any case.
        Err(err) => {
            log::debug!("reading when task {} started: {err}", task.tid);
            return true;
        }
    };
    // /proc shows the time of its reader's time namespace, in ticks.
    let started_at_ns = i128::from(task.started_at_ns) + i128::from(boottime_offset_ns());
    i128::from(stat.starttime) == started_at_ns * i128::from(procfs::ticks_per_second()) / NS_PER_S
}

/// What this process's time namespace adds to the time since boot, ns. It can't change while the process runs.
fn boottime_offset_ns() -> i64 {
    static OFFSET_NS: OnceLock<i64> = OnceLock::new();
    *OFFSET_NS.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        parse_boottime_offset(&text).unwrap_or(0)
    })
}

/// Parse /proc/PID/timens_offsets: a clock, seconds and nanoseconds a line.
fn parse_boottime_offset(text: &str) -> Option<i64> {
    let mut fields = text.lines().find_map(|line| line.strip_prefix("boottime"))?.split_whitespace();
    let (seconds, ns): (i64, i64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(ns)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::linux::clock::time_since_boot;
    use crate::work::test_task;

    /// Pass `act` the record of a live thread with this policy. Returns the thread's policy afterwards.
    fn policy_after(policy: u32, act: impl FnOnce(&TaskRecord)) -> u32 {
        let (tell, told) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: no arguments.
            let tid = unsafe { libc::gettid() };
            set_policy(0, 0, policy).unwrap();
            let stat = procfs::process::Process::myself().unwrap().task_from_tid(tid).unwrap().stat().unwrap();
            let started_at_ns = stat.starttime * 1_000_000_000 / procfs::ticks_per_second() + 1;
            tell.send(TaskRecord { tgid: std::process::id() as i32, started_at_ns, ..test_task(tid, "t") }).unwrap();
            wait.recv().unwrap();
            policy_and_flag(0).unwrap() as u32
        });
        act(&told.recv().unwrap());
        go.send(()).unwrap();
        thread.join().unwrap()
    }

    #[test]
    fn a_policy_changes_only_from_what_it_was_seen_to_be() {
        let unchanged = policy_after(policy::BATCH, |task| {
            assert!(!change(task.tid, policy::NORMAL, policy::IDLE).unwrap());
        });
        assert_eq!(unchanged, policy::BATCH);
        let changed = policy_after(policy::BATCH, |task| {
            assert!(change(task.tid, policy::BATCH, policy::IDLE).unwrap());
        });
        assert_eq!(changed, policy::IDLE);
    }

    #[test]
    fn a_task_that_is_not_migratable_is_not_given_back() {
        let unchanged = policy_after(policy::BATCH, |task| assert!(!give_back(task, policy::NORMAL).unwrap()));
        assert_eq!(unchanged, policy::BATCH);
    }

    #[test]
    fn a_task_is_told_from_an_earlier_one_with_its_id() {
        policy_after(policy::NORMAL, |task| {
            assert!(is_still_there(task), "{} ns", task.started_at_ns);
            let earlier = TaskRecord { started_at_ns: task.started_at_ns - 1_000_000_000, ..task.clone() };
            assert!(!is_still_there(&earlier));
            assert!(!is_still_there(&TaskRecord { tgid: 1, ..task.clone() }));
            assert!(task.started_at_ns <= time_since_boot().as_nanos() as u64);
        });
    }

    #[test]
    fn a_task_that_has_ended_is_no_error() {
        // Above the largest id that the kernel gives (include/linux/threads.h).
        assert!(!change(1 << 23, policy::NORMAL, policy::EXT).unwrap());
        assert!(!give_back(&test_task(1 << 23, "t"), policy::NORMAL).unwrap());
    }

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        assert_eq!(
            parse_boottime_offset("monotonic           0         0\nboottime            3       500\n"),
            Some(3_000_000_500)
        );
        assert_eq!(parse_boottime_offset("monotonic  0 0\n"), None);
    }
}
