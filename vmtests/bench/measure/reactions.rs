//! How soon migratable work leaves a host that gets busy, and the daemon's CPU time, by the time between two rounds. This needs
//! genuine steal time, and so the lab.

use std::time::Duration;

use anyhow::Result;

use super::Extent;
use crate::guest::workers::{Setting, Worker};
use crate::guest::{destination, hog, Scheduler};
use crate::scenarios::moving::{time_to_leave, wait_until_work_runs};
use crate::scenarios::scale::{cpu_ns, thread_cpu_ns};

const NR_WORKERS: usize = 8;
/// The default would only make the measurement longer: hogs start further apart than this.
const COOL_DOWN: Duration = Duration::from_secs(1);
/// Time over which the daemon's CPU time is measured while nothing happens.
const CALM: Duration = Duration::from_secs(6);

pub fn measure(extent: &Extent) -> Result<()> {
    let _workers = Worker::start_many(NR_WORKERS, &Setting::migratable())?;
    for turn in 0..extent.turns {
        extent.intervals.iter().try_for_each(|&interval| measure_interval(interval, turn, extent.nr_hogs))?;
    }
    Ok(())
}

fn measure_interval(interval: Duration, turn: u32, nr_hogs: u32) -> Result<()> {
    let name = format!("interval of {} ms", interval.as_millis());
    let args = ["--policy", "coarse", "--interval", &in_ms(interval), "--cool-down", &in_ms(COOL_DOWN)];
    let scheduler = Scheduler::start(&args)?;
    wait_until_work_runs()?;
    let (rounds, all) = daemon_shares(scheduler.pid())?;
    super::print(&format!("{name}, the daemon's CPU"), "rounds", turn, rounds * 100.0, "% of a CPU")?;
    super::print(&format!("{name}, the daemon's CPU"), "rounds and probes", turn, all * 100.0, "% of a CPU")?;
    for nr in 0..nr_hogs {
        // Spread the hogs over the time between two rounds: the previous move was at the start of a round.
        std::thread::sleep(COOL_DOWN + interval * nr / nr_hogs);
        let reaction = time_to_leave(destination()?, 1)?;
        hog(&[])?;
        let reaction_ms = reaction.as_secs_f64() * 1e3;
        super::print(&format!("{name}, until work has left"), "scx_vnuma", turn * nr_hogs + nr, reaction_ms, "ms")?;
    }
    Ok(())
}

fn in_ms(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// The shares of a CPU that the daemon uses: its first thread, which does the rounds, and all of its threads.
fn daemon_shares(pid: i32) -> Result<(f64, f64)> {
    let before = (thread_cpu_ns(pid, pid)?, cpu_ns(pid)?);
    std::thread::sleep(CALM);
    let after = (thread_cpu_ns(pid, pid)?, cpu_ns(pid)?);
    let share = |ns: u64| ns as f64 / CALM.as_nanos() as f64;
    Ok((share(after.0 - before.0), share(after.1 - before.1)))
}
