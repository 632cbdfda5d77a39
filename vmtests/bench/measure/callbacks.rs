//! The run time of each BPF program, and the number of instructions that the verifier processed.

use anyhow::{ensure, Context, Result};
use libbpf_rs::query::ProgInfoIter;

use super::Extent;
use crate::guest::workers::{Setting, Worker};
use crate::guest::Scheduler;

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

pub fn measure(extent: &Extent) -> Result<()> {
    std::fs::write(STATS, "1").context(STATS)?;
    let outcome = under_load(extent);
    std::fs::write(STATS, "0").context(STATS)?;
    outcome
}

/// The load is busy loops and tasks that sleep and wake; the plan sends all of it to another node twice a second.
fn under_load(extent: &Extent) -> Result<()> {
    let _busy = Worker::start_many(4, &Setting::migratable())?;
    let _in_bursts = Worker::start_many(4, &Setting { in_bursts: true, ..Setting::migratable() })?;
    let _scheduler = Scheduler::start(&["--policy", "rotate", "--no-guards", "--interval", "500ms"])?;
    std::thread::sleep(extent.watch);
    let mut verified = 0;
    for program in ProgInfoIter::default() {
        let name = program.name.to_string_lossy().into_owned();
        let Some(callback) = name.strip_prefix("vnuma_") else { continue };
        verified += program.verified_insns;
        if program.run_cnt > 0 {
            let each_ns = program.run_time_ns as f64 / program.run_cnt as f64;
            super::print(&format!("callback {callback}"), "scx_vnuma", 0, each_ns, "ns")?;
        }
    }
    ensure!(verified > 0, "no program of the scheduler class is loaded");
    super::print("instructions verified, all callbacks", "scx_vnuma", 0, f64::from(verified), "instructions")
}
