//! What a live guest looks like, as a [`CellView`].

mod cgroups;
mod cpu_time;
mod nodes;
mod pressure;
mod selector;
mod tasks;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

pub use cgroups::CgroupPaths;
pub use cpu_time::{CpuTime, CpuTimeError, CpuTimeReader, CpuTimes};
pub use nodes::Nodes;
pub use pressure::{Word, Words};
pub use selector::{Selector, SelectorError, DEFAULT_SELECTORS};
pub use tasks::{policy, read_tasks, TaskRecord};

#[cfg(test)]
pub(crate) use tasks::tests::task as test_task;

use crate::bpf::{RunTime, RunTimes};
use crate::cell::{CellView, Demand, Group, GroupId, Node, NodeId, Pressure};

/// All counters at one moment.
struct Sample {
    at: Instant,
    cpu_times: CpuTimes,
    run_times: RunTimes,
}

/// What happened between two samples.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// How long it was, by the guest's clock.
    pub wall: Duration,
    /// Each CPU's time in it. Only CPUs that were online at its end.
    pub cpu_times: CpuTimes,
    /// Time in it that processes' migratable tasks really ran, ns.
    pub used_ns: HashMap<(u32, NodeId), u64>,
}

impl Window {
    /// Ticks of steal on each node, over its online CPUs.
    pub fn steal_ticks(&self, nodes: &Nodes) -> BTreeMap<NodeId, u64> {
        nodes.iter().map(|(node, cpus)| (node, self.sum(cpus).steal_ticks)).collect()
    }

    fn online<'a>(&'a self, cpus: &'a [u32]) -> impl Iterator<Item = &'a CpuTime> {
        cpus.iter().filter_map(|cpu| self.cpu_times.get(cpu))
    }

    fn sum(&self, cpus: &[u32]) -> CpuTime {
        self.online(cpus).fold(CpuTime::default(), |sum, time| CpuTime {
            busy_ticks: sum.busy_ticks + time.busy_ticks,
            steal_ticks: sum.steal_ticks + time.steal_ticks,
        })
    }
}

/// Turns counters into windows, one a round.
pub struct Senses {
    reader: CpuTimeReader,
    last: Option<Sample>,
}

impl Senses {
    /// Opens what it reads from.
    pub fn open() -> Result<Self, CpuTimeError> {
        Ok(Senses { reader: CpuTimeReader::open()?, last: None })
    }

    /// The window since the last call; `None` the first time.
    pub fn window(&mut self, run_times: RunTimes) -> Result<Option<Window>, CpuTimeError> {
        let now = Sample { at: Instant::now(), cpu_times: self.reader.read()?, run_times };
        let window = self.last.as_ref().map(|last| between(last, &now));
        self.last = Some(now);
        Ok(window)
    }
}

fn between(earlier: &Sample, later: &Sample) -> Window {
    let cpu_times = later.cpu_times.iter().map(|(&cpu, time)| {
        // A CPU that was offline before has no baseline: nothing is known of it in this window.
        let before = earlier.cpu_times.get(&cpu).unwrap_or(time);
        (cpu, time.since(*before))
    });
    let used_ns = later.run_times.iter().map(|(&key, time)| {
        let before = earlier.run_times.get(&key).copied().unwrap_or_else(RunTime::default);
        (key, time.used_ns().saturating_sub(before.used_ns()))
    });
    Window {
        wall: later.at.duration_since(earlier.at),
        cpu_times: cpu_times.collect(),
        used_ns: used_ns.filter(|(_, used_ns)| *used_ns > 0).collect(),
    }
}

/// The cell as a policy sees it. `destination` is where the plan in force sends migratable work.
///
/// Steal is taken over wall time. A migratable process is placed on the destination if it ran there; what ran elsewhere
/// meanwhile is bound to other CPUs by its user and counts as fixed. When the destination has no CPU left, all that ran
/// is placed there still: it runs elsewhere for want of anything better.
pub fn cell_view(
    window: &Window,
    tasks: &[TaskRecord],
    nodes: &Nodes,
    destination: NodeId,
    ticks_per_second: u64,
) -> CellView {
    let wall_s = window.wall.as_secs_f64();
    let ticks_to_cpus = |ticks: u64| ticks as f64 / ticks_per_second as f64 / wall_s;
    let view = nodes.iter().map(|(id, cpus)| {
        let capacity_cpus = window.online(cpus).count() as f64;
        let time = window.sum(cpus);
        let pressure = if capacity_cpus == 0.0 || wall_s == 0.0 {
            Pressure::Unknown
        } else {
            Pressure::Fresh { share: (ticks_to_cpus(time.steal_ticks) / capacity_cpus).min(1.0) }
        };
        // Ticks are samples, and lost ones don't come back: what ran by the scheduler class's exact count was busy.
        let used_ns: u64 = window.used_ns.iter().filter(|((_, node), _)| *node == id).map(|(_, ns)| ns).sum();
        let busy_cpus = ticks_to_cpus(time.busy_ticks).max(used_ns as f64 / 1e9 / wall_s);
        let load_cpus = if wall_s == 0.0 { 0.0 } else { ticks_to_cpus(time.steal_ticks) + busy_cpus };
        Node { id, capacity_cpus, pressure, load_cpus }
    });
    let nodes: Vec<Node> = view.collect();
    let is_gone = nodes.iter().all(|node| node.id != destination || node.capacity_cpus == 0.0);

    let mut used_ns_of = BTreeMap::<GroupId, u64>::new();
    for (&(tgid, node), used_ns) in &window.used_ns {
        if node == destination || is_gone {
            *used_ns_of.entry(GroupId(tgid.into())).or_default() += used_ns;
        }
    }
    let mut nr_tasks_of = HashMap::<GroupId, u32>::new();
    for task in tasks.iter().filter(|task| task.is_migratable()) {
        *nr_tasks_of.entry(GroupId(task.tgid as u64)).or_default() += 1;
    }
    let groups = used_ns_of.into_iter().map(|(id, used_ns)| {
        let demand = Demand { usage_cpus: used_ns as f64 / 1e9 / wall_s, ..Demand::default() };
        Group { id, node: destination, nr_tasks: nr_tasks_of.get(&id).copied().unwrap_or(0), demand }
    });
    CellView { groups: groups.collect(), nodes }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 100;

    fn nodes() -> Nodes {
        Nodes::new([(NodeId(0), vec![0]), (NodeId(1), vec![1, 2, 3]), (NodeId(2), vec![])])
    }

    fn window(cpu_times: &[(u32, u64, u64)], used_ns: &[(u32, u32, u64)]) -> Window {
        let time = |&(cpu, busy_ticks, steal_ticks): &(u32, u64, u64)| (cpu, CpuTime { busy_ticks, steal_ticks });
        Window {
            wall: Duration::from_secs(2),
            cpu_times: cpu_times.iter().map(time).collect(),
            used_ns: used_ns.iter().map(|&(tgid, node, ns)| ((tgid, NodeId(node)), ns)).collect(),
        }
    }

    #[test]
    fn steal_is_a_share_of_wall_time_and_of_the_nodes_cpus() {
        let view =
            cell_view(&window(&[(0, 100, 100), (1, 0, 75), (2, 0, 0), (3, 0, 0)], &[]), &[], &nodes(), NodeId(0), HZ);
        assert_eq!(view.nodes[0].pressure, Pressure::Fresh { share: 0.5 });
        assert_eq!(view.nodes[1].pressure, Pressure::Fresh { share: 0.125 });
        assert_eq!(view.nodes[0].load_cpus, 1.0);
        assert_eq!(view.nodes[1].capacity_cpus, 3.0);
    }

    #[test]
    fn work_whose_ticks_were_lost_still_loads_its_node() {
        let view = cell_view(&window(&[(0, 10, 50)], &[(7, 0, 1_000_000_000)]), &[], &nodes(), NodeId(0), HZ);
        assert_eq!(view.nodes[0].load_cpus, 0.25 + 0.5);
    }

    #[test]
    fn a_node_without_online_cpus_is_unknown_and_no_candidate() {
        let view = cell_view(&window(&[(0, 0, 0), (2, 0, 0)], &[]), &[], &nodes(), NodeId(0), HZ);
        assert_eq!(view.nodes[1].capacity_cpus, 1.0);
        assert_eq!(view.nodes[2].pressure, Pressure::Unknown);
        assert!(!view.nodes[2].is_candidate());
    }

    #[test]
    fn what_its_user_bound_elsewhere_is_not_placed_on_the_destination() {
        let view = cell_view(&window(&[(0, 0, 0)], &[(7, 0, 500_000_000), (8, 1, 1)]), &[], &nodes(), NodeId(0), HZ);
        assert_eq!(view.groups.len(), 1);
        assert_eq!(view.groups[0].id, GroupId(7));
        assert_eq!(view.groups[0].demand.usage_cpus, 0.25);
    }

    #[test]
    fn when_the_destination_is_offline_all_that_ran_is_still_placed_there() {
        let view = cell_view(&window(&[(0, 0, 0)], &[(7, 0, 1), (8, 0, 1)]), &[], &nodes(), NodeId(1), HZ);
        assert_eq!(view.groups_on(NodeId(1)).len(), 2);
    }

    #[test]
    fn a_cpu_that_comes_online_in_the_window_brings_no_history() {
        let sample = |cpu_times: CpuTimes| Sample { at: Instant::now(), cpu_times, run_times: RunTimes::new() };
        let old = CpuTime { busy_ticks: 900, steal_ticks: 900 };
        let window = between(&sample(CpuTimes::new()), &sample(CpuTimes::from([(1, old)])));
        assert_eq!(window.cpu_times[&1], CpuTime::default());
    }
}
