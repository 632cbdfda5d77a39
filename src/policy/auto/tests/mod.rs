//! Tests of `auto` as a pure policy, round by round on synthetic views.

mod bytes;
mod corner_cases;
mod feeding;
mod folding;
mod giving_way;
mod judging;
mod properties;
mod room;
mod scale;
mod sharing;

use std::collections::BTreeMap;

use super::{Auto, AutoMemory};
use crate::cell::{CellView, Demand, Group, GroupId, Link, Move, Node, NodeId, Plan, Pressure, Resident};

/// The nodes that new processes go to as long as these have idle CPUs.
fn chosen(plan: &Plan) -> BTreeMap<NodeId, f64> {
    plan.spread.iter().filter(|(_, weight)| **weight > 0.0).map(|(id, weight)| (*id, *weight)).collect()
}

/// Rounds of half a second.
const INTERVAL_S: f64 = 0.5;

/// The policy with its state.
struct Run {
    auto: Auto,
    memory: AutoMemory,
}

impl Run {
    fn new() -> Self {
        Run { auto: Auto::with_interval(INTERVAL_S), memory: AutoMemory::default() }
    }

    fn round(&mut self, view: &CellView) -> Plan {
        self.auto.observe(&mut self.memory, view);
        let plan = self.auto.decide(&self.memory, view);
        self.auto.commit(&mut self.memory, view, &plan);
        plan
    }

    /// Rounds in a cell whose work goes where plans send it. Returns the moves with the seconds after which they were made,
    /// and the last plan.
    fn follow(&mut self, seconds: f64, scene: &mut Scene) -> (Vec<(f64, Move)>, Plan) {
        let mut moves = Vec::new();
        let mut last = Plan::default();
        for round in 1..=(seconds / INTERVAL_S).round() as u32 {
            last = self.round(&scene.view());
            scene.carry_out(&last);
            moves.extend(last.moves.iter().map(|step| (f64::from(round) * INTERVAL_S, *step)));
        }
        (moves, last)
    }
}

/// A cell in which work gets the CPU that others and limits leave, shared as between equals.
#[derive(Clone, Debug, Default)]
struct Scene {
    nodes: Vec<Node>,
    work: Vec<Work>,
    links: Vec<Link>,
    limits: BTreeMap<NodeId, f64>,
    residents: Vec<Resident>,
    memory_follows: bool,
    page_cost_rounds: Option<f64>,
}

/// A group, and what it wants.
#[derive(Clone, Copy, Debug)]
struct Work {
    id: u64,
    node: u32,
    wants_cpus: f64,
    threads: u32,
    bytes: f64,
    age_s: f64,
}

impl Scene {
    /// Nodes with this many CPUs each, of which others take these shares.
    fn new(capacity_cpus: f64, others_shares: &[f64]) -> Self {
        let node = |(share, id): (&f64, u32)| node(id, capacity_cpus, *share);
        Scene { nodes: others_shares.iter().zip(0..).map(node).collect(), ..Scene::default() }
    }

    /// Adds groups of one task to a node, each with the given demand. They have run for a minute and have 10 MB.
    fn with(mut self, node: u32, wants_cpus: &[f64]) -> Self {
        for &wants_cpus in wants_cpus {
            let id = 100 + self.work.len() as u64;
            self.work.push(Work { id, node, wants_cpus, threads: 1, bytes: 10e6, age_s: 60.0 });
        }
        self
    }

    /// Links of groups by id, with the CPU that a split costs.
    fn linked(mut self, links: &[(u64, u64, f64)]) -> Self {
        self.link(links);
        self
    }

    fn link(&mut self, links: &[(u64, u64, f64)]) {
        let pages_per_round = |cut_cpus: f64| cut_cpus / Auto::with_interval(INTERVAL_S).options.page_cost_rounds;
        let link = |&(a, b, cut_cpus): &(u64, u64, f64)| Link::new(GroupId(a), GroupId(b), pages_per_round(cut_cpus));
        self.links = Link::sorted(links.iter().map(link));
    }

    /// The node of a group.
    fn node_of(&self, id: u64) -> u32 {
        self.work.iter().find(|work| work.id == id).expect("the group lives").node
    }

    fn others(&mut self, node: usize, share: f64) {
        self.nodes[node].pressure = Pressure::Fresh { share };
    }

    fn on(&self, node: u32) -> usize {
        self.work.iter().filter(|work| work.node == node).count()
    }

    fn carry_out(&mut self, plan: &Plan) {
        self.limits = plan.limits.clone();
        for step in &plan.moves {
            let work =
                self.work.iter_mut().find(|work| work.id == step.group.0).expect("a plan moves existing groups only");
            assert_eq!(work.node, step.from.0);
            work.node = step.to.0;
        }
        self.work.iter_mut().for_each(|work| work.age_s += INTERVAL_S);
    }

    fn view(&self) -> CellView {
        let mut nodes = self.nodes.clone();
        let mut groups = Vec::new();
        for node in &mut nodes {
            let others_cpus = node.pressure.share().unwrap_or(0.0) * node.capacity_cpus;
            let here = || self.work.iter().filter(|work| work.node == node.id.0);
            let wanted_cpus: f64 = here().map(|work| work.wants_cpus).sum();
            let limit_cpus = self.limits.get(&node.id).copied().unwrap_or(f64::INFINITY);
            let left_cpus = (node.capacity_cpus - others_cpus).max(0.0).min(limit_cpus);
            let share = if wanted_cpus > left_cpus { left_cpus / wanted_cpus } else { 1.0 };
            node.load_cpus = others_cpus + wanted_cpus * share;
            groups.extend(here().map(|work| work.group(share)));
        }
        groups.sort_by_key(|group: &Group| (group.node, group.id));
        let lives = |id: GroupId| self.work.iter().any(|work| work.id == id.0);
        let links = self.links.iter().filter(|link| lives(link.a) && lives(link.b)).copied().collect();
        let Scene { residents, memory_follows, page_cost_rounds, .. } = self.clone();
        CellView { nodes, groups, links, residents, memory_follows, page_cost_rounds, ..CellView::default() }
    }
}

impl Work {
    fn group(&self, share: f64) -> Group {
        let demand = Demand { usage_cpus: self.wants_cpus * share, memory_bytes: self.bytes, ..Demand::default() };
        Group {
            id: GroupId(self.id),
            node: NodeId(self.node),
            nr_tasks: self.threads,
            demand,
            age_rounds: self.age_s / INTERVAL_S,
            wanted_cpus: Some(self.wants_cpus),
        }
    }
}

fn node(id: u32, capacity_cpus: f64, others_share: f64) -> Node {
    let pressure = Pressure::Fresh { share: others_share };
    Node { id: NodeId(id), capacity_cpus, pressure, ..Node::default() }
}
