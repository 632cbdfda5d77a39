//! The state that [`Auto`](super::Auto) keeps between rounds: a plain value, so that a decision log replays exactly.

use std::collections::{BTreeMap, BTreeSet};

use crate::cell::{GroupId, NodeId};

/// The state that [`Auto`](super::Auto) keeps for one cell. Instants are rounds since the first round.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AutoMemory {
    /// Rounds observed so far, by the length of their windows.
    pub(super) now: f64,
    pub(super) nodes: BTreeMap<NodeId, NodeMemory>,
    pub(super) groups: BTreeMap<GroupId, GroupMemory>,
    /// The nodes chosen to do the work: as few as can supply the demand.
    pub(super) chosen: BTreeSet<NodeId>,
    /// The first destination of the last plan.
    pub(super) first: Option<NodeId>,
    /// Since when one chosen node fewer would have been enough.
    pub(super) slack_since: Option<f64>,
    /// Bytes that moves may still transfer.
    pub(super) bytes_left: f64,
}

/// The state kept for a node.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct NodeMemory {
    /// The last fresh reading.
    pub(super) known_at: Option<f64>,
    /// Mean of others' use, a share of the capacity, and its variance between rounds.
    pub(super) mean_share: f64,
    pub(super) variance: f64,
    /// The largest recent use, decaying with time.
    pub(super) burst_share: f64,
    /// The CUSUM statistic.
    pub(super) jump_rounds: f64,
    /// The last jump of others' use.
    pub(super) hit_at: Option<f64>,
    /// The node was hit and has not been calm for long enough since.
    pub(super) is_pressed: bool,
    /// Consecutive rounds in which others used almost nothing.
    pub(super) calm_rounds: f64,
    /// How long the node has to be calm before it counts as calm.
    pub(super) wait_rounds: f64,
    /// When it last became calm after a hit.
    pub(super) opened_at: Option<f64>,
    pub(super) is_closed: bool,
    /// CPU that fixed tasks of the guest use, in the view's unit.
    pub(super) fixed_cpus: f64,
    /// Numerator and denominator of the mean load, `load_sum / load_weight`.
    pub(super) load_sum: f64,
    pub(super) load_weight: f64,
    /// CPU that migratable work may hold; `None` for no limit.
    pub(super) limit_cpus: Option<f64>,
    /// CPU that the node's work wanted in the last round, and CPU that it could have had.
    pub(super) wanted_cpus: f64,
    pub(super) supply_cpus: f64,
}

/// The state kept for a group.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct GroupMemory {
    pub(super) node: NodeId,
    pub(super) first_seen_at: f64,
    pub(super) seen_at: f64,
    /// Mean of its CPU use.
    pub(super) used_cpus: f64,
    /// CPU that it wants: it rises with the group's use at once and falls slowly.
    pub(super) want_cpus: f64,
    /// Its last move.
    pub(super) moved: Option<PastMove>,
    /// Factor by which its moves cost more than others', because some turned out bad. At least 1.
    pub(super) dearness: f64,
}

/// A move, to be judged by its outcome.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct PastMove {
    pub(super) at: f64,
    pub(super) from: NodeId,
    /// The group left a hit node, for the node that was best at that moment.
    pub(super) was_urgent: bool,
    /// CPU that the group would have got on its old node.
    pub(super) instead_cpus: f64,
    pub(super) is_judged: bool,
}

impl NodeMemory {
    /// Mean load in the view's unit.
    pub(super) fn mean_load_cpus(&self) -> f64 {
        if self.load_weight > 0.0 {
            self.load_sum / self.load_weight
        } else {
            0.0
        }
    }

    /// Returns true if others' use jumped within the last `rounds`.
    pub(super) fn was_hit_within(&self, now: f64, rounds: f64) -> bool {
        self.hit_at.is_some_and(|at| now - at < rounds)
    }
}
