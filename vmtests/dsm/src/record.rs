//! The record that the plugin leaves: `dsm.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::counters::Counts;

/// What travelled in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What a page cost, ns; 0 if pages were only counted.
    pub page_cost_ns: u64,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Bytes of the distributed memory.
    pub memory_bytes: u64,
    /// The node of each virtual CPU; `None` for CPUs that belong to no node.
    pub cpu_nodes: Vec<Option<usize>>,
    /// Faults whose code and page are not in `sites`, because their table was full.
    pub sites_lost: u64,
    /// The whole run.
    pub total: Span,
    /// Each second of the run, in order. A run of hours has its first two only.
    pub seconds: Vec<Second>,
    /// Phases in order, from the first, `boot`, to the one that was going on when this was written. Phases begin with a mark.
    pub phases: Vec<Phase>,
}

/// A second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When it ended, seconds since the machine's start.
    pub until_s: f64,
    /// Pages that travelled, by the node that they came from, then by the node that they went to.
    pub transfers: Vec<Vec<u64>>,
    /// Faults of nodes that had a copy already.
    pub upgrades: Vec<u64>,
}

/// A phase, which a program in the machine has named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name. Several phases may have the same.
    pub name: String,
    /// When it began, seconds since the machine's start.
    pub from_s: f64,
    /// When it ended, or when this was written.
    pub to_s: f64,
    /// What travelled in it.
    #[serde(flatten)]
    pub span: Span,
}

/// What travelled between two moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// By node.
    pub counts: Counts,
    /// The pages with the most faults, in falling order.
    pub pages: Vec<Page>,
    /// Code and page with the most faults, in falling order.
    pub sites: Vec<Site>,
}

/// Faults of one page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Its number from the beginning of the distributed memory: the machine's page frame number.
    pub page: u64,
    /// Faults of loads, by node.
    pub loads: Vec<u32>,
    /// Faults of stores, by node.
    pub stores: Vec<u32>,
}

impl Page {
    /// All its faults.
    pub fn faults(&self) -> u64 {
        self.loads.iter().chain(&self.stores).map(|faults| u64::from(*faults)).sum()
    }
}

/// Faults of one instruction at one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The instruction's virtual address in the kernel, in hexadecimal; `None` for all programs together.
    pub code: Option<String>,
    /// The page's number.
    pub page: u64,
    /// Where in the page the last fault was, bytes.
    pub offset: u32,
    /// Faults.
    pub faults: u64,
}

/// The pages and the sites that a span keeps.
pub(crate) const PAGES_MAX: usize = 1024;
pub(crate) const SITES_MAX: usize = 2048;

/// The `max` elements with the highest faults, in falling order; among equals, those that come first.
pub(crate) fn highest<T>(mut items: Vec<T>, max: usize, faults: impl Fn(&T) -> u64) -> Vec<T> {
    items.sort_by_key(|item| std::cmp::Reverse(faults(item)));
    items.truncate(max);
    items
}

impl Record {
    /// The last phase of that name.
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().rev().find(|phase| phase.name == name)
    }
}

impl Span {
    /// Faults by page, of the pages that it keeps.
    pub fn faults_by_page(&self) -> BTreeMap<u64, u64> {
        self.pages.iter().map(|page| (page.page, page.faults())).collect()
    }
}
