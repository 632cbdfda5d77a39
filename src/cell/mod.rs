//! The domain: a cell of nodes, the migratable work on it, what is known of others' load, and a plan.
//!
//! A live guest and a simulated cluster both describe themselves with these types, so one policy serves both.
//! There is no I/O and no clock here. CPU quantities (`*_cpus`) have one unit throughout a view: CPUs in a live guest,
//! shares of the trace's largest machine in the simulator.

mod link;
mod plan;
mod resident;

use std::fmt;

pub use link::Link;
pub use plan::{Balance, Bytes, Fetched, JudgedMove, Move, Moved, Outcome, Payoff, Plan, Verdict};
pub use resident::Resident;

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

/// A measurement of what others take of a node.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sample {
    /// Share of the node's capacity, 0..=1.
    pub share: f64,
    /// What it counts for, in rounds: 0 if an earlier view had it too.
    pub rounds: f64,
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
    /// Memory that more work may use here, in bytes: what is free and what the kernel would free for it. `None` if unknown, which
    /// means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<f64>,
    /// Pages of 4096 bytes that came to the node's host from others so far, by the host's own count; `None` where it doesn't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_pages: Option<f64>,
    /// Of the time that the node's vCPUs wanted to run, the share in which their host ran something else, 0..=1; `None` where
    /// they hardly wanted to, and where nobody measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen_share: Option<f64>,
    /// What the window adds to earlier measurements of the mean of what others take; `None` if the pressure is all that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// True if the kernel side saw others' use of the node jump since the last round, so the window's mean understates
    /// it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub alarm: bool,
    /// True if its work can give way to others ([`Plan::gives_way`]).
    #[serde(default, skip_serializing_if = "is_false")]
    pub can_give_way: bool,
    /// True if the node's host is under maintenance: work leaves the node, and none comes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drained: bool,
    /// Share of what work may otherwise take of the node that it may take, 0..=1: below 1 where a latency objective leaves less.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub room_share: f64,
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
            fetched_pages: None,
            stolen_share: None,
            sample: None,
            alarm: false,
            can_give_way: false,
            drained: false,
            room_share: 1.0,
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

    /// Return true if work may be sent to this node: it has CPUs, its pressure is known, and it isn't drained.
    pub fn is_candidate(&self) -> bool {
        self.capacity_cpus > 0.0 && self.pressure.share().is_some() && !self.drained
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
    /// Pairs of groups that share memory, in order of ids, each pair once. A group that did not run of late may be in it
    /// without being in `groups`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Where the memory of groups is, in order of id; groups of which it is unknown are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residents: Vec<Resident>,
    /// True if the daemon moves a group's memory to the group's node. Otherwise a page travels when it is touched, as in a
    /// distributed VM, and where the guest's kernel has it says nothing of that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub memory_follows: bool,
    /// Rounds for which a vCPU waits for a page, by the hosts' own count; `None` where they don't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_cost_rounds: Option<f64>,
    /// Length of the measured window in rounds: below 1 if an alarm ended it early, above 1 if the round was late.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub window_rounds: f64,
}

impl Default for CellView {
    /// No nodes and no groups, with a window of one round.
    fn default() -> Self {
        CellView {
            nodes: Vec::new(),
            groups: Vec::new(),
            links: Vec::new(),
            residents: Vec::new(),
            memory_follows: false,
            page_cost_rounds: None,
            window_rounds: 1.0,
        }
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

/// Beyond everything that is counted in views, and small enough that sums and products stay finite.
const AMOUNT_MAX: f64 = 1e30;

/// The whole, and what rounding may add.
const SHARE_MAX: f64 = 1.0 + 1e-6;

fn is_amount(value: f64) -> bool {
    (0.0..=AMOUNT_MAX).contains(&value)
}

/// Check nodes as [`CellView::check`] does.
pub fn check_nodes(nodes: &[Node]) -> Result<(), String> {
    if !nodes.is_sorted_by(|a, b| a.id < b.id) {
        return Err("the nodes are not in order of id".to_owned());
    }
    for node in nodes {
        let Node { capacity_cpus, load_cpus, speed, waiting_cpus, stolen_share, sample, .. } = node;
        let Node { room_share, admission, .. } = node;
        let share = match node.pressure {
            Pressure::Fresh { share } | Pressure::Stale { share, .. } => share,
            Pressure::Unknown => 0.0,
        };
        let shares = [share, stolen_share.unwrap_or(0.0), sample.map_or(0.0, |sample| sample.share), *room_share];
        let mut amounts: Vec<f64> = [*capacity_cpus, *load_cpus, *speed, *waiting_cpus].to_vec();
        amounts.extend(node.free_bytes.into_iter().chain(node.fetched_pages));
        amounts.extend(sample.map(|sample| sample.rounds));
        amounts.extend(admission.iter().flat_map(|it| [&[it.free_cpus.abs()], it.waiting_cpus.as_slice()].concat()));
        if !amounts.into_iter().all(is_amount) || !shares.iter().all(|share| (0.0..=SHARE_MAX).contains(share)) {
            return Err(format!("node {} has an impossible number", node.id));
        }
    }
    Ok(())
}

impl CellView {
    /// Check what policies take for granted, in a view from outside: that ids are unique and in order, and that all
    /// numbers are such as can be added up. The error says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        check_nodes(&self.nodes)?;
        if !self.groups.is_sorted_by(|a, b| (a.node, a.id) < (b.node, b.id)) {
            return Err("the groups are not in order of node and id".to_owned());
        }
        let mut ids: Vec<GroupId> = self.groups.iter().map(|group| group.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a group is in it twice".to_owned());
        }
        for group in &self.groups {
            let Group { id, demand, age_rounds, wanted_cpus, .. } = group;
            let Demand { request_cpus, usage_cpus, memory_bytes, accesses_per_instruction } = *demand;
            let amounts = [request_cpus, usage_cpus, memory_bytes, accesses_per_instruction, *age_rounds];
            if !amounts.into_iter().chain(*wanted_cpus).all(is_amount) {
                return Err(format!("group {} has an impossible number", id.0));
            }
        }
        link::check_links(&self.links)?;
        resident::check_residents(&self.residents)?;
        if !self.page_cost_rounds.is_none_or(is_amount) {
            return Err(format!("the cost of a page is {} rounds", self.page_cost_rounds.unwrap_or_default()));
        }
        match is_amount(self.window_rounds) {
            true => Ok(()),
            false => Err(format!("its window is {} rounds", self.window_rounds)),
        }
    }

    /// The migratable groups on a node, in order of id.
    pub fn groups_on(&self, node: NodeId) -> &[Group] {
        let start = self.groups.partition_point(|group| group.node < node);
        let len = self.groups[start..].partition_point(|group| group.node == node);
        &self.groups[start..start + len]
    }

    /// Where a group's memory is, if that is known.
    pub fn resident(&self, group: GroupId) -> Option<&Resident> {
        let at = self.residents.binary_search_by_key(&group, |it| it.group).ok()?;
        Some(&self.residents[at])
    }

    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }
}
