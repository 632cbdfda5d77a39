//! Clusters: groups that move as one, because a split would cost too much in pages that travel between nodes.
//!
//! The heaviest links are joined first, for as long as what is joined fits on one node. A cluster may be on several nodes: [`join`]
//! brings it together where that pays.
//!
//! [`join`]: super::join

use super::memory::{Apart, AutoMemory, GroupMemory};
use super::options::AutoOptions;
use super::units::{index, Index};
use crate::cell::{CellView, GroupId, Link};

/// A group that uses less than this counts as using so much: what next to nothing costs is noise.
const USED_MIN_CPUS: f64 = 0.01;

/// Looks for clusters again if it is time to, and forgets what no longer holds.
pub(super) fn observe_clusters(options: &AutoOptions, memory: &mut AutoMemory, view: &CellView) {
    if view.links.is_empty() {
        if memory.clustered_at.take().is_some() {
            memory.clusters.clear();
            memory.groups.values_mut().for_each(|group| group.apart = None);
        }
        return;
    }
    if memory.clustered_at.is_some_and(|at| memory.now - at < options.cluster_rounds) {
        return;
    }
    memory.clustered_at = Some(memory.now);
    memory.clusters = clusters(options, memory, view);
    forget_apart(options, memory);
}

/// What a cluster's groups want apart is of interest while they are together, and not for ever: it may change.
fn forget_apart(options: &AutoOptions, memory: &mut AutoMemory) {
    let oldest = memory.now - options.apart_rounds;
    let AutoMemory { groups, clusters, .. } = memory;
    if groups.values().all(|group| group.apart.is_none()) {
        return;
    }
    let mut kept: Vec<(GroupId, Apart)> = Vec::new();
    for cluster in clusters.iter() {
        let mut nodes = cluster.iter().filter_map(|id| groups.get(id)).map(|group| group.node);
        let first = nodes.next();
        if nodes.all(|node| Some(node) == first) {
            kept.extend(cluster.iter().filter_map(|id| Some((*id, groups.get(id)?.apart?))));
        }
    }
    groups.values_mut().for_each(|group| group.apart = None);
    for (id, apart) in kept.into_iter().filter(|(_, apart)| apart.at >= oldest) {
        if let Some(group) = groups.get_mut(&id) {
            group.apart = Some(apart);
        }
    }
}

/// Remembers what the groups of clusters that come together want, as it was while they were apart. On the same CPU one waits while
/// the other works, which is no lack of CPU if they take turns anyway; if they don't, they wanted more apart.
pub(super) fn note_apart(memory: &mut AutoMemory, moved: &[Vec<GroupId>]) {
    let now = memory.now;
    for cluster in moved {
        let mut nodes = cluster.iter().filter_map(|id| memory.groups.get(id)).map(|group| group.node);
        let first = nodes.next();
        if !nodes.all(|node| Some(node) == first) {
            continue;
        }
        for id in cluster {
            if let Some(group) = memory.groups.get_mut(id) {
                group.apart.get_or_insert(Apart { cpus: group.want_cpus, at: now });
            }
        }
    }
}

/// One group, or what is joined so far.
#[derive(Clone, Copy, Debug)]
struct Joined {
    want_cpus: f64,
    bytes: f64,
}

/// The groups that are known, in order of id, as a forest in which each tree is a cluster.
struct Forest {
    ids: Vec<GroupId>,
    index: Index,
    parents: Vec<u32>,
    /// Valid at the roots.
    sums: Vec<Joined>,
}

impl Forest {
    fn new(memory: &AutoMemory, view: &CellView) -> Self {
        let index = index(memory.groups.keys().copied());
        let sum = |group: &GroupMemory| Joined { want_cpus: group.want_cpus, bytes: 0.0 };
        let mut sums: Vec<Joined> = memory.groups.values().map(sum).collect();
        for group in &view.groups {
            if let Some(&at) = index.get(&group.id) {
                sums[at as usize].bytes = group.demand.memory_bytes;
            }
        }
        Forest {
            ids: memory.groups.keys().copied().collect(),
            index,
            parents: (0..memory.groups.len() as u32).collect(),
            sums,
        }
    }

    fn position(&self, id: GroupId) -> Option<u32> {
        self.index.get(&id).copied()
    }

    fn root(&mut self, mut at: u32) -> u32 {
        while self.parents[at as usize] != at {
            let above = self.parents[self.parents[at as usize] as usize];
            self.parents[at as usize] = above;
            at = above;
        }
        at
    }

    /// The trees of more than one group, in order of their first group.
    fn trees(mut self) -> Vec<Vec<GroupId>> {
        let mut by_root: Vec<(u32, u32)> = (0..self.ids.len() as u32).map(|at| (self.root(at), at)).collect();
        by_root.sort_unstable();
        let trees = by_root.chunk_by(|(a, _), (b, _)| a == b).filter(|tree| tree.len() > 1);
        let mut trees: Vec<Vec<GroupId>> =
            trees.map(|tree| tree.iter().map(|&(_, at)| self.ids[at as usize]).collect()).collect();
        trees.sort_unstable();
        trees
    }
}

/// A link that would make a cluster, with the positions of its groups.
struct Tie {
    pages_per_round: f64,
    a: u32,
    b: u32,
}

fn clusters(options: &AutoOptions, memory: &AutoMemory, view: &CellView) -> Vec<Vec<GroupId>> {
    let mut forest = Forest::new(memory, view);
    let rooms = rooms(view);
    let before = cluster_numbers(&forest, &memory.clusters);
    let tie = |link: &Link| {
        let (a, b) = (forest.position(link.a)?, forest.position(link.b)?);
        let want_cpus = |at: u32| forest.sums[at as usize].want_cpus.max(USED_MIN_CPUS);
        let was_joined = before[a as usize].is_some() && before[a as usize] == before[b as usize];
        let least_share = if was_joined { options.link_fade_share } else { options.link_share };
        let cut_cpus = link.pages_per_round * options.page_cost_rounds;
        let is_strong = cut_cpus >= least_share * want_cpus(a).min(want_cpus(b));
        is_strong.then_some(Tie { pages_per_round: link.pages_per_round, a, b })
    };
    let mut ties: Vec<Tie> = view.links.iter().filter_map(tie).collect();
    ties.sort_unstable_by(|x, y| y.pages_per_round.total_cmp(&x.pages_per_round).then((x.a, x.b).cmp(&(y.a, y.b))));
    for Tie { a, b, .. } in ties {
        let (a, b) = (forest.root(a), forest.root(b));
        let (one, other) = (forest.sums[a as usize], forest.sums[b as usize]);
        let both = Joined { want_cpus: one.want_cpus + other.want_cpus, bytes: one.bytes + other.bytes };
        if a != b && rooms.iter().any(|room| fits(options, both, *room)) {
            forest.parents[b as usize] = a;
            forest.sums[a as usize] = both;
        }
    }
    forest.trees()
}

/// Demand is measured to within a few per cent.
fn fits(options: &AutoOptions, joined: Joined, room: Joined) -> bool {
    options.saturated_share * joined.want_cpus <= room.want_cpus && joined.bytes <= room.bytes
}

/// What the nodes could hold if nothing else was there; only those that are not smaller in both respects than another one.
fn rooms(view: &CellView) -> Vec<Joined> {
    let room = |node: &crate::cell::Node| {
        let resident_bytes = || match view.residents.is_empty() {
            true => view.groups_on(node.id).iter().map(|group| group.demand.memory_bytes).sum::<f64>(),
            false => view.residents.iter().filter_map(|resident| resident.bytes.get(&node.id)).sum::<f64>(),
        };
        let bytes = node.free_bytes.map_or(f64::INFINITY, |free_bytes| free_bytes + resident_bytes());
        Joined { want_cpus: node.capacity_cpus, bytes }
    };
    let mut rooms: Vec<Joined> = view.nodes.iter().filter(|node| node.capacity_cpus > 0.0).map(room).collect();
    rooms.sort_by(|a, b| b.want_cpus.total_cmp(&a.want_cpus).then(b.bytes.total_cmp(&a.bytes)));
    let mut most_bytes = -1.0;
    rooms.retain(|room| {
        let is_roomier = room.bytes > most_bytes;
        most_bytes = room.bytes.max(most_bytes);
        is_roomier
    });
    rooms
}

/// The number of the cluster that each group was in.
fn cluster_numbers(forest: &Forest, clusters: &[Vec<GroupId>]) -> Vec<Option<u32>> {
    let mut numbers = vec![None; forest.ids.len()];
    for (cluster, number) in clusters.iter().zip(0..) {
        for at in cluster.iter().filter_map(|&id| forest.position(id)) {
            numbers[at as usize] = Some(number);
        }
    }
    numbers
}
