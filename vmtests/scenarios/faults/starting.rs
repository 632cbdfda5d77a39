//! Starts that must be refused, and starts that meet each other.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{ensure, Result};
use scx_vnuma::daemon::LOCK_FILE;

use super::super::leaving::{seen, settled};
use super::super::shapes::nothing_is_left;
use crate::guest::workers::{Setting, Worker};
use crate::guest::{sched_ext_state, target, wait_for, Scheduler};

const ARGS: &[&str] = &["--policy", "coarse", "--interval", "200ms"];

/// Return true if this refuses to run beside another scx_vnuma that starts or runs.
fn is_refusal(said: &str) -> bool {
    said.contains("another scx_vnuma") || said.contains("scx_vnuma is running")
}

/// What a command printed.
fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

pub fn in_another_pid_namespace_nothing_is_touched() -> Result<String> {
    // In a namespace with few processes, ids of the initial one name other tasks or none.
    let bystanders = Worker::start_many(3, &Setting::migratable())?;
    let before = settled(&bystanders);
    for args in [ARGS, &["restore"], &["exec", "--", "true"]] {
        let mut command = Command::new("timeout");
        command.args(["60", "unshare", "--pid", "--fork", "--mount-proc", "scx_vnuma"]).args(args);
        let output = command.output()?;
        let said = said(&output);
        ensure!(!output.status.success() && said.contains("its own PID namespace"), "{args:?}: {said}");
        nothing_is_left()?;
    }
    ensure!(seen(&bystanders) == before, "tasks had {before:?} and have {:?}", seen(&bystanders));
    Ok(String::new())
}

pub fn of_two_starts_one_is_refused_and_the_others_kill_is_undone() -> Result<String> {
    let workers = Worker::start_many(1, &Setting::migratable())?;
    let before = settled(&workers);
    for delay in [Duration::ZERO, Duration::from_millis(300)] {
        let first = Scheduler::spawn(ARGS)?;
        std::thread::sleep(delay);
        let mut both = [first, Scheduler::spawn(ARGS)?];
        wait_for("one gives up", Duration::from_secs(60), || {
            let alive = both.iter_mut().map(Scheduler::is_alive).collect::<Result<Vec<_>>>()?;
            ensure!(alive.contains(&true), "both gave up: {} {}", both[0].log()?, both[1].log()?);
            Ok(alive.contains(&false))
        })?;
        let [first, second] = &mut both;
        let (winner, loser) = if first.is_alive()? { (first, second) } else { (second, first) };
        ensure!(is_refusal(&loser.log()?), "one said {}", loser.log()?);
        works(winner, &workers)?;
        kill_and_restore(winner)?;
        ensure!(seen(&workers) == before, "it had {before:?} and has {:?}", seen(&workers));
    }
    Ok(String::new())
}

pub fn restore_during_a_start_undoes_nothing() -> Result<String> {
    let workers = Worker::start_many(1, &Setting::migratable())?;
    let before = settled(&workers);
    let mut scheduler = Scheduler::spawn(ARGS)?;
    // If `restore` had the lock first, the start would be the one that is refused.
    let has_lock =
        || Ok(std::fs::read_to_string(LOCK_FILE).is_ok_and(|text| text.trim() == scheduler.pid().to_string()));
    wait_for("it takes the lock", Duration::from_secs(60), has_lock)?;
    let mut nr_refused = 0;
    wait_for("it becomes enabled", Duration::from_secs(60), || {
        let output = Command::new("scx_vnuma").arg("restore").output()?;
        let said = said(&output);
        if output.status.success() {
            ensure!(said.contains("nothing to restore"), "restore said: {said}");
        } else {
            nr_refused += 1;
            ensure!(is_refusal(&said), "restore said: {said}");
        }
        ensure!(scheduler.is_alive()?, "scx_vnuma has ended: {}", scheduler.log()?);
        Ok(scheduler.log()?.contains("enabled on"))
    })?;
    ensure!(nr_refused > 0, "no restore met the start");
    works(&mut scheduler, &workers)?;
    kill_and_restore(&mut scheduler)?;
    ensure!(seen(&workers) == before, "it had {before:?} and has {:?}", seen(&workers));
    Ok(format!("{nr_refused} times refused"))
}

/// Fails unless the scheduler is enabled with its pins, and takes the workers.
fn works(scheduler: &mut Scheduler, workers: &[Worker]) -> Result<()> {
    wait_for("it takes the task", Duration::from_secs(60), || {
        ensure!(scheduler.is_alive()?, "it ended: {}", scheduler.log()?);
        Ok(workers.iter().all(Worker::is_migratable))
    })?;
    target()?;
    Ok(())
}

/// Kills the daemon, and has `restore` undo what it leaves.
pub fn kill_and_restore(scheduler: &mut Scheduler) -> Result<()> {
    scheduler.end(libc::SIGKILL)?;
    restore()
}

/// Has `restore` undo what a killed daemon has left.
pub fn restore() -> Result<()> {
    wait_for("the kernel disables it", Duration::from_secs(20), || Ok(sched_ext_state()? == "disabled"))?;
    let output = Command::new("scx_vnuma").arg("restore").output()?;
    let said = said(&output);
    ensure!(output.status.success() && said.contains("went back"), "restore said: {said}");
    nothing_is_left()
}
