//! The domain: a cell of nodes, the migratable work on it, what is known of others' load, and a plan.
//!
//! A live guest and a simulated cluster both describe themselves in these words, so one policy serves both.
//! No I/O and no clock in here. CPU quantities (`*_cpus`) are in one unit throughout a view: CPUs in a live guest,
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

/// What names a group: a process id live, the rank of the task by job ID and index when simulated. Work without any
/// other order is in order of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub u64);

/// How much of a node's CPU others take, as a share 0..=1 of its capacity.
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
        /// Share of the node's capacity, 0..=1, as it was.
        share: f64,
        /// How many rounds ago.
        age_rounds: u32,
    },
    /// Never measured, or the source failed.
    #[default]
    Unknown,
}

impl Pressure {
    /// The share, if it may be acted on. Stale is as good as unknown here.
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
    /// Its id.
    pub id: NodeId,
    /// CPU it has to give; 0 when none of its CPUs is online.
    pub capacity_cpus: f64,
    /// What others take of it.
    pub pressure: Pressure,
    /// CPU in use on it by everything known: others' share and every task of ours, migratable or not.
    pub load_cpus: f64,
    /// Work that one of its CPUs does, relative to the cell's reference CPU; 1.0 unless measured.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub speed: f64,
    /// CPU that migratable work waits for here. Live: the mean number of runnable tasks that were queued in the window.
    /// Simulated: what the tasks that wait for admission ask for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waiting_cpus: f64,
    /// Memory that groups moved here may fill; `None` when not known, and then it is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<f64>,
    /// Of the time that the node's vCPUs wanted to run, the share in which their host ran something else, 0..=1; `None` where
    /// they hardly wanted to, and where nobody measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen_share: Option<f64>,
    /// The kernel side saw others' use of the node jump since the last round, so the window's mean understates it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub alarm: bool,
    /// What waits to be admitted; `None` where work starts without a reservation, as in a live guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
}

impl Default for Node {
    /// Node 0 without CPUs, of unknown pressure.
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

/// A node on which tasks start once the CPU they ask for can be reserved. In the unit of [`Demand::request_cpus`].
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Admission {
    /// What is left to reserve; below 0 where moves have taken reservations past the capacity.
    pub free_cpus: f64,
    /// What each waiting task asks for, ascending.
    pub waiting_cpus: Vec<f64>,
}

impl Node {
    /// Others' share in CPUs, when it may be acted on.
    pub fn pressure_cpus(&self) -> Option<f64> {
        self.pressure.share().map(|share| share * self.capacity_cpus)
    }

    /// Return true if work may be sent here: it has CPUs and its pressure is known.
    pub fn is_candidate(&self) -> bool {
        self.capacity_cpus > 0.0 && self.pressure.share().is_some()
    }
}

/// What a task asks for and uses; summed over the tasks of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Demand {
    /// CPU asked for.
    pub request_cpus: f64,
    /// CPU used on average over the last round or usage window.
    pub usage_cpus: f64,
    /// Memory that a move takes along.
    pub memory_bytes: f64,
    /// Memory accesses per instruction (MAI), or what stands for them where nobody counts them.
    pub accesses_per_instruction: f64,
}

/// One migratable task. It moves with its group.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Task {
    /// The group that it belongs to.
    pub group: GroupId,
    /// Where it runs.
    pub node: NodeId,
    /// What it asks for and uses.
    pub demand: Demand,
}

/// Migratable tasks that move together: the threads of a process, or a simulated task alone.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Where it runs.
    pub node: NodeId,
    /// How many tasks it has.
    pub nr_tasks: u32,
    /// What they ask for and use together; accesses per instruction averaged by CPU use.
    pub demand: Demand,
    /// Rounds since it began, or since it was first seen where that is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub age_rounds: f64,
    /// CPU that it used or waited for while runnable, averaged over the window; `None` where queueing isn't measured.
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

/// All that a policy sees of a cell in one round.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CellView {
    /// In order of id.
    pub nodes: Vec<Node>,
    /// The migratable groups, in order of (node, id).
    pub groups: Vec<Group>,
    /// The length of the window that was measured, in rounds: below 1 when an alarm cut it short, above when it came late.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub window_rounds: f64,
}

impl Default for CellView {
    /// No nodes and no groups, after one round.
    fn default() -> Self {
        CellView { nodes: Vec::new(), groups: Vec::new(), window_rounds: 1.0 }
    }
}

fn one() -> f64 {
    1.0
}

// The signatures are serde's.
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

/// One group's move.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Move {
    /// Who moves.
    pub group: GroupId,
    /// Away from here.
    pub from: NodeId,
    /// To here.
    pub to: NodeId,
}

/// Why work of a node stays or goes, with the numbers that decided. CPU in the view's unit.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// It goes to the destination.
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
    /// The destination would end up more loaded than the node is.
    DestinationWouldExceedSource {
        /// The destination's load with the work.
        destination_cpus: f64,
        /// The node's load.
        source_cpus: f64,
    },
    /// Nearly all of the node's load is the work itself: moving it only moves the problem.
    MostlyOwnLoad {
        /// CPU that would move.
        moved_cpus: f64,
        /// The node's load.
        source_cpus: f64,
    },
    /// The destination would pass the warning line.
    PastWarning {
        /// The destination's load with the work.
        destination_cpus: f64,
        /// The warning line.
        warning_cpus: f64,
    },
    /// The work that fits on a destination is too little to be worth a move.
    TooLittle {
        /// CPU that would move.
        moved_cpus: f64,
        /// What it would have to exceed.
        min_gain_cpus: f64,
    },
    /// Others take too little of the node for a move to be worth it: below what a guard calls bad.
    Calm {
        /// Share of the node's capacity that others take, 0..=1.
        pressure_share: f64,
        /// What it would have to reach.
        bad_share: f64,
    },
    /// It would move, but the node has not been bad for long enough.
    NotYet {
        /// Bad rounds in a row so far.
        bad_rounds: u32,
        /// How many it takes.
        needed_rounds: u32,
    },
    /// It would move, but others take nearly as much of the destination: the work would only be sent on.
    LittleBetter {
        /// Share of the node's capacity that others take, 0..=1.
        pressure_share: f64,
        /// The same of the destination.
        destination_share: f64,
    },
    /// It would move, but the last move is too recent.
    CoolingDown {
        /// Rounds until the next move may be made.
        rounds_left: u32,
    },
    /// The node can give its work what it wants.
    Fits {
        /// CPU that the work wants.
        wanted_cpus: f64,
        /// CPU that the node can give.
        supply_cpus: f64,
    },
    /// The work stays and is held to a limit, for the sake of others.
    Folds {
        /// CPU that the work wants.
        wanted_cpus: f64,
        /// CPU that it may hold at once.
        limit_cpus: f64,
    },
    /// The node gives the work less than it wants, and no other node would give it enough more to be worth a move.
    Short {
        /// CPU that the work wants.
        wanted_cpus: f64,
        /// CPU that the node can give.
        supply_cpus: f64,
    },
}

/// What was decided about one node's work.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    /// The node whose work was considered.
    pub node: NodeId,
    /// Stay or go, and why.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A policy's answer for one round.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// Where work goes first, when the cell has a node to send it to.
    pub first: Option<NodeId>,
    /// Where work goes that the first destination can't take.
    pub second: Option<NodeId>,
    /// The groups that move, in the order decided; empty when all stay.
    pub moves: Vec<Move>,
    /// One for each node considered, in order of id.
    pub verdicts: Vec<Verdict>,
    /// CPU that migratable work may hold on a node at once, on average over some 10 ms; a node that isn't here has no limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<NodeId, f64>,
    /// Where new processes go at exec, by weight; they stay with their parent when empty. A node of weight 0 takes one only
    /// while no node of more weight has an idle CPU.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spread: BTreeMap<NodeId, f64>,
    /// Where the kernel side sends a node's work at once when it sees others' use of the node jump.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fallback: BTreeMap<NodeId, NodeId>,
    /// Nodes whose pressure decides what comes next, so it should stay fresh; the others may go stale.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub watch: BTreeSet<NodeId>,
    /// CPU that migratable work wants and no node gives it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub short_cpus: f64,
}

impl Plan {
    /// What moves, by the node that it leaves and the node that it goes to. `view` is what the plan was made from.
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

    /// What moves in all.
    pub fn moved(&self, view: &CellView) -> Moved {
        self.routes(view).into_values().fold(Moved::default(), Moved::and)
    }
}

/// What a plan moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Moved {
    /// Groups.
    pub groups: u64,
    /// Their CPU, in the view's unit.
    pub cpus: f64,
    /// Their memory.
    pub bytes: f64,
}

impl Moved {
    /// Both together.
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
