//! What [`Auto`](super::Auto) remembers from round to round: a plain value, so that a decision log replays exactly.

use std::collections::{BTreeMap, BTreeSet};

use super::options::AutoOptions;
use crate::cell::{Fetched, GroupId, JudgedMove, NodeId};

/// All that [`Auto`](super::Auto) remembers of one cell. Instants are rounds since the first one.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AutoMemory {
    /// Rounds observed so far, by the length of their windows.
    pub(super) now: f64,
    pub(super) nodes: BTreeMap<NodeId, NodeMemory>,
    pub(super) groups: BTreeMap<GroupId, GroupMemory>,
    /// The nodes chosen to do the work: as few as supply what is wanted.
    pub(super) chosen: BTreeSet<NodeId>,
    /// The first destination of the last plan.
    pub(super) first: Option<NodeId>,
    /// Since when one chosen node fewer would have done.
    pub(super) slack_since: Option<f64>,
    /// Bytes that moves may still take.
    pub(super) bytes_left: f64,
    /// Groups that move as one, each cluster in order of id.
    pub(super) clusters: Vec<Vec<GroupId>>,
    /// When clusters were last looked for.
    pub(super) clustered_at: Option<f64>,
    /// Moves whose trial ended in this round.
    pub(super) judged: Vec<JudgedMove>,
    /// What groups fetched after moves, as known since this round.
    pub(super) fetched: Vec<Fetched>,
}

/// What is remembered of a node.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct NodeMemory {
    /// The last fresh reading.
    pub(super) known_at: Option<f64>,
    /// Mean of others' use, a share of the capacity, and its variance between rounds.
    pub(super) mean_share: f64,
    pub(super) variance: f64,
    /// How much of the mean's weight readings have, 0..=1: little at first and after a jump.
    pub(super) level_weight: f64,
    /// The largest use of late.
    pub(super) burst_share: f64,
    /// The CUSUM statistic.
    pub(super) jump_rounds: f64,
    /// The last jump of others' use.
    pub(super) hit_at: Option<f64>,
    /// It was hit and has not been calm for long enough since.
    pub(super) is_pressed: bool,
    /// Rounds in a row in which others took next to nothing: no more than this share.
    pub(super) calm_rounds: f64,
    pub(super) calm_below_share: f64,
    /// How long it has to be calm before it counts as such.
    pub(super) wait_rounds: f64,
    /// When it last became calm after a hit, and since when work has been there.
    pub(super) opened_at: Option<f64>,
    pub(super) used_since: Option<f64>,
    pub(super) is_closed: bool,
    /// What fixed tasks of the guest take, in the view's unit.
    pub(super) fixed_cpus: f64,
    /// Of `load_sum / load_weight`, the mean load.
    pub(super) load_sum: f64,
    pub(super) load_weight: f64,
    /// Work may try all whole CPUs that others leave.
    pub(super) is_on_trial: bool,
    /// What it may hold beyond what the headroom rule leaves, by the last trial.
    pub(super) granted_cpus: f64,
    /// When too much was last stolen, or when a node where work gives way closed, and how long to wait after that.
    pub(super) contended_at: Option<f64>,
    pub(super) trial_wait_rounds: f64,
    /// What migratable work may hold; `None` for all that there is.
    pub(super) limit_cpus: Option<f64>,
    /// It gives way to others.
    #[serde(default)]
    pub(super) gives_way: bool,
    /// What work did not get of what it was to hold, a mean, 0..=1.
    pub(super) missed_share: f64,
    /// What its work wanted in the last round, and what it could have had.
    pub(super) wanted_cpus: f64,
    pub(super) supply_cpus: f64,
    /// Pages that had come to its host in the last round, and how many come in a round, a mean; `None` where the host doesn't tell.
    pub(super) arrivals: Option<Arrivals>,
    /// A group that came last, while what it fetches is being counted.
    pub(super) fetching: Option<Fetching>,
}

/// Pages that come to a node's host.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Arrivals {
    pub(super) pages: f64,
    pub(super) pages_per_round: f64,
}

/// What is counted of a group that has come to a node.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Fetching {
    pub(super) group: GroupId,
    pub(super) at: f64,
    /// The node's arrivals when the group came.
    pub(super) before: Arrivals,
    /// When half of the time was over, and the pages that had come to the node by then.
    #[serde(default)]
    pub(super) halfway: Option<(f64, f64)>,
    /// Bytes that it would fetch if it touched all of its memory.
    pub(super) of_bytes: f64,
    /// Another group has come since, so that nobody can tell whose pages come.
    pub(super) is_ambiguous: bool,
}

/// What is remembered of a group.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct GroupMemory {
    pub(super) node: NodeId,
    pub(super) first_seen_at: f64,
    pub(super) seen_at: f64,
    /// Mean of its use.
    pub(super) used_cpus: f64,
    /// What it wants: follows its use up at once and down slowly.
    pub(super) want_cpus: f64,
    /// Its last move.
    pub(super) moved: Option<PastMove>,
    /// How many times as much its moves cost as others', since some turned out bad. At least 1.
    pub(super) dearness: f64,
    /// The share of its memory that it fetched after a move; `None` while that is unknown.
    pub(super) hot_share: Option<f64>,
    /// While it is together with the groups that it shares memory with: what it wanted before.
    pub(super) apart: Option<Apart>,
}

/// What a group wanted before it was brought together with its cluster.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Apart {
    pub(super) cpus: f64,
    pub(super) at: f64,
}

/// A move, to be judged by what came of it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct PastMove {
    pub(super) at: f64,
    pub(super) from: NodeId,
    /// It was out of a hit or closed node: to wherever was best at that moment.
    pub(super) was_urgent: bool,
    /// What the group would have got where it was.
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

    /// The share of what work was promised that it is likely to get. A miss of less than half may have other reasons.
    pub(super) fn kept_share(&self) -> f64 {
        if self.missed_share > 0.5 {
            1.0 - self.missed_share
        } else {
            1.0
        }
    }

    /// Return true if work is to leave, and other nodes are to be looked at: it was hit and hasn't been calm since.
    pub(super) fn is_fled(&self, options: &AutoOptions, now: f64) -> bool {
        self.is_pressed && self.was_hit_within(now, options.stuck_rounds)
    }

    /// Return true if others' use jumped within the last `rounds`.
    pub(super) fn was_hit_within(&self, now: f64, rounds: f64) -> bool {
        self.hit_at.is_some_and(|at| now - at < rounds)
    }
}
