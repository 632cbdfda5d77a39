//! Builds the cell's view for a policy from one round's measurements.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::{NodeReadings, Nodes, Window};
use crate::cell::{CellView, Demand, Group, GroupId, Link, Node, NodeId, Pressure};
use crate::linux::CpuSet;
use crate::work::{Accesses, Groups};

/// Everything that a view is built from.
pub struct ViewInputs<'a> {
    /// Counter differences since the last round.
    pub window: &'a Window,
    /// The sources' readings of each node.
    pub readings: &'a BTreeMap<NodeId, NodeReadings>,
    /// The guest's nodes.
    pub nodes: &'a Nodes,
    /// The migratable groups.
    pub groups: &'a Groups,
    /// Memory accesses per instruction of the groups in the window.
    pub accesses: &'a Accesses,
    /// Where the current plan sends groups that have no node of their own.
    pub destination: NodeId,
    /// The groups that have a node of their own, and that node.
    pub homes: &'a HashMap<GroupId, NodeId>,
    /// Which groups share memory.
    pub links: &'a [Link],
    /// Time between two rounds.
    pub interval: Duration,
    /// Nodes for which the kernel side raised an alarm since the last round.
    pub hit_nodes: &'a BTreeSet<NodeId>,
    /// Now, by the clock of [`Members::started_at_ns`](crate::work::Members::started_at_ns).
    pub now_ns: u64,
}

/// The cell as a policy sees it.
///
/// A group is on the node that the current plan assigns to it, if it ran there. Tasks that ran elsewhere are bound to
/// other CPUs by their user and count as fixed. If the assigned node has no CPU left, everything that ran counts as
/// being on that node: it runs elsewhere only because its node can't run it.
pub fn cell_view(inputs: &ViewInputs<'_>) -> CellView {
    let nodes: Vec<Node> = inputs.nodes.iter().map(|(id, cpus)| node(inputs, id, cpus)).collect();
    let is_gone = |home: NodeId| nodes.iter().all(|node: &Node| node.id != home || node.capacity_cpus == 0.0);
    let mut times_of = BTreeMap::<(NodeId, GroupId), Times>::new();
    for (&(tgid, ran_on), used_ns) in &inputs.window.used_ns {
        // A process without a group has ended, so none of it is left to move.
        let Some(id) = inputs.groups.group_of(tgid) else { continue };
        let home = inputs.homes.get(&id).copied().unwrap_or(inputs.destination);
        if ran_on == home || is_gone(home) {
            let times = times_of.entry((home, id)).or_default();
            times.used_ns += used_ns;
            times.waited_ns += inputs.window.waited_ns.get(&(tgid, ran_on)).copied().unwrap_or(0);
        }
    }
    let groups = times_of.into_iter().map(|((node, id), times)| group(inputs, id, node, times));
    let window_rounds = inputs.window.wall.as_secs_f64() / inputs.interval.as_secs_f64();
    CellView { groups: groups.collect(), nodes, links: inputs.links.to_vec(), window_rounds, ..CellView::default() }
}

/// A group's time in the window.
#[derive(Clone, Copy, Default)]
struct Times {
    used_ns: u64,
    waited_ns: u64,
}

fn node(inputs: &ViewInputs<'_>, id: NodeId, cpus: &CpuSet) -> Node {
    let window = inputs.window;
    let capacity_cpus = window.nr_online(cpus) as f64;
    let pressure = match inputs.readings.get(&id) {
        Some(readings) if capacity_cpus > 0.0 && !window.wall.is_zero() => readings.pressure(inputs.interval),
        _ => Pressure::Unknown,
    };
    // What others take is load, even if the guest's counters don't show it.
    let others_cpus = match pressure {
        Pressure::Fresh { share } => share * capacity_cpus,
        Pressure::Stale { .. } | Pressure::Unknown => 0.0,
    };
    let time = window.sum(cpus);
    // Busy time is sampled by ticks, which may be lost. Run time is exact, so busy time is at least that.
    let used_ns = window.used_ns_on(id);
    let busy_cpus = window.in_cpus(time.busy_ns.max(used_ns));
    let load_cpus = window.in_cpus(time.steal_ns).max(others_cpus) + busy_cpus;
    let waiting_cpus = window.nr_queued_on(id).into();
    let alarm = inputs.hit_nodes.contains(&id);
    let stolen_share = stolen_share(used_ns.max(time.busy_ns), time.steal_ns);
    let sample = inputs.readings.get(&id).map(|readings| readings.sample(window.wall, inputs.interval));
    let fetched_pages = inputs.readings.get(&id).and_then(|readings| Some(readings.dsm?.counters.fetched_pages));
    Node {
        id,
        capacity_cpus,
        pressure,
        load_cpus,
        waiting_cpus,
        fetched_pages,
        stolen_share,
        sample,
        alarm,
        can_give_way: window.can_give_way,
        ..Node::default()
    }
}

/// Of the time that vCPUs wanted to run, the share that was stolen; `None` if they wanted too little to tell.
fn stolen_share(busy_ns: u64, steal_ns: u64) -> Option<f64> {
    /// A few of a host's time slices.
    const TELLING_NS: u64 = 20_000_000;

    let wanted_ns = busy_ns + steal_ns;
    (wanted_ns >= TELLING_NS).then(|| steal_ns as f64 / wanted_ns as f64)
}

fn group(inputs: &ViewInputs<'_>, id: GroupId, node: NodeId, times: Times) -> Group {
    let Times { used_ns, waited_ns } = times;
    let members = inputs.groups.get(id);
    let demand = Demand {
        request_cpus: members.map_or(0.0, |members| members.request_cpus),
        usage_cpus: inputs.window.in_cpus(used_ns),
        memory_bytes: members.map_or(0.0, |members| members.rss_bytes),
        accesses_per_instruction: inputs.accesses.of(id, used_ns),
    };
    let age = Duration::from_nanos(members.map_or(0, |members| inputs.now_ns.saturating_sub(members.started_at_ns)));
    Group {
        id,
        node,
        nr_tasks: members.map_or(0, |members| members.nr_tasks),
        demand,
        age_rounds: age.as_secs_f64() / inputs.interval.as_secs_f64(),
        wanted_cpus: Some(inputs.window.in_cpus(used_ns + waited_ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CpuTime, Reading};
    use super::*;
    use crate::work::{policy, test_faults, test_task, Grouping, TaskRecord};

    const MS: u64 = 1_000_000;

    /// A window of 2 s in which all tasks are sent to `destination`.
    struct Setup {
        window: Window,
        readings: BTreeMap<NodeId, NodeReadings>,
        groups: Groups,
        destination: NodeId,
        homes: HashMap<GroupId, NodeId>,
    }

    impl Setup {
        /// `cpu_ms`: CPUs with busy and stolen ms. `used_ms`: processes with their node and the ms they ran there.
        fn new(cpu_ms: &[(u32, u64, u64)], used_ms: &[(u32, u32, u64)], destination: u32) -> Self {
            let time =
                |&(cpu, busy, steal): &(u32, u64, u64)| (cpu, CpuTime { busy_ns: busy * MS, steal_ns: steal * MS });
            let window = Window {
                wall: Duration::from_secs(2),
                cpu_times: cpu_ms.iter().map(time).collect(),
                used_ns: used_ms.iter().map(|&(tgid, node, ms)| ((tgid, NodeId(node)), ms * MS)).collect(),
                nr_queued: vec![0, 3],
                ..Window::default()
            };
            let tasks: Vec<TaskRecord> = used_ms
                .iter()
                .map(|&(tgid, ..)| TaskRecord { policy: policy::EXT, ..test_task(tgid as i32, "t") })
                .collect();
            Setup {
                window,
                readings: [0, 1, 2].map(|node| (NodeId(node), NodeReadings::default())).into(),
                groups: Groups::of(&tasks, Grouping::Process),
                destination: NodeId(destination),
                homes: HashMap::new(),
            }
        }

        fn view(&self) -> CellView {
            cell_view(&ViewInputs {
                window: &self.window,
                readings: &self.readings,
                nodes: &Nodes::new([(NodeId(0), vec![0]), (NodeId(1), vec![1, 2, 3]), (NodeId(2), vec![])]),
                groups: &self.groups,
                accesses: &test_faults([(GroupId(7), 30)]),
                destination: self.destination,
                homes: &self.homes,
                links: &[],
                interval: Duration::from_secs(2),
                hit_nodes: &BTreeSet::from([NodeId(2)]),
                now_ns: 5000 * MS,
            })
        }
    }

    #[test]
    fn what_is_stolen_is_a_share_of_what_vcpus_wanted_and_a_little_tells_nothing() {
        let nodes = Setup::new(&[(0, 300, 100), (1, 10, 5), (2, 0, 0), (3, 0, 0)], &[], 0).view().nodes;
        assert_eq!((nodes[0].stolen_share, nodes[1].stolen_share), (Some(0.25), None));
    }

    #[test]
    fn load_is_what_others_take_plus_what_runs() {
        let mut setup = Setup::new(&[(0, 1000, 1000), (1, 0, 0), (2, 0, 0), (3, 0, 0)], &[], 0);
        setup.readings.insert(NodeId(0), NodeReadings { steal_share: 0.5, has_run: true, ..NodeReadings::default() });
        let host = Reading::Taken { share: 0.5, age: Duration::ZERO, period: Duration::from_secs(1), spin: None };
        setup.readings.insert(NodeId(1), NodeReadings { host: Some(host), ..NodeReadings::default() });
        let nodes = setup.view().nodes;
        assert_eq!((nodes[0].pressure, nodes[0].load_cpus), (Pressure::Fresh { share: 0.5 }, 1.0));
        assert_eq!((nodes[1].capacity_cpus, nodes[1].load_cpus), (3.0, 1.5), "an empty node is as loaded as its host");
    }

    #[test]
    fn work_whose_ticks_were_lost_still_counts_as_load() {
        let view = Setup::new(&[(0, 100, 500)], &[(7, 0, 1000)], 0).view();
        assert_eq!(view.nodes[0].load_cpus, 0.25 + 0.5);
    }

    #[test]
    fn the_pressure_of_a_node_without_online_cpus_is_unknown() {
        let view = Setup::new(&[(0, 0, 0), (2, 0, 0)], &[], 0).view();
        assert_eq!(view.nodes[1].capacity_cpus, 1.0);
        assert_eq!(view.nodes[2].pressure, Pressure::Unknown);
        assert!(!view.nodes[2].is_candidate());
    }

    #[test]
    fn a_task_bound_elsewhere_by_its_user_is_not_in_the_view() {
        let view = Setup::new(&[(0, 0, 0)], &[(7, 0, 500), (8, 1, 1)], 0).view();
        assert_eq!(view.groups.len(), 1);
        let demand = view.groups[0].demand;
        assert_eq!((view.groups[0].id, demand.usage_cpus), (GroupId(7), 0.25));
        assert_eq!(demand.accesses_per_instruction, 60.0, "30 faults in half a second");
    }

    #[test]
    fn groups_with_nodes_of_their_own_are_on_them() {
        let mut setup = Setup::new(&[(0, 0, 0), (1, 0, 0)], &[(7, 0, 500), (8, 1, 100)], 0);
        setup.homes.insert(GroupId(8), NodeId(1));
        let view = setup.view();
        assert_eq!(view.groups_on(NodeId(0)).len(), 1);
        assert_eq!(view.groups_on(NodeId(1))[0].id, GroupId(8));
    }

    #[test]
    fn while_the_destination_is_offline_everything_that_ran_counts_as_there() {
        let view = Setup::new(&[(0, 0, 0)], &[(7, 0, 1), (8, 0, 1)], 1).view();
        assert_eq!(view.groups_on(NodeId(1)).len(), 2);
    }

    #[test]
    fn the_view_says_what_waits_what_is_wanted_how_old_it_is_and_what_was_hit() {
        let mut setup = Setup::new(&[(0, 0, 0), (1, 0, 0)], &[(7, 0, 500)], 0);
        setup.window.waited_ns.insert((7, NodeId(0)), 1000 * MS);
        // A node that the group is not on.
        setup.window.waited_ns.insert((7, NodeId(1)), 1000 * MS);
        let view = setup.view();
        assert_eq!(view.nodes.iter().map(|node| node.waiting_cpus).collect::<Vec<_>>(), [0.0, 3.0, 0.0]);
        assert_eq!(view.nodes.iter().map(|node| node.alarm).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!((view.groups[0].wanted_cpus, view.groups[0].age_rounds), (Some(0.75), 2.5));
        assert_eq!(view.window_rounds, 1.0);
    }
}
