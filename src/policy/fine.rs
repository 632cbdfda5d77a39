//! Fine-grained: tasks one by one, in a chosen order, to the least loaded node and then to the second least loaded.

use std::fmt;
use std::str::FromStr;

use super::{least_loaded, Policy};
use crate::cell::{CellView, Group, Move, Node, NodeId, Outcome, Plan, Verdict};

/// The order in which `fine` picks work: algorithm 4-3's `sort_option`, by number or by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// 0: by id.
    #[serde(rename = "none")]
    Unsorted,
    /// 1: least CPU asked for first.
    Request,
    /// 2: least CPU used first.
    Cpu,
    /// 3: least memory first, which makes moves cheap.
    #[default]
    Memory,
    /// 4: most CPU used first.
    CpuDesc,
    /// 5: least memory accesses per instruction (MAI) first.
    Mai,
}

impl Order {
    /// All of them, by number.
    pub const ALL: [Order; 6] =
        [Order::Unsorted, Order::Request, Order::Cpu, Order::Memory, Order::CpuDesc, Order::Mai];

    /// Its number in algorithm 4-3.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its name, as in `--order`.
    pub fn name(self) -> &'static str {
        match self {
            Order::Unsorted => "none",
            Order::Request => "request",
            Order::Cpu => "cpu",
            Order::Memory => "memory",
            Order::CpuDesc => "cpu-desc",
            Order::Mai => "mai",
        }
    }

    /// Sort groups that are in order of id; equals stay in that order.
    fn sort(self, groups: &mut [Group]) {
        let ascending = |key: fn(&Group) -> f64| move |a: &Group, b: &Group| key(a).total_cmp(&key(b));
        match self {
            Order::Unsorted => {}
            Order::Request => groups.sort_by(ascending(|group| group.demand.request_cpus)),
            Order::Cpu => groups.sort_by(ascending(|group| group.demand.usage_cpus)),
            Order::Memory => groups.sort_by(ascending(|group| group.demand.memory_bytes)),
            Order::CpuDesc => groups.sort_by(ascending(|group| -group.demand.usage_cpus)),
            Order::Mai => groups.sort_by(ascending(|group| group.demand.accesses_per_instruction)),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Not an order.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not an order; orders are 0 none, 1 request, 2 cpu, 3 memory, 4 cpu-desc, 5 mai")]
pub struct UnknownOrder(String);

impl FromStr for Order {
    type Err = UnknownOrder;

    fn from_str(text: &str) -> Result<Self, UnknownOrder> {
        let known = |order: &Order| order.name() == text || order.number().to_string() == text;
        Order::ALL.into_iter().find(known).ok_or_else(|| UnknownOrder(text.to_owned()))
    }
}

/// The thesis's fine-grained scheduler (algorithms 4-2 and 4-3).
///
/// From each node but the two least loaded, work goes to the first of them while it fits, and from where that stopped to
/// the second while it fits. It fits while the destination ends up neither more loaded than the node was nor past its
/// warning line. A node of which nothing is known is left while the destinations stay under theirs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fine {
    /// In which order work is picked.
    pub order: Order,
    /// A destination is loaded to at most this share of its capacity.
    pub warning_share: f64,
    /// What was picked for a destination goes only if its CPU is above this.
    pub min_gain_cpus: f64,
    /// A node of which others take this share or more is a destination only if all others are like that.
    pub avoid_share: f64,
}

/// A node that takes work, and its load with the work that it took so far.
struct Destination {
    node: NodeId,
    load_cpus: f64,
    warning_cpus: f64,
}

impl Destination {
    fn new(node: &Node, warning_share: f64) -> Self {
        Destination { node: node.id, load_cpus: node.load_cpus, warning_cpus: warning_share * node.capacity_cpus }
    }

    /// How many of the first groups fit, and their CPU.
    fn pick(&self, groups: &[Group], source_cpus: f64) -> (usize, f64) {
        let limit_cpus = source_cpus.min(self.warning_cpus);
        let mut picked_cpus = 0.0;
        let fits = groups.iter().take_while(|group| {
            let with_cpus = picked_cpus + group.demand.usage_cpus;
            let fits = self.load_cpus + with_cpus <= limit_cpus;
            if fits {
                picked_cpus = with_cpus;
            }
            fits
        });
        (fits.count(), picked_cpus)
    }
}

impl Fine {
    /// Move what `destination` can take off the front of `groups`; what is left.
    fn fill<'a>(
        &self,
        destination: &mut Destination,
        groups: &'a [Group],
        source: &Node,
        plan: &mut Plan,
    ) -> (&'a [Group], f64) {
        let (count, picked_cpus) = destination.pick(groups, limit_cpus(source));
        let (picked, left) = groups.split_at(count);
        if picked_cpus <= self.min_gain_cpus {
            return (left, 0.0);
        }
        destination.load_cpus += picked_cpus;
        plan.moves.extend(picked.iter().map(|group| Move { group: group.id, from: source.id, to: destination.node }));
        (left, picked_cpus)
    }

    /// Why nothing of a node's work moved.
    fn refusal(&self, first: &Destination, head: &Group, source: &Node) -> Outcome {
        let moved_cpus = head.demand.usage_cpus;
        let destination_cpus = first.load_cpus + moved_cpus;
        if destination_cpus > limit_cpus(source) {
            Outcome::DestinationWouldExceedSource { destination_cpus, source_cpus: source.load_cpus }
        } else if destination_cpus > first.warning_cpus {
            Outcome::PastWarning { destination_cpus, warning_cpus: first.warning_cpus }
        } else {
            Outcome::TooLittle { moved_cpus, min_gain_cpus: self.min_gain_cpus }
        }
    }
}

/// What a destination may end up at, as far as the node is concerned that the work leaves.
fn limit_cpus(source: &Node) -> f64 {
    if source.is_candidate() {
        source.load_cpus
    } else {
        f64::INFINITY
    }
}

impl Policy for Fine {
    fn name(&self) -> &'static str {
        "fine"
    }

    fn decide(&self, cell: &CellView) -> Plan {
        let Some(first) = least_loaded(cell, self.avoid_share, None) else {
            return Plan::default();
        };
        let second = least_loaded(cell, self.avoid_share, Some(first.id));
        let mut plan = Plan { first: Some(first.id), second: second.map(|node| node.id), ..Plan::default() };
        let is_destination = |node: &Node| node.id == first.id || second.is_some_and(|second| second.id == node.id);
        let mut first = Destination::new(first, self.warning_share);
        let mut second = second.map(|node| Destination::new(node, self.warning_share));
        let mut sorted = Vec::new();
        for source in cell.nodes.iter().filter(|node| !is_destination(node)) {
            sorted.clear();
            sorted.extend_from_slice(cell.groups_on(source.id));
            self.order.sort(&mut sorted);
            let Some(head) = sorted.first() else {
                continue;
            };
            let (left, mut moved_cpus) = self.fill(&mut first, &sorted, source, &mut plan);
            if let Some(second) = &mut second {
                moved_cpus += self.fill(second, left, source, &mut plan).1;
            }
            let outcome =
                if moved_cpus > 0.0 { Outcome::Moves { moved_cpus } } else { self.refusal(&first, head, source) };
            plan.verdicts.push(Verdict { node: source.id, outcome });
        }
        plan
    }
}
