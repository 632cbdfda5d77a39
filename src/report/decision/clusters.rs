//! The groups that move because of each other, in words.

use super::{counted, distinct, Decision};
use crate::cell::{GroupId, NodeId, Plan};

/// The clusters of a plan, by the node that groups of them leave.
pub(super) fn moving(plan: &Plan) -> Vec<(NodeId, Vec<GroupId>)> {
    let mut clusters = Vec::new();
    for cluster in &plan.clusters {
        let leaving = plan.moves.iter().filter(|step| cluster.binary_search(&step.group).is_ok());
        for from in distinct(leaving.map(|step| step.from)) {
            clusters.push((from, cluster.clone()));
        }
    }
    clusters
}

impl Decision {
    /// `; 101 and 102 share memory and are kept together`, for each cluster of which groups leave a node.
    pub(super) fn clusters_text(&self, node: NodeId) -> String {
        /// Of a cluster, and of clusters: a line has to end.
        const SHOWN: usize = 4;

        let clusters: Vec<&Vec<GroupId>> =
            self.clusters.iter().filter(|(from, _)| *from == node).map(|(_, cluster)| cluster).collect();
        let shown = clusters.iter().take(SHOWN).map(|cluster| {
            let ids: Vec<String> = cluster.iter().take(SHOWN).map(|id| id.0.to_string()).collect();
            let (more, last) = (cluster.len().saturating_sub(SHOWN), ids.last().cloned().unwrap_or_default());
            match more {
                0 => format!("; {} and {last} share memory and are kept together", ids[..ids.len() - 1].join(", ")),
                _ => format!("; {} and {more} more share memory and are kept together", ids.join(", ")),
            }
        });
        let more = clusters.len().saturating_sub(SHOWN);
        let rest = (more > 0).then(|| format!("; {} alike", counted(more as u64, "more cluster")));
        shown.chain(rest).collect()
    }
}
