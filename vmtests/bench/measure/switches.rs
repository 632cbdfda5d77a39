//! Context switches: perf's pipe and messaging benchmarks on the CPUs of one node.

use std::process::Command;

use anyhow::{ensure, Context, Result};

use super::{peers, Extent};
use crate::guest::workers::BoundTo;
use crate::guest::Scheduler;

const BENCHMARKS: [(&str, &[&str]); 2] = [
    ("pipe, 5000 round trips", &["sched", "pipe", "-l", "5000"]),
    ("messaging, a group of 40 processes", &["sched", "messaging", "-g", "1", "-l", "300"]),
];

pub fn measure(extent: &Extent) -> Result<()> {
    let mut peers = peers::ALL.to_vec();
    for pair in 0..extent.pairs {
        for (peer, seconds) in peers::measure_under_each(&mut peers, on_node_0) {
            print(peer, pair, seconds)?;
        }
        print("fair class", pair, on_node_0()?)?;
        let _scheduler = Scheduler::start(&["--start-node", "0"])?;
        print("fixed", pair, on_node_0()?)?;
        print("migratable", pair, migratable()?)?;
    }
    Ok(())
}

/// Runs the benchmarks as fixed tasks, bound to node 0 by affinity.
fn on_node_0() -> Result<Vec<f64>> {
    let _bound = BoundTo::node(0)?;
    BENCHMARKS.iter().map(|(_, args)| seconds("perf", &[args])).collect()
}

/// Runs the benchmarks as migratable tasks, sent to node 0 by the plan.
fn migratable() -> Result<Vec<f64>> {
    BENCHMARKS.iter().map(|(_, args)| seconds("scx_vnuma", &[&["exec", "--", "perf"], args])).collect()
}

fn print(arm: &str, pair: u32, seconds: Vec<f64>) -> Result<()> {
    BENCHMARKS.iter().zip(seconds).try_for_each(|((name, _), seconds)| super::print(name, arm, pair, seconds, "s"))
}

fn seconds(program: &str, args: &[&[&str]]) -> Result<f64> {
    let mut args = args.concat();
    let benchmark = args.iter().position(|&word| word == "sched").context("BUG: no benchmark")?;
    // This format prints only the seconds.
    args.splice(benchmark..benchmark, ["bench", "-f", "simple"]);
    let output = Command::new(program).args(&args).output().with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} ended with {}: {said}{errors}", args.join(" "), output.status);
    said.trim().parse().with_context(|| format!("{program} {} said: {said}", args.join(" ")))
}
