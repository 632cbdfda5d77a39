//! What moves as one: a group, or the groups of a cluster that are on the same node. And what a move changes about which groups
//! that share memory are apart.

use rustc_hash::FxHashMap;

use super::memory::AutoMemory;
use super::options::AutoOptions;
use super::table::{Row, Table};
use crate::cell::{CellView, GroupId, Link, NodeId};

/// The positions of groups in a list, by id. A round looks up tens of thousands.
pub(super) type Index = FxHashMap<GroupId, u32>;

/// The positions of these groups, each of which is in it once.
pub(super) fn index(ids: impl Iterator<Item = GroupId>) -> Index {
    ids.zip(0..).collect()
}

/// A group by its position in the view, or a part of a cluster by its position in [`Sharing::parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Group(usize),
    Part(usize),
}

/// The groups of one cluster that were on one node when the round began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    /// The cluster's position in the memory.
    pub(super) cluster: usize,
    /// Where its groups are in [`Sharing::members`].
    first: usize,
    len: usize,
}

/// A linked group, and the CPU that a split from it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Edge {
    to: u32,
    cut_cpus: f64,
}

/// Who shares memory with whom. Empty if the view has no links.
#[derive(Clone, Debug, Default)]
pub(super) struct Sharing {
    /// The parts of clusters; those of the same cluster are consecutive.
    pub(super) parts: Vec<Part>,
    /// The groups of all parts, as positions in the view; those of a part ascend.
    members: Vec<usize>,
    /// The part that each group is in, if any.
    part_of: Vec<Option<u32>>,
    /// The row that each group is on, with the moves decided so far.
    row_of: Vec<u32>,
    /// The edges of group n are those from `first_edge[n]` to `first_edge[n + 1]`.
    first_edge: Vec<u32>,
    edges: Vec<Edge>,
}

impl Sharing {
    /// `index` has the positions of the view's groups.
    pub(super) fn new(
        options: &AutoOptions,
        memory: &AutoMemory,
        view: &CellView,
        rows: &[Row],
        index: &Index,
    ) -> Self {
        if view.links.is_empty() {
            return Sharing::default();
        }
        let mut sharing = Sharing { row_of: rows_of(view, rows), ..Sharing::default() };
        sharing.add_edges(options, view, index);
        sharing.add_parts(memory, index);
        sharing
    }

    fn add_edges(&mut self, options: &AutoOptions, view: &CellView, index: &Index) {
        let pair = |link: &Link| {
            let cut_cpus = link.pages_per_round * options.page_cost_rounds;
            Some((*index.get(&link.a)?, *index.get(&link.b)?, cut_cpus))
        };
        let pairs: Vec<(u32, u32, f64)> = view.links.iter().filter_map(pair).collect();
        let mut ends = vec![0u32; view.groups.len() + 1];
        for &(a, b, _) in &pairs {
            ends[a as usize] += 1;
            ends[b as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        self.edges = vec![Edge { to: 0, cut_cpus: 0.0 }; 2 * pairs.len()];
        for &(a, b, cut_cpus) in &pairs {
            for (from, to) in [(a, b), (b, a)] {
                let end = &mut ends[from as usize];
                *end -= 1;
                self.edges[*end as usize] = Edge { to, cut_cpus };
            }
        }
        self.first_edge = ends;
    }

    fn add_parts(&mut self, memory: &AutoMemory, index: &Index) {
        self.part_of = vec![None; self.row_of.len()];
        for (cluster, number) in memory.clusters.iter().zip(0..) {
            let start = self.members.len();
            self.members.extend(cluster.iter().filter_map(|id| index.get(id)).map(|&group| group as usize));
            if self.members.len() < start + 2 {
                self.members.truncate(start);
                continue;
            }
            // Groups are in order of their nodes.
            self.members[start..].sort_unstable();
            let mut first = start;
            for part in self.members[start..].chunk_by(|&a, &b| self.row_of[a] == self.row_of[b]) {
                let position = Some(self.parts.len() as u32);
                part.iter().for_each(|&group| self.part_of[group] = position);
                self.parts.push(Part { cluster: number, first, len: part.len() });
                first += part.len();
            }
        }
    }

    /// Records a move.
    pub(super) fn go(&mut self, group: usize, to: usize) {
        if let Some(row) = self.row_of.get_mut(group) {
            *row = to as u32;
        }
    }

    /// The row that a group is on, with the moves decided so far. There must be links.
    pub(super) fn row_of(&self, group: usize) -> usize {
        self.row_of[group] as usize
    }

    /// The linked groups of a group, and the CPU that a split from each costs.
    pub(super) fn linked(&self, group: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let edges = match self.first_edge.get(group..group + 2) {
            Some(ends) => &self.edges[ends[0] as usize..ends[1] as usize],
            None => &[],
        };
        edges.iter().map(|edge| (edge.to as usize, edge.cut_cpus))
    }

    /// The cluster that a group is in, if any.
    pub(super) fn cluster_of(&self, group: usize) -> Option<usize> {
        self.part_of(group).map(|part| self.parts[part].cluster)
    }

    fn part_of(&self, group: usize) -> Option<usize> {
        self.part_of.get(group).copied().flatten().map(|part| part as usize)
    }

    /// The groups of a part, as positions in the view, ascending.
    pub(super) fn groups_of(&self, part: &Part) -> &[usize] {
        &self.members[part.first..][..part.len]
    }

    /// The clusters of which groups move, each in order of id.
    pub(super) fn moved(&self, memory: &AutoMemory, is_moved: &[bool]) -> Vec<Vec<GroupId>> {
        let moves = |part: &&Part| self.groups_of(part).iter().any(|&group| is_moved[group]);
        let mut clusters: Vec<usize> = self.parts.iter().filter(moves).map(|part| part.cluster).collect();
        clusters.dedup();
        clusters.into_iter().map(|cluster| memory.clusters[cluster].clone()).collect()
    }
}

/// The row of each group of the view.
fn rows_of(view: &CellView, rows: &[Row]) -> Vec<u32> {
    let mut row_of = vec![0; view.groups.len()];
    for (row, number) in rows.iter().zip(0..) {
        row_of[row.first_group..][..row.nr_groups].fill(number);
    }
    row_of
}

/// How much CPU a unit's links to the rest of the cell cost if they are cut, by the row of the other end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ties(Vec<(usize, f64)>);

impl Ties {
    /// The cost of leaving `from` and the gain of coming to `to`, CPU.
    pub(super) fn split_and_joined_cpus(&self, from: usize, to: usize) -> (f64, f64) {
        let with = |row| self.0.iter().find(|(at, _)| *at == row).map_or(0.0, |(_, cpus)| *cpus);
        // Only the difference counts: what is cut either way is no cost of the move.
        let change_cpus: f64 = with(to) - with(from);
        ((-change_cpus).max(0.0), change_cpus.max(0.0))
    }
}

impl Table<'_> {
    /// The units on a row's node when the round began.
    pub(super) fn units_of(&self, row: usize) -> Vec<Unit> {
        let unit = |group| match self.sharing.part_of(group) {
            None => Some(Unit::Group(group)),
            // Listed once.
            Some(part) => (self.part(part)[0] == group).then_some(Unit::Part(part)),
        };
        self.groups_of(row).filter_map(unit).collect()
    }

    /// The groups of a row's node whose cluster has more of them there, each by itself.
    pub(super) fn members_of(&self, row: usize) -> Vec<Unit> {
        let is_member = |&group: &usize| self.sharing.part_of(group).is_some_and(|part| self.part(part).len() > 1);
        self.groups_of(row).filter(is_member).map(Unit::Group).collect()
    }

    /// The groups of a unit, as positions in the view.
    pub(super) fn groups_in<'u>(&'u self, unit: &'u Unit) -> &'u [usize] {
        match unit {
            Unit::Group(group) => std::slice::from_ref(group),
            Unit::Part(part) => self.part(*part),
        }
    }

    fn part(&self, part: usize) -> &[usize] {
        self.sharing.groups_of(&self.sharing.parts[part])
    }

    fn sum_over(&self, unit: Unit, of: impl Fn(usize) -> f64) -> f64 {
        self.groups_in(&unit).iter().map(|&group| of(group)).sum()
    }

    /// CPU that a unit wants.
    pub(super) fn unit_want_cpus(&self, unit: Unit) -> f64 {
        self.sum_over(unit, |group| self.want_cpus(group))
    }

    /// Rounds that a unit is expected to live: the mean of its groups, by what they want.
    pub(super) fn unit_horizon_rounds(&self, unit: Unit) -> f64 {
        if let Unit::Group(group) = unit {
            return self.horizon_rounds(group);
        }
        let weight = |group| self.want_cpus(group).max(self.options.limit_min_cpus);
        self.sum_over(unit, |group| weight(group) * self.horizon_rounds(group)) / self.sum_over(unit, weight)
    }

    /// Return true if all of a unit's groups may move.
    pub(super) fn unit_may_move(&self, unit: Unit) -> bool {
        self.groups_in(&unit).iter().all(|&group| self.may_move(group))
    }

    /// Return true if one of a unit's groups has to stay for now: it was moved, or its cluster has come together where it is.
    pub(super) fn unit_is_held(&self, unit: Unit) -> bool {
        let is_held = |&group: &usize| self.is_held(group) || self.was_joined_within(group, self.options.hold_rounds);
        self.groups_in(&unit).iter().any(is_held)
    }

    /// Return true if moving a unit splits a cluster that has come together within the last `rounds`.
    pub(super) fn splits_joined_within(&self, unit: Unit, rounds: f64) -> bool {
        matches!(unit, Unit::Group(group) if self.was_joined_within(group, rounds))
    }

    fn was_joined_within(&self, group: usize, rounds: f64) -> bool {
        let apart = self.remembered(group).and_then(|memory| memory.apart);
        apart.is_some_and(|apart| self.memory.now - apart.at < rounds)
    }

    /// Return true if one of a unit's groups left `to` within the last `rounds`.
    pub(super) fn unit_left_within(&self, unit: Unit, to: NodeId, rounds: f64) -> bool {
        self.groups_in(&unit).iter().any(|&group| self.left_within(group, to, rounds))
    }

    /// The links of a unit to groups that are not part of it.
    pub(super) fn ties(&self, unit: Unit) -> Ties {
        let groups = self.groups_in(&unit);
        let mut ties = Ties::default();
        for &group in groups {
            for (other, cut_cpus) in self.sharing.linked(group) {
                if groups.binary_search(&other).is_ok() {
                    continue;
                }
                let row = self.sharing.row_of(other);
                match ties.0.iter_mut().find(|(at, _)| *at == row) {
                    Some((_, cpus)) => *cpus += cut_cpus,
                    None => ties.0.push((row, cut_cpus)),
                }
            }
        }
        ties
    }

    /// Records the move of a unit; `from` and `to` are positions of rows.
    pub(super) fn go_unit(&mut self, unit: Unit, from: usize, to: usize) {
        for at in 0..self.groups_in(&unit).len() {
            let group = self.groups_in(&unit)[at];
            self.go(group, from, to);
        }
    }
}
