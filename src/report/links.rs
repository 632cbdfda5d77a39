//! `scx_vnuma links`: which groups share memory, on which nodes they are, and what a split costs.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// What the daemon knows of sharing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinksReport {
    /// False if the daemon doesn't look: under --no-links, and under policies that make no use of it.
    pub is_on: bool,
    /// CPU time that reading the signals has used since the scheduler class was loaded, without the sampling in the kernel.
    pub sensing_cpu_ms: u64,
    /// Pairs of groups that share memory, the costliest to split first.
    pub links: Vec<SharingPair>,
    /// Groups that are kept on one node, each cluster in order of id.
    pub clusters: Vec<Vec<u64>>,
}

/// Two groups that share memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SharingPair {
    /// The group with the lower id.
    pub a: Sharer,
    /// The group with the higher id.
    pub b: Sharer,
    /// The signals that say so: `wakeups`, `mapping`.
    pub signals: Vec<String>,
    /// How often one wakes the other, per second.
    pub wakeups_per_s: f64,
    /// Bytes of writable mappings that both have.
    pub shared_bytes: u64,
    /// Pages that travel per second while they are on different nodes, as estimated.
    pub pages_per_s: f64,
    /// CPU that stalls for these pages cost while they are on different nodes.
    pub split_cost_cpus: f64,
    /// They are in the same cluster.
    pub is_in_cluster: bool,
}

/// A group that shares memory with another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharer {
    /// Its id: that of its process, or of its cgroup under `--group cgroup`.
    pub group: u64,
    /// The name of its first process.
    pub name: String,
    /// Its processes.
    pub processes: Vec<u32>,
    /// Number of its tasks. The threads of a process share all of its memory, and are never split.
    pub nr_tasks: u32,
    /// The node it is on.
    pub node: u32,
}

impl LinksReport {
    /// As text, a line for each pair.
    pub fn text(&self) -> String {
        if !self.is_on {
            return "scx_vnuma doesn't look for shared memory: only --policy auto does, without --no-links\n".into();
        }
        if self.links.is_empty() {
            return "no two processes are known to share memory\n".into();
        }
        let mut text = String::new();
        for pair in &self.links {
            let (a, b) = (&pair.a, &pair.b);
            let place = match a.node == b.node {
                true => format!("both on node {}", a.node),
                false => format!("on nodes {} and {}", a.node, b.node),
            };
            let cost = 100.0 * pair.split_cost_cpus;
            let kept = if pair.is_in_cluster { "; kept together" } else { "" };
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "{} and {}, {place}: {}; a split costs {cost:.1} % of a CPU{kept}",
                sharer_text(a),
                sharer_text(b),
                signals_text(pair)
            );
        }
        text
    }
}

fn sharer_text(sharer: &Sharer) -> String {
    let threads = if sharer.nr_tasks > 1 { format!(", {} tasks", sharer.nr_tasks) } else { String::new() };
    // A task may have any bytes as its name.
    let name: String = sharer.name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("{} ({name}{threads})", sharer.group)
}

fn signals_text(pair: &SharingPair) -> String {
    let wakeups = (pair.wakeups_per_s > 0.0).then(|| format!("{:.0} wakeups/s", pair.wakeups_per_s));
    let mib = pair.shared_bytes as f64 / f64::from(1 << 20);
    let mapping = (pair.shared_bytes > 0).then(|| format!("{mib:.1} MiB mapped by both"));
    wakeups.into_iter().chain(mapping).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharer(group: u64, name: &str, node: u32, nr_tasks: u32) -> Sharer {
        Sharer { group, name: name.into(), processes: vec![group as u32], nr_tasks, node }
    }

    #[test]
    fn a_line_says_who_where_by_which_signal_and_at_what_cost() {
        let pair = SharingPair {
            a: sharer(101, "server", 0, 1),
            b: sharer(207, "cli\nent", 2, 4),
            wakeups_per_s: 1234.4,
            shared_bytes: 3 << 20,
            split_cost_cpus: 0.0253,
            is_in_cluster: true,
            ..SharingPair::default()
        };
        let together =
            SharingPair { b: sharer(207, "client", 0, 1), shared_bytes: 0, is_in_cluster: false, ..pair.clone() };
        let report = LinksReport { is_on: true, links: vec![pair, together], ..LinksReport::default() };
        assert_eq!(
            report.text(),
            "101 (server) and 207 (cli?ent, 4 tasks), on nodes 0 and 2: 1234 wakeups/s, 3.0 MiB mapped by both; a split \
             costs 2.5 % of a CPU; kept together\n\
             101 (server) and 207 (client), both on node 0: 1234 wakeups/s; a split costs 2.5 % of a CPU\n"
        );
    }

    #[test]
    fn without_links_it_says_whether_anybody_looks() {
        assert!(LinksReport::default().text().contains("--no-links"));
        assert!(LinksReport { is_on: true, ..LinksReport::default() }.text().starts_with("no two processes"));
    }
}
