//! The orders in which groups are picked (the thesis's algorithm 4-3).

use std::fmt;
use std::str::FromStr;

use crate::cell::Group;

/// The order in which `fine` picks work: algorithm 4-3's `sort_option`, by number or by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// 0: by id.
    #[serde(rename = "none")]
    Unsorted,
    /// 1: least requested CPU first.
    Request,
    /// 2: least used CPU first.
    Cpu,
    /// 3: least memory first, which makes moves cheap.
    #[default]
    Memory,
    /// 4: most used CPU first.
    CpuDesc,
    /// 5: least memory accesses per instruction (MAI) first.
    Mai,
}

impl Order {
    /// All orders, by number.
    pub const ALL: [Order; 6] =
        [Order::Unsorted, Order::Request, Order::Cpu, Order::Memory, Order::CpuDesc, Order::Mai];

    /// The number in algorithm 4-3.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name, as in `--order`.
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

    /// Sort groups that are in order of id. Equal groups stay in that order.
    pub(super) fn sort(self, groups: &mut [Group]) {
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

/// The text names no order.
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
