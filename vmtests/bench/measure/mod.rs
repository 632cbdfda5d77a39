//! What scx_vnuma costs, measured inside a guest: `vnuma-scenarios bench [--short] PART`.
//!
//! Each sample is printed as a line of JSON as soon as it is taken, so that no sample is lost if the guest dies.

mod callbacks;
mod peers;
mod reactions;
mod retarget;
mod switches;
mod wakeups;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::sample::Sample;

/// A part of the benchmarks. Each part is measured on its own.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Part {
    /// Context switches, against the fair class and other schedulers
    Switches,
    /// Wakeup latency of fixed and migratable tasks on CPUs with hogs, against the same schedulers
    Wakeups,
    /// The run time of the BPF programs, and their verified instructions
    Callbacks,
    /// A change of plan, against changing every task's affinity
    Retarget,
    /// How soon work leaves a busy host, and the daemon's CPU time, by --interval
    Reactions,
}

/// How much is measured.
pub struct Extent {
    /// Number of turns of each arm.
    pairs: u32,
    /// Wakeups that each arm measures per turn.
    nr_wakeups: usize,
    /// Time over which the BPF programs are measured.
    watch: Duration,
    /// Numbers of tasks for which the retarget is measured.
    task_counts: &'static [usize],
    /// Number of turns of each interval when reactions are measured.
    turns: u32,
    /// Hogs in each turn of an interval.
    nr_hogs: u32,
    intervals: &'static [Duration],
}

impl Extent {
    /// As short as possible, or as long as needed.
    pub fn of(short: bool) -> &'static Extent {
        if short {
            &Self::SHORT
        } else {
            &Self::FULL
        }
    }

    /// Only checks that each measurement works.
    const SHORT: Extent = Extent {
        pairs: 1,
        nr_wakeups: 100,
        watch: Duration::from_secs(3),
        task_counts: &[10, 100],
        turns: 1,
        nr_hogs: 1,
        intervals: &[Duration::from_millis(500), Duration::from_millis(100)],
    };
    /// Takes enough samples for medians.
    const FULL: Extent = Extent {
        pairs: 10,
        nr_wakeups: 500,
        watch: Duration::from_secs(10),
        task_counts: &[10, 100, 1000, 2000, 10000],
        turns: 2,
        nr_hogs: 5,
        intervals: &[
            Duration::from_millis(2000),
            Duration::from_millis(1000),
            Duration::from_millis(500),
            Duration::from_millis(200),
            Duration::from_millis(100),
            Duration::from_millis(50),
        ],
    };
}

/// Measures a part.
pub fn run(part: Part, extent: &Extent) -> Result<()> {
    match part {
        Part::Switches => switches::measure(extent),
        Part::Wakeups => wakeups::measure(extent),
        Part::Callbacks => callbacks::measure(extent),
        Part::Retarget => retarget::measure(extent),
        Part::Reactions => reactions::measure(extent),
    }
}

fn print(measurement: &str, arm: &str, pair: u32, value: f64, unit: &str) -> Result<()> {
    let sample = Sample { measurement: measurement.into(), arm: arm.into(), pair, value, unit: unit.into() };
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}
