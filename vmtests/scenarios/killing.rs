//! Whenever the daemon is killed, `restore` or the next start undoes everything that it left behind.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{ensure, Context, Result};

use super::leaving::{mixed_load, seen, CHURN_ARGS};
use super::shapes::nothing_is_left;
use crate::guest::workers::{Seen, Worker};
use crate::guest::{print_kernel_state, sched_ext_state, target, wait_for, Affinities, Scheduler};

/// Kills in one guest; there is a guest for every five kills.
const NR_KILLS: u32 = 5;
/// Every fourth daemon is killed while it starts, the others at a random time after, one of them once IRQs have moved.
const DELAY_MAX: Duration = Duration::from_millis(1500);

pub fn killed_at_any_moment_all_is_undone() -> Result<String> {
    let mut random = Random::new()?;
    let seed = random.0;
    println!("        the times of the kills come from VNUMA_SEED={seed}");
    let workers = mixed_load()?;
    let before = (seen(&workers), Affinities::read()?);
    let started = Instant::now();
    drop(Scheduler::start(CHURN_ARGS)?);
    let start_time = started.elapsed();
    all_as_before(&workers, &before)?;

    let mut nr_with_irqs_moved = 0;
    for nr in 0..NR_KILLS {
        let what = kill_and_undo(nr, start_time, &mut random, &before.1);
        nr_with_irqs_moved += u32::from(what.with_context(|| format!("kill {nr}"))?);
        all_as_before(&workers, &before).with_context(|| format!("after kill {nr}"))?;
    }
    ensure!(nr_with_irqs_moved >= NR_KILLS / 4, "IRQs were away at only {nr_with_irqs_moved} of {NR_KILLS} kills");
    Ok(format!("{NR_KILLS} kills, {nr_with_irqs_moved} while IRQs were away; VNUMA_SEED={seed}"))
}

/// Returns true if IRQs were moved when the daemon was killed.
fn kill_and_undo(nr: u32, start_time: Duration, random: &mut Random, before: &Affinities) -> Result<bool> {
    let mut scheduler = if nr.is_multiple_of(4) {
        let scheduler = Scheduler::spawn(CHURN_ARGS)?;
        std::thread::sleep(random.below(start_time));
        scheduler
    } else {
        let scheduler = Scheduler::start(CHURN_ARGS)?;
        if nr % 4 == 2 {
            wait_for("IRQs follow", Duration::from_secs(20), || Ok(Affinities::read()?.irqs != before.irqs))?;
        }
        std::thread::sleep(random.below(DELAY_MAX));
        scheduler
    };
    // Show what it waits for if it does not exit at once.
    scheduler.end(libc::SIGKILL).inspect_err(|_| print_kernel_state())?;
    wait_for("the kernel disables it", Duration::from_secs(20), || Ok(sched_ext_state()? == "disabled"))?;
    let irqs_moved = Affinities::read()?.irqs != before.irqs;

    if nr.is_multiple_of(2) {
        let output = Command::new("scx_vnuma").arg("restore").output()?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "restore ended with {}: {said}", output.status);
    } else {
        let mut next = Scheduler::start(CHURN_ARGS)?;
        wait_for("it moves work", Duration::from_secs(20), || Ok(target()?.epoch > 0))?;
        next.end(if nr % 4 == 1 { libc::SIGINT } else { libc::SIGTERM })?;
    }
    Ok(irqs_moved)
}

fn all_as_before(workers: &[Worker], before: &(Vec<Seen>, Affinities)) -> Result<()> {
    nothing_is_left()?;
    before.1.ensure_same()?;
    for (worker, before) in workers.iter().zip(&before.0) {
        let now = worker.seen();
        ensure!(now == *before, "a task had {before:?} and has {now:?}");
    }
    let busy = workers.first().context("no worker")?;
    let cpu_time = busy.cpu_time()?;
    wait_for("a task goes on", Duration::from_secs(10), || Ok(busy.cpu_time()? > cpu_time))?;
    workers.iter().try_for_each(|worker| worker.cpu_time().map(drop))
}

/// SplitMix64: times that can be reproduced by the seed.
struct Random(u64);

impl Random {
    /// Seeded from VNUMA_SEED, else from the clock.
    fn new() -> Result<Self> {
        let seed = match std::env::var("VNUMA_SEED") {
            Ok(text) => text
                .parse()
                .with_context(|| format!("VNUMA_SEED='{text}' is not a number: unset it or give a number"))?,
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64,
        };
        Ok(Random(seed))
    }

    fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        limit.mul_f64((bits >> 11) as f64 / (1u64 << 53) as f64)
    }
}
