//! What operators do: all that the guide says, under systemd; reload the settings of a daemon that runs, drain a node.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::guest::workers::{Setting, Worker};
use crate::guest::{
    destination, node_stats, nr_nodes, run_ns_in, sched_ext_state, share_elsewhere, wait_for, Scheduler,
};

const SHARE_MIN: f64 = 0.99;

/// Run scx_vnuma as a command. Returns its exit code and what it said.
pub fn scx_vnuma(args: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Command::new("scx_vnuma").args(args).output().context("starting scx_vnuma")?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
}

/// How often migratable tasks were put on a CPU: it counts from the load of the class on.
fn nr_runs() -> Result<u64> {
    (0..nr_nodes()).map(|node| Ok(node_stats(node)?.nr_runs)).sum()
}

pub fn a_reload_changes_selectors_and_policy_without_unloading_the_class() -> Result<String> {
    let config = "/tmp/config.toml";
    let write = |text: &str| std::fs::write(config, text).context("writing the configuration");
    let (nice, plain) = (Worker::start(&Setting::migratable())?, Worker::start(&Setting::default())?);
    write("policy = \"auto\"\nselect = [\"nice>=1\"]\n")?;
    let mut scheduler = Scheduler::start(&["--config", config])?;
    let becomes = |worker: &Worker, migratable: bool| {
        wait_for("the selection follows", Duration::from_secs(10), || Ok(worker.is_migratable() == migratable))
    };
    becomes(&nice, true)?;
    let runs_before = nr_runs()?;

    write("policy = \"coarse\"\nselect = [\"nice>=20\"]\n")?;
    let (code, said) = scx_vnuma(&["reload"])?;
    ensure!(code == Some(1) && said.contains("config.toml:2: select: "), "{code:?}: {said}");
    ensure!(nice.is_migratable() && scx_vnuma(&["status"])?.1.contains("auto"), "a mistake changed something: {said}");

    write("policy = \"coarse\"\nselect = [\"uid=0\"]\n")?;
    let (code, said) = scx_vnuma(&["reload"])?;
    ensure!(code == Some(0) && said.contains("reloaded: policy, select changed"), "{code:?}: {said}");
    becomes(&plain, true)?;
    let (code, status) = scx_vnuma(&["status"])?;
    ensure!(
        code == Some(0) && status.contains("policy    coarse; configured by /tmp/config.toml"),
        "{code:?}: {status}"
    );

    write("policy = \"auto\"\nselect = [\"nice>=1\"]\n")?;
    scheduler.signal(libc::SIGHUP);
    becomes(&plain, false)?;
    ensure!(nice.is_migratable(), "a task that still matches was given back");
    let nr_runs_last = nr_runs()?;
    ensure!(nr_runs_last >= runs_before, "the class was loaded again");
    let log = scheduler.log()?;
    ensure!(log.matches("enabled on").count() == 1, "the class was loaded again: {log}");
    scheduler.end(libc::SIGTERM)?;
    ensure!(scx_vnuma(&["status"])?.0 == Some(3), "status says that it runs");
    Ok(format!("selectors and policy changed twice under one load of the class, which ran tasks {nr_runs_last} times"))
}

fn wait_until_work_runs() -> Result<Duration> {
    wait_for("migratable work runs", Duration::from_secs(20), || {
        Ok(run_ns_in(Duration::from_millis(200), nr_nodes())?.iter().sum::<u64>() > 100_000_000)
    })
}

pub fn a_drained_node_is_left_and_gets_nothing_also_after_a_restart() -> Result<String> {
    const LONG: Duration = Duration::from_secs(3);
    let mut took = Vec::new();
    for policy in ["auto", "coarse", "fine"] {
        let workers = Worker::start_many(2, &Setting::migratable())?;
        let mut scheduler = Scheduler::start(&["--policy", policy])?;
        wait_until_work_runs()?;
        let node = destination()?;
        let (code, said) = scx_vnuma(&["drain", &node.to_string()])?;
        ensure!(code == Some(0) && said.contains(&format!("node {node} is drained")), "{code:?}: {said}");
        let left = wait_for("work leaves the drained node", Duration::from_secs(5), || {
            let run_ns = run_ns_in(Duration::from_millis(100), nr_nodes())?;
            Ok(run_ns[node as usize] == 0 && run_ns.iter().sum::<u64>() > 0)
        })?;
        took.push(format!("{policy} {left:?}"));
        let more = Worker::start_many(2, &Setting::migratable())?;
        let share = share_elsewhere(&run_ns_in(LONG, nr_nodes())?, node)?;
        ensure!(share >= SHARE_MIN, "{policy}: {share:.3} of the run time was off the drained node");
        let status = scx_vnuma(&["status"])?.1;
        ensure!(status.contains(&format!("node {node}    drained: no work runs there")), "{status}");
        let explained = scx_vnuma(&["explain", "-n", "1"])?.1;
        ensure!(explained.contains(&format!("node {node}: drained; ")), "{explained}");
        scheduler.end(libc::SIGTERM)?;

        let mut scheduler = Scheduler::start(&["--policy", policy, "--start-node", &node.to_string()])?;
        wait_until_work_runs()?;
        let share = share_elsewhere(&run_ns_in(LONG, nr_nodes())?, node)?;
        ensure!(share >= SHARE_MIN, "{policy}: after a restart {share:.3} of the run time was off the drained node");
        let others: Vec<String> = (0..nr_nodes()).filter(|&it| it != node).map(|it| it.to_string()).collect();
        let all = ["drain"].into_iter().chain(others.iter().map(String::as_str)).collect::<Vec<_>>();
        let (code, said) = scx_vnuma(&all)?;
        ensure!(code == Some(1) && said.contains("no node would be left"), "{code:?}: {said}");
        let (code, said) = scx_vnuma(&["undrain", &node.to_string()])?;
        ensure!(code == Some(0) && said.contains("no node is drained"), "{code:?}: {said}");
        scheduler.end(libc::SIGTERM)?;
        ensure!(sched_ext_state()? == "disabled");
        drop((workers, more));
    }
    Ok(format!("until nothing ran on the drained node: {}", took.join(", ")))
}

/// Boots a machine of its own: see `vmtests/systemd/run`.
pub fn the_guide_works_in_debian_under_systemd() -> Result<String> {
    let vmtests = PathBuf::from(std::env::var("VMTESTS").context("VMTESTS, which vmtests/run sets")?);
    let output = Command::new(vmtests.join("systemd/run")).output().context("starting systemd/run")?;
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    ensure!(output.status.success(), "{}: {said}", output.status);
    let passed = said.lines().filter_map(|line| line.strip_prefix("systemd| ok "));
    Ok(passed.map(|line| format!("\n    {}", line.trim())).collect())
}
