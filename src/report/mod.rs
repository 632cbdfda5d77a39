//! What operators see: each decision explained in text, metrics over scx_stats and as OpenMetrics, a page about a run, and a screen.

mod client;
mod decision;
mod groups;
mod history;
mod http;
mod links;
mod openmetrics;
mod output;
mod peers;
mod run;
mod server;
mod slo;
mod sources;
mod stats;
mod status;
mod top;
mod visibility;

use std::collections::BTreeMap;
use std::time::Duration;

pub use client::{control, explain, links, monitor, status, NotRunning};
pub use decision::{is_news, Decision, DecisionReport};
pub use groups::GroupReport;
pub use history::{DecisionHistory, HistoryEntry};
pub use http::{BindError, MetricsServer};
pub use links::{LinksReport, Sharer, SharingPair};
pub use openmetrics::{page, text_page, CONTENT_TYPE, TEXT_CONTENT_TYPE};
pub use output::{print, OutputError};
#[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
pub(crate) use run::page_of;
pub use run::{run_page, write_run_page, RunPage, RunPageError};
pub use server::{describe_stats, Control, StatsServer, DRAINED, DRY_RUN_BEGIN, DRY_RUN_END, RELOAD};
pub use slo::SloReport;
pub use stats::{Metrics, NodeMetrics, SloMetrics, SourceMetrics};
pub use status::{NodeStatus, Setup, StatusReport};
pub use top::{top, Act, TopAction};
pub use visibility::Visibility;

use crate::bpf::Retargeted;
use crate::cell::{CellView, Node, NodeId, Plan};
use crate::sense::NodeReadings;

/// Everything to report about a round.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Number of the round, from 1.
    pub number: u64,
    /// Destination, before this round, of migratable work without a node of its own.
    pub destination: NodeId,
    /// The sources' readings of each node.
    pub readings: BTreeMap<NodeId, NodeReadings>,
    /// What the policy saw.
    pub view: CellView,
    /// What the policy decided.
    pub plan: Plan,
    /// The nodes as the policy observed them first, if the plan was then confirmed by fresher readings.
    pub observed: Option<Vec<Node>>,
    /// How the plan was carried out; `None` if nothing moves, or in a dry run.
    pub retargeted: Option<Retargeted>,
    /// CPU time of the daemon for the change of plan, µs.
    pub retarget_cpu_us: u64,
    /// Length of each node's queue of waiting tasks when the round began, by node id.
    pub nr_queued: Vec<u32>,
    /// CPU time that probing has used since the start, over all nodes.
    pub probed: Duration,
    /// The daemon's page faults since the previous round.
    pub page_faults: u64,
    /// How long a vCPU waits for a page, in seconds, by the hosts' own count; `None` where they don't tell.
    pub page_s: Option<f64>,
    /// The quantity that groups are picked by, lowest first, if it depends on what the guest can count (`--order mai`).
    pub picked_by: Option<&'static str>,
    /// The latency objectives, in order of the options.
    pub slos: Vec<SloReport>,
}
