//! The statistics that `--stats` and `--monitor` show, served over scx_stats as by every scx scheduler.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use scx_stats::prelude::*;
use scx_stats_derive::{stat_doc, Stats};
use serde::{Deserialize, Serialize};

/// One node, over the last round unless it says otherwise.
#[stat_doc]
#[derive(Clone, Debug, Default, Serialize, Deserialize, Stats)]
#[stat(_om_prefix = "node_", _om_label = "node")]
pub struct NodeMetrics {
    #[stat(desc = "CPUs online")]
    pub nr_cpus: u32,
    #[stat(desc = "share of the node's CPU that others took, %; -1 when not known")]
    pub pressure_pct: f64,
    #[stat(desc = "CPU in use by everything known, in CPUs")]
    pub load_cpus: f64,
    #[stat(desc = "time that migratable tasks held a CPU since load, ms")]
    pub run_ms: u64,
    #[stat(desc = "the part of run_ms in which the host ran something else, ms")]
    pub stolen_ms: u64,
    #[stat(desc = "times that a migratable task was put on a CPU, since load")]
    pub nr_runs: u64,
    #[stat(desc = "of these: tasks whose affinity forbids their destination")]
    pub nr_elsewhere: u64,
    #[stat(desc = "of these: tasks sent on at once, since the plan had changed under way")]
    pub nr_stragglers: u64,
    #[stat(desc = "queued tasks brought here by changes of plan, since load")]
    pub nr_arrived: u64,
}

/// The daemon.
#[stat_doc]
#[derive(Clone, Debug, Default, Serialize, Deserialize, Stats)]
#[stat(top)]
pub struct Metrics {
    #[stat(desc = "rounds so far")]
    pub nr_rounds: u64,
    #[stat(desc = "the number of the plan in force; it grows with each move")]
    pub epoch: u64,
    #[stat(desc = "the node that migratable work goes to")]
    pub destination: u32,
    #[stat(desc = "the last decision in words", _om_skip)]
    pub decision: String,
    #[stat(desc = "migratable tasks, asleep or not")]
    pub nr_migratable: u64,
    #[stat(desc = "tasks that selectors made migratable, since load")]
    pub nr_selected: u64,
    #[stat(desc = "tasks that went back to the policy they had, since load")]
    pub nr_given_back: u64,
    #[stat(desc = "changes of policy that the kernel refused, since load")]
    pub nr_refused: u64,
    #[stat(desc = "CPU time of the daemon for the last move, us")]
    pub retarget_cpu_us: u64,
    #[stat(desc = "page faults of the daemon in the last round")]
    pub page_faults: u64,
    #[stat(desc = "times that an IRQ was moved after the work, since load")]
    pub nr_irqs_moved: u64,
    #[stat(desc = "IRQs that nobody may move: per-CPU, or managed by the kernel")]
    pub nr_irqs_skipped: u64,
    #[stat(desc = "times that the kernel refused to move an IRQ; it is tried again, since load")]
    pub nr_irqs_refused: u64,
    #[stat(desc = "times that the unbound workqueues were moved after the work, since load")]
    pub nr_workqueues_moved: u64,
    #[stat(desc = "IRQs and workqueues left alone, since somebody else has set them meanwhile")]
    pub nr_left: u64,
    #[stat(desc = "memory moved after processes by --move-memory, bytes since load")]
    pub moved_memory_bytes: u64,
    #[stat(desc = "pages that --move-memory could not move, since load")]
    pub nr_pages_not_moved: u64,
    #[stat(desc = "per node")]
    pub nodes: BTreeMap<u32, NodeMetrics>,
}

impl Metrics {
    fn format(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "{}", self.decision)?;
        writeln!(
            out,
            "  {} migratable ({} selected, {} given back, {} refused), last move {} us, {} page faults",
            self.nr_migratable,
            self.nr_selected,
            self.nr_given_back,
            self.nr_refused,
            self.retarget_cpu_us,
            self.page_faults
        )?;
        for (id, node) in &self.nodes {
            writeln!(
                out,
                "  node {id}{} {:2} CPUs  pressure {:>4.0} %  load {:5.2}  run {:>8} ms  stolen {:>8} ms  \
                 elsewhere {}  stragglers {}  arrived {}",
                if *id == self.destination { '*' } else { ' ' },
                node.nr_cpus,
                node.pressure_pct,
                node.load_cpus,
                node.run_ms,
                node.stolen_ms,
                node.nr_elsewhere,
                node.nr_stragglers,
                node.nr_arrived
            )?;
        }
        Ok(())
    }
}

/// What the statistics server answers with: the latest metrics.
pub fn server_data() -> StatsServerData<(), Metrics> {
    let open: Box<dyn StatsOpener<(), Metrics>> = Box::new(|(_, _)| {
        let read: Box<dyn StatsReader<(), Metrics>> = Box::new(|_args, (request, response)| {
            request.send(())?;
            response.recv()?.to_json()
        });
        Ok(read)
    });
    StatsServerData::new()
        .add_meta(Metrics::meta())
        .add_meta(NodeMetrics::meta())
        .add_ops("top", StatsOps { open, close: None })
}

/// Explains each figure.
pub fn describe_stats(out: &mut impl Write) -> Result<()> {
    server_data().describe_meta(out, None)
}

/// Prints the metrics of the running daemon every `interval` until `stop`.
pub fn monitor(interval: Duration, stop: &Arc<AtomicBool>) -> Result<()> {
    let stopped = || stop.load(Ordering::Relaxed);
    scx_utils::monitor_stats::<Metrics>(&[], interval, stopped, |metrics| metrics.format(&mut std::io::stdout()))
}
