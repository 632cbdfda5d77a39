//! What a policy answers: moves, why work stays or goes, and what else the kernel side is told.

use std::collections::{BTreeMap, BTreeSet};

use super::{CellView, GroupId, NodeId};

/// The move of one group.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Move {
    /// The group that moves.
    pub group: GroupId,
    /// The node it leaves.
    pub from: NodeId,
    /// The node it goes to.
    pub to: NodeId,
}

/// Why a node's work stays or goes, with the numbers that decided it. CPU in the view's unit.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The work goes to the destination.
    Moves {
        /// CPU that moves.
        moved_cpus: f64,
    },
    /// Others take less of the node than the trigger.
    BelowTrigger {
        /// CPU that others take.
        pressure_cpus: f64,
        /// The trigger.
        trigger_cpus: f64,
    },
    /// The destination would end up more loaded than the source.
    DestinationWouldExceedSource {
        /// The destination's load with the work.
        destination_cpus: f64,
        /// The source's load.
        source_cpus: f64,
    },
    /// The work itself is nearly all of the node's load: a move would only move the problem.
    #[serde(alias = "mostly_own_load")]
    SelfInflicted {
        /// CPU that would move.
        moved_cpus: f64,
        /// The node's load.
        source_cpus: f64,
    },
    /// The destination would exceed its warning line.
    PastWarning {
        /// The destination's load with the work.
        destination_cpus: f64,
        /// The warning line.
        warning_cpus: f64,
    },
    /// The work that fits on a destination is too little to justify a move.
    #[serde(alias = "too_little")]
    BelowMinGain {
        /// CPU that would move.
        moved_cpus: f64,
        /// The gain that a move must exceed.
        min_gain_cpus: f64,
    },
    /// Others take too little of the node to justify a move: less than the guards call bad.
    Calm {
        /// Share of the node's capacity that others take, 0..=1.
        pressure_share: f64,
        /// The share at which a round counts as bad.
        #[serde(alias = "bad_share")]
        enter_share: f64,
    },
    /// The work would move, but the node has not been bad for long enough.
    #[serde(alias = "not_yet")]
    NotSustained {
        /// Consecutive bad rounds so far.
        bad_rounds: u32,
        /// Consecutive bad rounds that a move requires.
        needed_rounds: u32,
    },
    /// The work would move, but others take nearly as much of the destination, so it would soon be moved again.
    #[serde(alias = "little_better")]
    GainTooSmall {
        /// Share of the node's capacity that others take, 0..=1.
        pressure_share: f64,
        /// Share of the destination's capacity that others take, 0..=1.
        destination_share: f64,
    },
    /// The work would move, but the last move was too recent.
    CoolingDown {
        /// Rounds until the next move is allowed.
        rounds_left: u32,
    },
    /// The node can supply the CPU that its work wants.
    Fits {
        /// CPU that the work wants.
        wanted_cpus: f64,
        /// CPU that the node can give.
        supply_cpus: f64,
    },
    /// The work stays and is limited, because others need the CPU.
    Folds {
        /// CPU that the work wants.
        wanted_cpus: f64,
        /// CPU that it may use at once.
        limit_cpus: f64,
    },
    /// The node supplies less CPU than the work wants, and no other node would supply enough more to justify a move.
    Short {
        /// CPU that the work wants.
        wanted_cpus: f64,
        /// CPU that the node can give.
        supply_cpus: f64,
    },
}

/// The decision about one node's work.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    /// The node whose work was considered.
    pub node: NodeId,
    /// Whether it stays or goes, and why.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A policy's decision for one round.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// The destination of work; `None` if the cell has no node to send work to.
    pub first: Option<NodeId>,
    /// The destination of work that doesn't fit on the first.
    pub second: Option<NodeId>,
    /// The groups that move, in the order in which they were picked; empty if all stay.
    pub moves: Vec<Move>,
    /// One verdict for each node considered, in order of node id.
    pub verdicts: Vec<Verdict>,
    /// CPU that migratable work may use on a node at once, averaged over some 10 ms; a node that is missing has no
    /// limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<NodeId, f64>,
    /// Nodes where work gives way to others: once they take a CPU from it, the CPU is theirs for some ms.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gives_way: BTreeSet<NodeId>,
    /// Nodes that others are known to use: what the kernel side sees them take is no alarm.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub has_others: BTreeSet<NodeId>,
    /// Where new processes go at exec, by weight; they stay with their parent when empty. A node of weight 0 takes one only
    /// while no node of more weight has an idle CPU.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spread: BTreeMap<NodeId, f64>,
    /// The node to which the kernel side sends a node's work as soon as it sees others' use of the node jump.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fallback: BTreeMap<NodeId, NodeId>,
    /// Nodes whose pressure affects the next decisions and should stay fresh; that of others may go stale.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub watch: BTreeSet<NodeId>,
    /// Demand and supply of the whole cell, from policies that estimate them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// The clusters of which groups move: groups that share memory and are kept on one node, each cluster in order of id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Vec<GroupId>>,
    /// What earlier moves brought, of those whose trial has ended since the last round; from policies that look back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<JudgedMove>,
    /// What the moves take of memory and of the link; `None` if the view tells neither free memory nor where memory is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
    /// What groups fetched after earlier moves, of those for which it has been counted since the last round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fetched: Vec<Fetched>,
}

/// What a plan's moves take, as the policy estimates it.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Bytes {
    /// Bytes that have to be fetched for the moves.
    pub fetched: f64,
    /// Bytes that further moves may take in this round.
    pub left: f64,
    /// Number of groups that would be better off elsewhere, but no node that has the CPU for them has the memory.
    pub nr_no_room: u32,
    /// Number of groups that can't leave a node that is short of CPU because moves have taken the bytes that they may take.
    pub nr_over_budget: u32,
}

/// What a group fetched after a move, by the hosts' own count.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Fetched {
    /// The group that moved.
    pub group: GroupId,
    /// The node it went to.
    pub to: NodeId,
    /// Bytes that came beyond what came before the move.
    pub bytes: f64,
    /// Bytes that the group has, without those that the node may have had.
    pub of_bytes: f64,
}

/// What a move brought, by what was measured until its trial had ended. CPU in the view's unit.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct JudgedMove {
    /// The group that moved.
    pub group: GroupId,
    /// The node it left.
    pub from: NodeId,
    /// The node it went to.
    pub to: NodeId,
    /// Rounds since the move.
    pub age_rounds: f64,
    /// CPU that it uses, a mean.
    pub used_cpus: f64,
    /// CPU that it would have got where it was, as estimated when it moved.
    pub instead_cpus: f64,
    /// Whether it paid.
    pub payoff: Payoff,
}

/// Whether a move paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payoff {
    /// The group uses clearly more CPU than it would have got.
    Gained,
    /// It uses about as much, or wants no more.
    Even,
    /// It gets clearly less, and wants more.
    Lost,
}

/// What migratable work wants of a cell and what the cell can give it. CPU in the view's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Balance {
    /// CPU that the work wants.
    pub wanted_cpus: f64,
    /// CPU that the nodes can give it.
    pub supply_cpus: f64,
    /// CPU that it wants and doesn't get, under the plan: on each node what exceeds the node's supply.
    pub short_cpus: f64,
}

impl Plan {
    /// CPU that migratable work wants and doesn't get, as far as the policy estimates it.
    pub fn short_cpus(&self) -> f64 {
        self.balance.map_or(0.0, |balance| balance.short_cpus)
    }

    /// Return true if the plan says more than where work goes: limits, weights for new processes, or fallbacks.
    pub fn steers(&self) -> bool {
        !(self.limits.is_empty() && self.spread.is_empty() && self.fallback.is_empty() && self.gives_way.is_empty())
    }

    /// What moves, by (source, destination). `view` is the view that the plan was made from.
    pub fn routes(&self, view: &CellView) -> BTreeMap<(NodeId, NodeId), Moved> {
        let mut routes = BTreeMap::<_, Moved>::new();
        for step in &self.moves {
            let groups = view.groups_on(step.from);
            let found = groups.binary_search_by_key(&step.group, |group| group.id);
            let demand = found.map(|at| groups[at].demand).unwrap_or_default();
            let moved = Moved { groups: 1, cpus: demand.usage_cpus, bytes: demand.memory_bytes };
            let sum = routes.entry((step.from, step.to)).or_default();
            *sum = sum.and(moved);
        }
        routes
    }

    /// Total of what moves.
    pub fn moved(&self, view: &CellView) -> Moved {
        self.routes(view).into_values().fold(Moved::default(), Moved::and)
    }
}

/// Amount of work that a plan moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Moved {
    /// Number of groups.
    pub groups: u64,
    /// CPU the groups use, in the view's unit.
    pub cpus: f64,
    /// Memory of the groups, in bytes.
    pub bytes: f64,
}

impl Moved {
    /// The sum of two amounts.
    pub fn and(self, other: Moved) -> Moved {
        Moved { groups: self.groups + other.groups, cpus: self.cpus + other.cpus, bytes: self.bytes + other.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Demand, Group};
    use super::*;

    #[test]
    fn a_plan_moves_its_groups_cpu_and_memory_along_their_routes() {
        let group = |id, node, usage_cpus, memory_bytes| Group {
            id: GroupId(id),
            node: NodeId(node),
            nr_tasks: 1,
            demand: Demand { usage_cpus, memory_bytes, ..Demand::default() },
            ..Group::default()
        };
        let groups = vec![group(7, 0, 0.5, 100.0), group(9, 0, 0.25, 10.0), group(8, 3, 0.125, 1.0)];
        let view = CellView { groups, ..CellView::default() };
        let step = |id, from, to| Move { group: GroupId(id), from: NodeId(from), to: NodeId(to) };
        let plan = Plan { moves: vec![step(9, 0, 1), step(7, 0, 2), step(8, 3, 2)], ..Plan::default() };
        assert_eq!(plan.routes(&view)[&(NodeId(0), NodeId(2))], Moved { groups: 1, cpus: 0.5, bytes: 100.0 });
        assert_eq!(plan.moved(&view), Moved { groups: 3, cpus: 0.875, bytes: 111.0 });
        assert_eq!(Plan::default().moved(&view), Moved::default());
    }
}
