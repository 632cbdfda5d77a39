//! What `scx_vnuma links` shows, made from what the rounds know.

use std::collections::HashMap;

use crate::cell::GroupId;
use crate::policy::PAGE_COST_S;
use crate::report::{LinksReport, Sharer, SharingPair};
use crate::sense::{group_signals, Found, ProcessLink};
use crate::work::Workload;

/// So many pairs are reported at most, so that a round isn't delayed by making text.
const PAIRS_MAX: usize = 1000;

/// The report on what was found, under the policy's clusters. `page_s` is what a page costs, in seconds, if it is known.
pub(super) fn links_report(
    found: &Found,
    workload: &Workload,
    clusters: &[Vec<GroupId>],
    page_s: Option<f64>,
) -> LinksReport {
    let names = workload.names();
    let cluster_of: HashMap<GroupId, usize> =
        clusters.iter().enumerate().flat_map(|(nr, cluster)| cluster.iter().map(move |&id| (id, nr))).collect();
    let sharer = |id: GroupId| {
        let members = workload.groups().get(id);
        let processes = members.map(|members| members.tgids.clone()).unwrap_or_default();
        Sharer {
            group: id.0,
            name: processes.first().and_then(|tgid| names.get(tgid)).cloned().unwrap_or_default(),
            nr_tasks: members.map_or(0, |members| members.nr_tasks),
            node: workload.node_of(id).0,
            processes,
        }
    };
    let mut signals: Vec<((GroupId, GroupId), ProcessLink)> =
        group_signals(&found.links, workload.groups()).into_iter().collect();
    signals.sort_by(|(x_ids, x), (y_ids, y)| y.pages_per_s().total_cmp(&x.pages_per_s()).then(x_ids.cmp(y_ids)));
    signals.truncate(PAIRS_MAX);
    let pair = |((a, b), signals): &((GroupId, GroupId), ProcessLink)| {
        let kinds = [("wakeups", signals.wakeups_per_s > 0.0), ("mapping", signals.shared_bytes > 0)];
        SharingPair {
            a: sharer(*a),
            b: sharer(*b),
            signals: kinds.iter().filter(|(_, has)| *has).map(|(kind, _)| (*kind).to_string()).collect(),
            wakeups_per_s: signals.wakeups_per_s,
            shared_bytes: signals.shared_bytes,
            pages_per_s: signals.pages_per_s(),
            split_cost_cpus: signals.pages_per_s() * page_s.unwrap_or(PAGE_COST_S),
            is_in_cluster: cluster_of.get(a).is_some_and(|cluster| cluster_of.get(b) == Some(cluster)),
        }
    };
    LinksReport {
        is_on: true,
        sensing_cpu_ms: found.cpu_time.as_millis() as u64,
        links: signals.iter().map(pair).collect(),
        clusters: clusters.iter().map(|cluster| cluster.iter().map(|id| id.0).collect()).collect(),
    }
}
