//! Tasks that become real-time tasks while they are selected keep their policy and priority.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{ensure, Result};

use crate::guest::workers::{Setting, Worker};
use crate::guest::Scheduler;

const NR_THREADS: usize = 12;
const NR_SLEEPERS: u32 = 1500;
const FIFO_PRIORITY: i32 = 10;
const TIME: Duration = Duration::from_secs(60);

/// What the threads share.
#[derive(Default)]
struct Toggling {
    is_over: AtomicBool,
    nr_toggles: AtomicU64,
    /// Times that a thread was a FIFO task and found itself to be none.
    nr_demoted: AtomicU64,
}

pub fn real_time_tasks_stay_real_time() -> Result<String> {
    // They make the time between a round's look at a task and its change of the policy longer.
    let _sleepers = Worker::start(&Setting { asleep: true, nr_threads: NR_SLEEPERS, ..Setting::migratable() })?;
    let mut scheduler = Scheduler::start(&["--interval", "50ms"])?;
    let (toggling, may_end) = (Toggling::default(), AtomicBool::new(false));
    let at_the_end = std::thread::scope(|scope| -> Result<Vec<(i32, i32)>> {
        let toggle = |seed| {
            toggle_until_over(&toggling, seed);
            wait_for_flag(&may_end);
            own_policy()
        };
        let threads: Vec<_> = (1..=NR_THREADS as u64).map(|seed| scope.spawn(move || toggle(seed))).collect();
        std::thread::sleep(TIME);
        toggling.is_over.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(1));
        let log = scheduler.end(libc::SIGTERM);
        may_end.store(true, Ordering::Relaxed);
        let ends = threads.into_iter().map(|thread| thread.join().expect("BUG: the thread panicked"));
        let ends = ends.collect::<Result<Vec<_>>>();
        ensure!(!log?.contains("can't get its former policy back"), "a task was selected with a policy of no use");
        ends
    })?;
    ensure!(at_the_end == [(libc::SCHED_FIFO, FIFO_PRIORITY); NR_THREADS], "at the end: {at_the_end:?}");
    let [toggles, demoted] = [&toggling.nr_toggles, &toggling.nr_demoted].map(|count| count.load(Ordering::Relaxed));
    Ok(format!("of {toggles} turns as a FIFO task, {demoted} were cut short"))
}

/// Be a task that is selected and a real-time task in turn, for up to 3 ms each, and end as the latter.
fn toggle_until_over(toggling: &Toggling, seed: u64) {
    let mut state = seed;
    let mut pause = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        std::thread::sleep(Duration::from_micros(state % 3000));
    };
    // SAFETY: no pointers; 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 5) };
    loop {
        set_own_policy(libc::SCHED_FIFO, FIFO_PRIORITY);
        if toggling.is_over.load(Ordering::Relaxed) {
            return;
        }
        pause();
        let is_demoted = !matches!(own_policy(), Ok((libc::SCHED_FIFO, FIFO_PRIORITY)));
        toggling.nr_demoted.fetch_add(u64::from(is_demoted), Ordering::Relaxed);
        toggling.nr_toggles.fetch_add(1, Ordering::Relaxed);
        set_own_policy(libc::SCHED_OTHER, 0);
        pause();
    }
}

fn wait_for_flag(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn set_own_policy(policy: i32, priority: i32) {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: param outlives the call.
    unsafe { libc::sched_setscheduler(0, policy, &param) };
}

/// The calling thread's policy and real-time priority.
fn own_policy() -> Result<(i32, i32)> {
    let mut param = libc::sched_param { sched_priority: -1 };
    // SAFETY: param outlives the call.
    let policy = unsafe {
        libc::sched_getparam(0, &mut param);
        libc::sched_getscheduler(0)
    };
    ensure!(policy >= 0, "sched_getscheduler: {}", std::io::Error::last_os_error());
    Ok((policy, param.sched_priority))
}
