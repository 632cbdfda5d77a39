//! The values of the chart's points, as the page's script reads them: short arrays of whole numbers.

use serde::Serialize;

use super::text::Clock;
use super::timeline::{Bin, NodeBin, Timeline};

/// What the script knows of the run.
#[derive(Debug, Serialize)]
pub(super) struct Points {
    /// Number of bins.
    bins: usize,
    /// Length of the chart, in bins: the last may be cut off.
    length: f64,
    /// When each bin begins, in words.
    times: Vec<String>,
    /// What the rounds of each bin decided.
    texts: Vec<String>,
    /// The bins in which something moved.
    moving: Vec<usize>,
    cell: CellPoints,
    nodes: Vec<NodePoints>,
}

/// The cell's values, in hundredths of a CPU; -1 where nothing is known.
#[derive(Debug, Serialize)]
struct CellPoints {
    work: Vec<i64>,
    left: Vec<i64>,
    wanted: Vec<i64>,
    /// KiB.
    moved: Vec<i64>,
}

/// A node's values.
#[derive(Debug, Serialize)]
struct NodePoints {
    /// Hundredths of a CPU; -1 where the log has no round, -2 where the node has no CPU online.
    work: Vec<i64>,
    /// The same, of the guest's other tasks.
    rest: Vec<i64>,
    /// What others take, in percent of the node; -1 if it is not known.
    others: Vec<i64>,
    /// Hundredths of a CPU; -1 without a limit.
    limit: Vec<i64>,
    /// Groups that came and went, and hits, as `[bin, came, went, hits]` where there were any.
    events: Vec<[u64; 4]>,
}

impl Points {
    pub fn of(timeline: &Timeline, clock: Clock) -> Self {
        let bins = &timeline.bins;
        let nodes = timeline.nodes.keys().map(|id| {
            let of_node: Vec<NodeBin> = bins.iter().map(|bin| bin.nodes.get(id).copied().unwrap_or_default()).collect();
            NodePoints::of(bins, &of_node)
        });
        Points {
            bins: bins.len(),
            length: timeline.end() / timeline.bin_rounds,
            times: (0..bins.len()).map(|at| clock.time(at as f64 * timeline.bin_rounds)).collect(),
            texts: bins.iter().map(text).collect(),
            moving: (0..bins.len()).filter(|&at| bins[at].nodes.values().any(|node| node.groups_out > 0)).collect(),
            nodes: nodes.collect(),
            cell: CellPoints {
                work: bins.iter().map(|bin| hundredths(bin.work_cpus())).collect(),
                left: bins.iter().map(|bin| hundredths(bin.left_cpus())).collect(),
                wanted: bins.iter().map(|bin| hundredths(bin.wanted_cpus())).collect(),
                moved: bins.iter().map(|bin| (bin.moved_bytes / 1024.0).round() as i64).collect(),
            },
        }
    }
}

impl NodePoints {
    fn of(bins: &[Bin], of_node: &[NodeBin]) -> Self {
        let each =
            |value: fn(&Bin, &NodeBin) -> i64| bins.iter().zip(of_node).map(|(bin, node)| value(bin, node)).collect();
        let amount = |bin: &Bin, node: &NodeBin, sum: f64| match (bin.covered > 0.0, node.online > 0.0) {
            (false, _) => -1,
            (true, false) => -2,
            (true, true) => hundredths(Some(sum / node.online)),
        };
        let events = of_node.iter().enumerate().filter_map(|(at, node)| {
            let NodeBin { groups_in, groups_out, hits, .. } = *node;
            (groups_in + groups_out + hits > 0).then_some([at as u64, groups_in, groups_out, hits])
        });
        NodePoints {
            work: bins.iter().zip(of_node).map(|(bin, node)| amount(bin, node, node.work)).collect(),
            rest: bins.iter().zip(of_node).map(|(bin, node)| amount(bin, node, node.rest)).collect(),
            others: each(|_, node| node.others_share().map_or(-1, |share| (100.0 * share).round() as i64)),
            limit: each(|_, node| hundredths(node.limit_cpus)),
            events: events.collect(),
        }
    }
}

fn text(bin: &Bin) -> String {
    let mut text = bin.texts.join("\n");
    if bin.nr_left_out > 0 {
        text += &format!("\nand {} more rounds that moved something", bin.nr_left_out);
    }
    text
}

fn hundredths(cpus: Option<f64>) -> i64 {
    cpus.map_or(-1, |cpus| (100.0 * cpus).round() as i64)
}

/// Means over what a bin covers; `None` if it has no round that knows.
impl Bin {
    /// CPU that migratable work used on all nodes.
    pub fn work_cpus(&self) -> Option<f64> {
        (self.covered > 0.0).then(|| self.nodes.values().map(|node| node.work).sum::<f64>() / self.covered)
    }

    /// CPU that others left on the nodes whose pressure was known.
    pub fn left_cpus(&self) -> Option<f64> {
        let is_known = self.nodes.values().any(|node| node.known > 0.0);
        is_known.then(|| self.nodes.values().map(|node| node.left).sum::<f64>() / self.covered)
    }

    /// CPU that others took on the nodes whose pressure was known.
    pub fn others_cpus(&self) -> Option<f64> {
        (self.covered > 0.0).then(|| self.nodes.values().map(|node| node.others).sum::<f64>() / self.covered)
    }

    /// CPU that the work wanted.
    pub fn wanted_cpus(&self) -> Option<f64> {
        (self.balanced > 0.0).then(|| self.wanted / self.balanced)
    }

    /// CPU that the policy said the nodes could supply.
    pub fn supply_cpus(&self) -> Option<f64> {
        (self.balanced > 0.0).then(|| self.supply / self.balanced)
    }
}

impl NodeBin {
    /// Share of the node that others took, where it is known.
    pub fn others_share(&self) -> Option<f64> {
        let whole = self.others + self.left;
        (self.known > 0.0 && whole > 0.0).then(|| self.others / whole)
    }
}
