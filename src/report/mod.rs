//! What operators see: each decision in words, and the statistics server.

mod decision;
mod stats;

pub use decision::{in_words, is_news, steal_in_words};
pub use stats::{describe_stats, monitor, server_data, Metrics, NodeMetrics};

use crate::bpf::Retargeted;
use crate::cell::{CellView, NodeId, Plan};

/// All that there is to say of a round.
#[derive(Clone, Debug)]
pub struct Round {
    /// Its number, from 1.
    pub number: u64,
    /// Where migratable work went before.
    pub destination: NodeId,
    /// What was seen.
    pub view: CellView,
    /// What was decided.
    pub plan: Plan,
    /// What was done; `None` when all stays, or in a dry run.
    pub retargeted: Option<Retargeted>,
    /// CPU time of the daemon for the retarget, µs.
    pub retarget_cpu_us: u64,
    /// The daemon's page faults since the round before.
    pub page_faults: u64,
}
