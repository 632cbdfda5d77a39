//! The domain: a cell of nodes, the migratable work on it, what is known of others' load, and a plan.
//!
//! A live guest and a simulated cluster both describe themselves with these types, so one policy serves both.
//! There is no I/O and no clock here. CPU quantities (`*_cpus`) have one unit throughout a view: CPUs in a live guest,
//! shares of the trace's largest machine in the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A vNUMA node of the guest (live), or a machine of the cell (simulated). Ids may have gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Identifies a group: a process id (live), or the task's rank by job ID and index (simulated). Where no other order is
/// given, work is ordered by this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub u64);

/// Share of a node's CPU capacity that others take, 0..=1.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pressure {
    /// Measured during the last round.
    Fresh {
        /// Share of the node's capacity, 0..=1.
        share: f64,
    },
    /// Measured, but too long ago to act on.
    Stale {
        /// Share of the node's capacity when it was measured, 0..=1.
        share: f64,
        /// Age of the measurement in rounds.
        age_rounds: u32,
    },
    /// Never measured, or the source failed.
    #[default]
    Unknown,
}

impl Pressure {
    /// The share, if it is recent enough to act on. A stale share counts as unknown.
    pub fn share(self) -> Option<f64> {
        match self {
            Pressure::Fresh { share } => Some(share),
            Pressure::Stale { .. } | Pressure::Unknown => None,
        }
    }
}

/// One node of the cell.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Node {
    /// Unique within the cell.
    pub id: NodeId,
    /// CPU capacity; 0 if none of the node's CPUs is online.
    pub capacity_cpus: f64,
    /// What others take of the capacity.
    pub pressure: Pressure,
    /// CPU in use: others' share and every task of the guest, migratable or not.
    pub load_cpus: f64,
    /// Speed of one of its CPUs relative to the cell's reference CPU; 1.0 unless measured.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub speed: f64,
    /// CPU that migratable work waits for on this node. Live: the mean number of queued runnable tasks in the window.
    /// Simulated: the CPU requests of the tasks that wait for admission.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waiting_cpus: f64,
    /// Memory that groups moved here may use, in bytes; `None` if unknown, which means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<f64>,
    /// Of the time that the node's vCPUs wanted to run, the share in which their host ran something else, 0..=1; `None` where
    /// they hardly wanted to, and where nobody measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen_share: Option<f64>,
    /// True if the kernel side saw others' use of the node jump since the last round, so the window's mean understates
    /// it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub alarm: bool,
    /// The tasks that wait for admission; `None` where work starts without a reservation, as in a live guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
}

impl Default for Node {
    /// Node 0 without CPUs and with unknown pressure.
    fn default() -> Self {
        Node {
            id: NodeId::default(),
            capacity_cpus: 0.0,
            pressure: Pressure::Unknown,
            load_cpus: 0.0,
            speed: 1.0,
            waiting_cpus: 0.0,
            free_bytes: None,
            stolen_share: None,
            alarm: false,
            admission: None,
        }
    }
}

/// Admission to a node on which a task starts only once its CPU request can be reserved. In the unit of
/// [`Demand::request_cpus`].
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Admission {
    /// CPU that can still be reserved; below 0 if moves have raised the reservations above the capacity.
    pub free_cpus: f64,
    /// The request of each waiting task, ascending.
    pub waiting_cpus: Vec<f64>,
}

impl Node {
    /// Others' share in CPUs, if it is recent enough to act on.
    pub fn pressure_cpus(&self) -> Option<f64> {
        self.pressure.share().map(|share| share * self.capacity_cpus)
    }

    /// Return true if work may be sent to this node: it has CPUs and its pressure is known.
    pub fn is_candidate(&self) -> bool {
        self.capacity_cpus > 0.0 && self.pressure.share().is_some()
    }
}

/// What a task requests and uses; for a group, the sum over its tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Demand {
    /// Requested CPU.
    pub request_cpus: f64,
    /// CPU used on average over the last round or usage window.
    pub usage_cpus: f64,
    /// Memory that a move takes along, in bytes.
    pub memory_bytes: f64,
    /// Memory accesses per instruction (MAI), or the substitute used where they can't be counted.
    pub accesses_per_instruction: f64,
}

/// One migratable task. It moves with its group.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Task {
    /// The group it belongs to.
    pub group: GroupId,
    /// The node it runs on.
    pub node: NodeId,
    /// What it requests and uses.
    pub demand: Demand,
}

/// Migratable tasks that move together: the threads of a process (live) or a single task (simulated).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Group {
    /// Unique within the cell.
    pub id: GroupId,
    /// The node it runs on.
    pub node: NodeId,
    /// Number of tasks.
    pub nr_tasks: u32,
    /// What the tasks request and use together; accesses per instruction are averaged, weighted by CPU use.
    pub demand: Demand,
    /// Rounds since the group started, or since it was first seen if its start is unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub age_rounds: f64,
    /// Mean CPU over the window that it used or, while runnable, waited for; `None` if waiting isn't measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_cpus: Option<f64>,
}

impl Default for Group {
    /// An empty group on node 0.
    fn default() -> Self {
        Group {
            id: GroupId(0),
            node: NodeId(0),
            nr_tasks: 0,
            demand: Demand::default(),
            age_rounds: 0.0,
            wanted_cpus: None,
        }
    }
}

impl From<Task> for Group {
    /// A group of one.
    fn from(task: Task) -> Self {
        Group { id: task.group, node: task.node, nr_tasks: 1, demand: task.demand, ..Group::default() }
    }
}

/// Everything a policy sees of a cell in one round.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CellView {
    /// Nodes in order of id.
    pub nodes: Vec<Node>,
    /// Migratable groups in order of (node, id).
    pub groups: Vec<Group>,
    /// Length of the measured window in rounds: below 1 if an alarm ended it early, above 1 if the round was late.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub window_rounds: f64,
}

impl Default for CellView {
    /// No nodes and no groups, with a window of one round.
    fn default() -> Self {
        CellView { nodes: Vec::new(), groups: Vec::new(), window_rounds: 1.0 }
    }
}

fn one() -> f64 {
    1.0
}

// serde requires these signatures.
fn is_one(value: &f64) -> bool {
    *value == 1.0
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_false(value: &bool) -> bool {
    !value
}

impl CellView {
    /// The migratable groups on a node, in order of id.
    pub fn groups_on(&self, node: NodeId) -> &[Group] {
        let start = self.groups.partition_point(|group| group.node < node);
        let len = self.groups[start..].partition_point(|group| group.node == node);
        &self.groups[start..start + len]
    }

    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }
}

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
    /// CPU that migratable work wants and no node supplies.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub short_cpus: f64,
}

impl Plan {
    /// Return true if the plan says more than where work goes: limits, weights for new processes, or fallbacks.
    pub fn steers(&self) -> bool {
        !(self.limits.is_empty() && self.spread.is_empty() && self.fallback.is_empty())
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
