//! The domain: a cell of nodes, the migratable work on it, what is known of others' load, and a plan.
//!
//! A live guest and a simulated cluster both describe themselves in these words, so one policy serves both.
//! No I/O and no clock in here. CPU quantities (`*_cpus`) are in one unit throughout a view: CPUs in a live guest,
//! shares of the trace's largest machine in the simulator.

use std::collections::BTreeMap;
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
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
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
}

impl From<Task> for Group {
    /// A group of one.
    fn from(task: Task) -> Self {
        Group { id: task.group, node: task.node, nr_tasks: 1, demand: task.demand }
    }
}

/// All that a policy sees of a cell in one round.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CellView {
    /// In order of id.
    pub nodes: Vec<Node>,
    /// The migratable groups, in order of (node, id).
    pub groups: Vec<Group>,
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
    /// To here: the first or the second destination of the plan.
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
    #[serde(alias = "mostly_own_load")]
    SelfInflicted {
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
    #[serde(alias = "too_little")]
    BelowMinGain {
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
        #[serde(alias = "bad_share")]
        enter_share: f64,
    },
    /// It would move, but the node has not been bad for long enough.
    #[serde(alias = "not_yet")]
    NotSustained {
        /// Bad rounds in a row so far.
        bad_rounds: u32,
        /// How many it takes.
        needed_rounds: u32,
    },
    /// It would move, but others take nearly as much of the destination: the work would only be sent on.
    #[serde(alias = "little_better")]
    GainTooSmall {
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
        };
        let groups = vec![group(7, 0, 0.5, 100.0), group(9, 0, 0.25, 10.0), group(8, 3, 0.125, 1.0)];
        let view = CellView { nodes: vec![], groups };
        let step = |id, from, to| Move { group: GroupId(id), from: NodeId(from), to: NodeId(to) };
        let plan = Plan { moves: vec![step(9, 0, 1), step(7, 0, 2), step(8, 3, 2)], ..Plan::default() };
        assert_eq!(plan.routes(&view)[&(NodeId(0), NodeId(2))], Moved { groups: 1, cpus: 0.5, bytes: 100.0 });
        assert_eq!(plan.moved(&view), Moved { groups: 3, cpus: 0.875, bytes: 111.0 });
        assert_eq!(Plan::default().moved(&view), Moved::default());
    }
}
