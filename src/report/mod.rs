//! What operators see: each decision in words, and the figures over scx_stats and as OpenMetrics.

mod decision;
mod history;
mod http;
mod openmetrics;
mod server;
mod sources;
mod stats;
mod visibility;

use std::collections::BTreeMap;
use std::time::Duration;

pub use decision::{is_news, Decision};
pub use history::{DecisionHistory, HistoryEntry};
pub use http::{BindError, MetricsServer};
pub use openmetrics::{page, CONTENT_TYPE};
pub use server::{describe_stats, explain, monitor, StatsServer};
pub use stats::{Metrics, NodeMetrics, SourceMetrics};
pub use visibility::Visibility;

use crate::bpf::Retargeted;
use crate::cell::{CellView, NodeId, Plan};
use crate::sense::NodeReadings;

/// All that there is to say of a round.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Its number, from 1.
    pub number: u64,
    /// Where migratable work went before that has no node of its own.
    pub destination: NodeId,
    /// What each source said of each node.
    pub readings: BTreeMap<NodeId, NodeReadings>,
    /// What the policy saw.
    pub view: CellView,
    /// What was decided.
    pub plan: Plan,
    /// What was done; `None` when all stays, or in a dry run.
    pub retargeted: Option<Retargeted>,
    /// CPU time of the daemon for the retarget, µs.
    pub retarget_cpu_us: u64,
    /// Tasks that waited in each node's queue when the round began, by node id.
    pub nr_queued: Vec<u32>,
    /// CPU time that probing has taken since the start, of all nodes together.
    pub probed: Duration,
    /// The daemon's page faults since the round before.
    pub page_faults: u64,
    /// What groups are picked by, fewest first, where that depends on what the guest can count.
    pub picked_by: Option<&'static str>,
}
