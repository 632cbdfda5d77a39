//! Context switches: perf's benchmarks of pipes and messages, on the CPUs of one node.

use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::guest::Scheduler;
use crate::workers::BoundTo;

const BENCHMARKS: [(&str, &[&str]); 2] = [
    ("pipe, 5000 round trips", &["sched", "pipe", "-l", "5000"]),
    ("messaging, a group of 40 processes", &["sched", "messaging", "-g", "1", "-l", "50"]),
];

pub fn measure(pairs: u32) -> Result<()> {
    for pair in 0..pairs {
        for (name, args) in BENCHMARKS {
            super::print(name, "fair class", pair, on_node_0(args)?, "s")?;
        }
        let _scheduler = Scheduler::start(&["--start-node", "0"])?;
        for (name, args) in BENCHMARKS {
            super::print(name, "fixed", pair, on_node_0(args)?, "s")?;
            super::print(name, "migratable", pair, seconds("scx_vnuma", &[&["exec", "--", "perf"], args])?, "s")?;
        }
    }
    Ok(())
}

/// A migratable one goes to node 0 by plan, the others by affinity.
fn on_node_0(args: &[&str]) -> Result<f64> {
    let _bound = BoundTo::node(0)?;
    seconds("perf", &[args])
}

fn seconds(program: &str, args: &[&[&str]]) -> Result<f64> {
    let mut args = args.concat();
    let benchmark = args.iter().position(|&word| word == "sched").context("BUG: no benchmark")?;
    // Nothing but the seconds.
    args.splice(benchmark..benchmark, ["bench", "-f", "simple"]);
    let output = Command::new(program).args(&args).output().with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} ended with {}: {said}{errors}", args.join(" "), output.status);
    said.trim().parse().with_context(|| format!("{program} {} said: {said}", args.join(" ")))
}
