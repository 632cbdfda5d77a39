//! The cell as a policy sees it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Accesses, Groups, Nodes, Window, Words};
use crate::cell::{CellView, Demand, Group, GroupId, Node, NodeId, Pressure};

/// All that a round knows.
pub struct Scene<'a> {
    /// What happened since the last round.
    pub window: &'a Window,
    /// What the sources say of each node.
    pub words: &'a BTreeMap<NodeId, Words>,
    /// The guest's nodes.
    pub nodes: &'a Nodes,
    /// The migratable groups.
    pub groups: &'a Groups,
    /// Memory accesses per instruction of the groups in the window.
    pub accesses: &'a Accesses,
    /// Where the plan in force sends groups that have no node of their own.
    pub destination: NodeId,
    /// The nodes of groups that have one of their own.
    pub homes: &'a HashMap<GroupId, NodeId>,
    /// The time between two rounds.
    pub interval: Duration,
}

/// The cell as a policy sees it.
///
/// A group is on the node that the plan in force has for it, if it ran there; what ran elsewhere meanwhile is bound to
/// other CPUs by its user and counts as fixed. When that node has no CPU left, all that ran is placed there still: it
/// runs elsewhere for want of anything better.
pub fn cell_view(scene: &Scene<'_>) -> CellView {
    let nodes: Vec<Node> = scene.nodes.iter().map(|(id, cpus)| node(scene, id, cpus)).collect();
    let is_gone = |home: NodeId| nodes.iter().all(|node: &Node| node.id != home || node.capacity_cpus == 0.0);
    let mut used_ns_of = BTreeMap::<(NodeId, GroupId), u64>::new();
    for (&(tgid, ran_on), used_ns) in &scene.window.used_ns {
        // A process that ended meanwhile is in no group: nothing of it is left to move.
        let Some(id) = scene.groups.group_of(tgid) else { continue };
        let home = scene.homes.get(&id).copied().unwrap_or(scene.destination);
        if ran_on == home || is_gone(home) {
            *used_ns_of.entry((home, id)).or_default() += used_ns;
        }
    }
    let groups = used_ns_of.into_iter().map(|((node, id), used_ns)| group(scene, id, node, used_ns));
    CellView { groups: groups.collect(), nodes, ..CellView::default() }
}

fn node(scene: &Scene<'_>, id: NodeId, cpus: &[u32]) -> Node {
    let window = scene.window;
    let capacity_cpus = window.nr_online(cpus) as f64;
    let pressure = match scene.words.get(&id) {
        Some(words) if capacity_cpus > 0.0 && !window.wall.is_zero() => words.pressure(scene.interval),
        _ => Pressure::Unknown,
    };
    // What others take and the guest does not see is load all the same.
    let others_cpus = match pressure {
        Pressure::Fresh { share } => share * capacity_cpus,
        Pressure::Stale { .. } | Pressure::Unknown => 0.0,
    };
    let time = window.sum(cpus);
    // Ticks are samples, and lost ones don't come back: what ran by the scheduler class's exact count was busy.
    let used_ns: u64 = window.used_ns.iter().filter(|((_, node), _)| *node == id).map(|(_, ns)| ns).sum();
    let busy_cpus = window.in_cpus(time.busy_ns.max(used_ns));
    let load_cpus = window.in_cpus(time.steal_ns).max(others_cpus) + busy_cpus;
    Node { id, capacity_cpus, pressure, load_cpus, ..Node::default() }
}

fn group(scene: &Scene<'_>, id: GroupId, node: NodeId, used_ns: u64) -> Group {
    let members = scene.groups.get(id);
    let demand = Demand {
        request_cpus: members.map_or(0.0, |members| members.request_cpus),
        usage_cpus: scene.window.in_cpus(used_ns),
        memory_bytes: members.map_or(0.0, |members| members.rss_bytes),
        accesses_per_instruction: scene.accesses.of(id, used_ns),
    };
    Group { id, node, nr_tasks: members.map_or(0, |members| members.nr_tasks), demand, ..Group::default() }
}

#[cfg(test)]
mod tests {
    use super::super::accesses::tests::faults;
    use super::super::tasks::policy;
    use super::super::{test_task, CpuTime, Grouping, TaskRecord, Word};
    use super::*;

    const MS: u64 = 1_000_000;

    /// A scene of 2 s, all of whose tasks are sent to `destination`.
    struct Stage {
        window: Window,
        words: BTreeMap<NodeId, Words>,
        groups: Groups,
        destination: NodeId,
        homes: HashMap<GroupId, NodeId>,
    }

    impl Stage {
        /// CPUs with their busy and stolen ms; processes with their node and the ms that they ran there.
        fn new(cpu_ms: &[(u32, u64, u64)], used_ms: &[(u32, u32, u64)], destination: u32) -> Self {
            let time =
                |&(cpu, busy, steal): &(u32, u64, u64)| (cpu, CpuTime { busy_ns: busy * MS, steal_ns: steal * MS });
            let window = Window {
                wall: Duration::from_secs(2),
                cpu_times: cpu_ms.iter().map(time).collect(),
                used_ns: used_ms.iter().map(|&(tgid, node, ms)| ((tgid, NodeId(node)), ms * MS)).collect(),
                nr_queued: Vec::new(),
            };
            let tasks: Vec<TaskRecord> = used_ms
                .iter()
                .map(|&(tgid, ..)| TaskRecord { policy: policy::EXT, ..test_task(tgid as i32, "t") })
                .collect();
            Stage {
                window,
                words: [0, 1, 2].map(|node| (NodeId(node), Words::default())).into(),
                groups: Groups::of(&tasks, Grouping::Process),
                destination: NodeId(destination),
                homes: HashMap::new(),
            }
        }

        fn view(&self) -> CellView {
            cell_view(&Scene {
                window: &self.window,
                words: &self.words,
                nodes: &Nodes::new([(NodeId(0), vec![0]), (NodeId(1), vec![1, 2, 3]), (NodeId(2), vec![])]),
                groups: &self.groups,
                accesses: &faults([(GroupId(7), 30)]),
                destination: self.destination,
                homes: &self.homes,
                interval: Duration::from_secs(2),
            })
        }
    }

    #[test]
    fn load_is_what_others_take_and_what_runs() {
        let mut stage = Stage::new(&[(0, 1000, 1000), (1, 0, 0), (2, 0, 0), (3, 0, 0)], &[], 0);
        stage.words.insert(NodeId(0), Words { steal_share: 0.5, has_run: true, ..Words::default() });
        let host = Word::Taken { share: 0.5, age: Duration::ZERO, period: Duration::from_secs(1) };
        stage.words.insert(NodeId(1), Words { host: Some(host), ..Words::default() });
        let nodes = stage.view().nodes;
        assert_eq!((nodes[0].pressure, nodes[0].load_cpus), (Pressure::Fresh { share: 0.5 }, 1.0));
        assert_eq!((nodes[1].capacity_cpus, nodes[1].load_cpus), (3.0, 1.5), "an empty node is as loaded as its host");
    }

    #[test]
    fn work_whose_ticks_were_lost_still_loads_its_node() {
        let view = Stage::new(&[(0, 100, 500)], &[(7, 0, 1000)], 0).view();
        assert_eq!(view.nodes[0].load_cpus, 0.25 + 0.5);
    }

    #[test]
    fn a_node_without_online_cpus_is_unknown_and_no_candidate() {
        let view = Stage::new(&[(0, 0, 0), (2, 0, 0)], &[], 0).view();
        assert_eq!(view.nodes[1].capacity_cpus, 1.0);
        assert_eq!(view.nodes[2].pressure, Pressure::Unknown);
        assert!(!view.nodes[2].is_candidate());
    }

    #[test]
    fn what_its_user_bound_elsewhere_is_not_placed_on_the_destination() {
        let view = Stage::new(&[(0, 0, 0)], &[(7, 0, 500), (8, 1, 1)], 0).view();
        assert_eq!(view.groups.len(), 1);
        let demand = view.groups[0].demand;
        assert_eq!((view.groups[0].id, demand.usage_cpus), (GroupId(7), 0.25));
        assert_eq!(demand.accesses_per_instruction, 60.0, "30 faults in half a second");
    }

    #[test]
    fn groups_with_nodes_of_their_own_are_there() {
        let mut stage = Stage::new(&[(0, 0, 0), (1, 0, 0)], &[(7, 0, 500), (8, 1, 100)], 0);
        stage.homes.insert(GroupId(8), NodeId(1));
        let view = stage.view();
        assert_eq!(view.groups_on(NodeId(0)).len(), 1);
        assert_eq!(view.groups_on(NodeId(1))[0].id, GroupId(8));
    }

    #[test]
    fn when_the_destination_is_offline_all_that_ran_is_still_placed_there() {
        let view = Stage::new(&[(0, 0, 0)], &[(7, 0, 1), (8, 0, 1)], 1).view();
        assert_eq!(view.groups_on(NodeId(1)).len(), 2);
    }
}
