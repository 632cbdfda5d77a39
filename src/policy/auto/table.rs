//! The cell while a decision is made: each node's supply, and the demand of the work on it with the moves decided so far.

use std::ops::Range;

use super::memory::{AutoMemory, GroupMemory};
use super::options::AutoOptions;
use super::units::{index, Index, Sharing};
use crate::cell::{CellView, Group, Move, Node, NodeId, Resident};

/// One node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) id: NodeId,
    pub(super) capacity_cpus: f64,
    pub(super) speed: f64,
    /// CPU that work may take.
    pub(super) supply_cpus: f64,
    /// The part of it that others leave even when they burst.
    pub(super) free_cpus: f64,
    /// What others take on average, a share of the capacity.
    pub(super) others_share: f64,
    /// CPU that the work here wants.
    pub(super) wanted_cpus: f64,
    /// Long-term mean load, and current load with the moves decided so far.
    pub(super) mean_load_cpus: f64,
    pub(super) load_cpus: f64,
    /// Memory for more work, with the moves decided so far and without what is still to come of earlier ones.
    pub(super) free_bytes: f64,
    /// Position of its first group in the view, and number of its groups with the moves decided so far.
    pub(super) first_group: usize,
    pub(super) nr_groups: usize,
    /// A move decided so far brings work here.
    pub(super) receives: bool,
    /// CPU used by the groups that leave by the moves decided so far; `None` if no group leaves.
    pub(super) left_cpus: Option<f64>,
    /// Rounds for which the node is expected to stay unchanged: as many as have passed since others' use last jumped.
    pub(super) lasts_rounds: f64,
    /// Others' use has just jumped: work here may leave at once.
    pub(super) is_hit: bool,
    /// Others want nearly all of the node.
    pub(super) is_closed: bool,
    /// Others take more than noise.
    pub(super) is_shared: bool,
    /// Work may be sent here: its pressure is known, and it is neither closed nor hit.
    pub(super) is_open: bool,
    /// It has not been calm for long enough to count as such, but it is calm now and there is nowhere better to flee to.
    pub(super) is_refuge: bool,
}

impl Row {
    /// CPU that work gets when it wants `wanted_cpus`.
    pub(super) fn given_cpus(&self, wanted_cpus: f64) -> f64 {
        wanted_cpus.min(self.supply_cpus)
    }

    /// Share of what it wants that work gets when all of it wants `wanted_cpus`.
    pub(super) fn met_share(&self, wanted_cpus: f64) -> f64 {
        if wanted_cpus <= self.supply_cpus {
            1.0
        } else {
            self.supply_cpus / wanted_cpus
        }
    }

    /// CPU that others need and work takes when it wants `wanted_cpus`.
    pub(super) fn harm_cpus(&self, wanted_cpus: f64) -> f64 {
        (self.given_cpus(wanted_cpus) - self.free_cpus).max(0.0) * self.others_share
    }

    /// CPU that is left for more work.
    pub(super) fn spare_cpus(&self) -> f64 {
        (self.supply_cpus - self.wanted_cpus).max(0.0)
    }
}

/// All nodes, and the moves decided so far.
pub(super) struct Table<'a> {
    pub(super) options: &'a AutoOptions,
    pub(super) memory: &'a AutoMemory,
    pub(super) view: &'a CellView,
    /// The state of each of the view's groups, in the view's order.
    remembered: Vec<Option<&'a GroupMemory>>,
    /// Where the memory of each is, in the same order; empty if the view doesn't tell.
    residents: Vec<Option<&'a Resident>>,
    /// Which of them move by the moves decided so far.
    pub(super) is_moved: Vec<bool>,
    /// Mean memory of the groups; 0 if the view doesn't tell what is free.
    pub(super) mean_bytes: f64,
    /// Who shares memory with whom.
    pub(super) sharing: Sharing,
    /// The nodes, in order of id.
    pub(super) rows: Vec<Row>,
    pub(super) moves: Vec<Move>,
    /// Bytes that moves may still transfer, and what those decided so far are estimated to.
    pub(super) bytes_left: f64,
    pub(super) fetched_bytes: f64,
    /// Groups that would be better off elsewhere if there was memory for them, and groups that can't go for want of bytes.
    pub(super) nr_no_room: u32,
    pub(super) nr_over_budget: u32,
}

impl<'a> Table<'a> {
    pub(super) fn new(options: &'a AutoOptions, memory: &'a AutoMemory, view: &'a CellView) -> Self {
        let index = index(view.groups.iter().map(|group| group.id));
        let mut remembered = vec![None; view.groups.len()];
        for (id, group) in &memory.groups {
            if let Some(&at) = index.get(id) {
                remembered[at as usize] = Some(group);
            }
        }
        let mut table = Table {
            options,
            memory,
            view,
            remembered,
            residents: residents(view, &index),
            mean_bytes: mean_bytes(view),
            is_moved: vec![false; view.groups.len()],
            sharing: Sharing::default(),
            rows: Vec::new(),
            moves: Vec::new(),
            bytes_left: memory.bytes_left,
            fetched_bytes: 0.0,
            nr_no_room: 0,
            nr_over_budget: 0,
        };
        table.rows = view.nodes.iter().map(|node| table.row(node)).collect();
        table.keep_what_is_coming();
        table.open_refuges();
        table.sharing = Sharing::new(options, memory, view, &table.rows, &index);
        table
    }

    /// While work flees and no calm node has room for it, nodes are open that are calm at this moment. A plan with a move is
    /// confirmed by fresher and longer readings. Elsewhere the work would have next to nothing.
    fn open_refuges(&mut self) {
        let is_fled = |id| self.memory.nodes.get(&id).is_some_and(|node| node.is_fled(self.options, self.memory.now));
        let flees = |row: &Row| row.nr_groups > 0 && is_fled(row.id);
        let is_better = |row: &Row| row.is_open && !row.is_shared && row.spare_cpus() > 0.0;
        if !self.rows.iter().any(flees) || self.rows.iter().any(is_better) {
            return;
        }
        for (row, node) in self.rows.iter_mut().zip(&self.view.nodes) {
            let Some(memory) = self.memory.nodes.get(&node.id) else { continue };
            let Some(share) = node.pressure.share().filter(|share| *share <= self.options.calm_share) else { continue };
            if !memory.is_pressed || row.is_hit || node.capacity_cpus == 0.0 {
                continue;
            }
            let left_cpus = node.room_share * (node.capacity_cpus * (1.0 - share) - memory.fixed_cpus).max(0.0);
            *row = Row {
                supply_cpus: left_cpus,
                free_cpus: left_cpus,
                others_share: share,
                is_closed: false,
                is_shared: false,
                is_open: true,
                is_refuge: true,
                ..*row
            };
        }
    }

    fn row(&self, node: &Node) -> Row {
        let first_group = self.view.groups.partition_point(|group| group.node < node.id);
        let nr_groups = self.view.groups_on(node.id).len();
        let row = Row {
            id: node.id,
            capacity_cpus: node.capacity_cpus,
            speed: node.speed,
            load_cpus: node.load_cpus,
            // An empty sum is -0, which a report would show.
            wanted_cpus: 0.0 + (first_group..first_group + nr_groups).map(|group| self.want_cpus(group)).sum::<f64>(),
            free_bytes: node.free_bytes.unwrap_or(f64::INFINITY),
            first_group,
            nr_groups,
            ..Row::default()
        };
        let Some(memory) = self.memory.nodes.get(&node.id).filter(|_| node.capacity_cpus > 0.0) else {
            return row;
        };
        let supply = memory.supply(self.options, node);
        // A fresh reading just before the moves may find others on a node that had none when the round began.
        let is_surprise =
            node.pressure.share().is_some_and(|share| share >= memory.mean_share + self.options.jump_slack_share);
        let is_hit = memory.was_hit_within(self.memory.now, self.options.hit_rounds);
        let limit_cpus = memory.limit_cpus.unwrap_or(f64::INFINITY);
        Row {
            supply_cpus: match memory.is_closed {
                // Work that is held to the least limit still gets that limit.
                true => limit_cpus.min(node.capacity_cpus),
                false => supply.cpus.min(limit_cpus) * memory.kept_share(),
            },
            free_cpus: supply.free_cpus,
            others_share: memory.mean_share.max(node.pressure.share().unwrap_or(0.0)),
            mean_load_cpus: memory.mean_load_cpus(),
            lasts_rounds: memory.hit_at.map_or(self.options.horizon_max_rounds, |at| self.memory.now - at),
            is_hit,
            is_closed: memory.is_closed,
            is_shared: memory.is_shared(self.options),
            is_open: node.is_candidate() && memory.known_at.is_some() && !(memory.is_closed || is_hit || is_surprise),
            ..row
        }
    }

    /// The groups on a row's node, as positions in the view.
    pub(super) fn groups_of(&self, row: usize) -> Range<usize> {
        let row = &self.rows[row];
        row.first_group..row.first_group + self.view.groups_on(row.id).len()
    }

    pub(super) fn remembered(&self, group: usize) -> Option<&'a GroupMemory> {
        self.remembered[group]
    }

    pub(super) fn resident(&self, group: usize) -> Option<&'a Resident> {
        self.residents.get(group).copied().flatten()
    }

    /// CPU that a group wants.
    pub(super) fn want_cpus(&self, group: usize) -> f64 {
        self.remembered[group].map_or(self.view.groups[group].demand.usage_cpus, |memory| memory.want_cpus)
    }

    /// Rounds since a group began, as far as known.
    pub(super) fn age_rounds(&self, group: usize) -> f64 {
        let seen = self.remembered[group].map_or(0.0, |memory| memory.age_rounds(self.memory.now));
        seen.max(self.view.groups[group].age_rounds)
    }

    /// Rounds that a group is expected to live from now on: as many as it has lived, within bounds.
    pub(super) fn horizon_rounds(&self, group: usize) -> f64 {
        self.age_rounds(group).clamp(self.options.horizon_min_rounds, self.options.horizon_max_rounds)
    }

    /// Returns true if a group is old enough to move, and no move of it has been decided so far.
    pub(super) fn may_move(&self, group: usize) -> bool {
        self.age_rounds(group) >= self.options.young_rounds && !self.is_moved[group]
    }

    /// Returns true if a group has to stay for now on the node it was moved to. A group that left a hit or closed node need
    /// not stay: its destination was only the best at that moment.
    pub(super) fn is_held(&self, group: usize) -> bool {
        let moved = self.remembered[group].and_then(|memory| memory.moved);
        moved.is_some_and(|moved| !moved.was_urgent && self.memory.now - moved.at < self.options.hold_rounds)
    }

    /// Returns true if a group left `to` within the last `rounds`.
    pub(super) fn left_within(&self, group: usize, to: NodeId, rounds: f64) -> bool {
        let moved = self.remembered[group].and_then(|memory| memory.moved);
        moved.is_some_and(|moved| moved.from == to && self.memory.now - moved.at < rounds)
    }

    /// What is free on a node is less by what groups that have come lately have elsewhere: it comes as they write it anew.
    fn keep_what_is_coming(&mut self) {
        if self.view.residents.is_empty() {
            return;
        }
        for row in 0..self.rows.len() {
            let here = self.rows[row].id;
            let coming: f64 = self.groups_of(row).map(|group| self.holding(group).coming_bytes(here)).sum();
            self.rows[row].free_bytes -= coming;
        }
    }

    /// Records a move; `from` and `to` are positions of rows.
    pub(super) fn go(&mut self, group: usize, from: usize, to: usize) {
        let want_cpus = self.want_cpus(group);
        let holding = self.holding(group);
        self.fetched_bytes += holding.fetched_bytes(self.rows[to].id);
        let room_bytes = holding.room_bytes(self.rows[to].id);
        // What is where it is stays for a while, unless nothing is known of that.
        let left_bytes = if self.view.residents.is_empty() { room_bytes } else { 0.0 };
        let Group { id, demand, .. } = self.view.groups[group];
        for (row, sign) in [(from, -1.0), (to, 1.0)] {
            let row = &mut self.rows[row];
            row.wanted_cpus = (row.wanted_cpus + sign * want_cpus).max(0.0);
            row.load_cpus = (row.load_cpus + sign * demand.usage_cpus).max(0.0);
        }
        self.rows[from].free_bytes += left_bytes;
        self.rows[to].free_bytes -= room_bytes;
        self.rows[from].nr_groups -= 1;
        self.rows[to].nr_groups += 1;
        let left_cpus = &mut self.rows[from].left_cpus;
        *left_cpus = Some(left_cpus.unwrap_or(0.0) + demand.usage_cpus);
        self.rows[to].receives = true;
        self.is_moved[group] = true;
        self.sharing.go(group, to);
        self.moves.push(Move { group: id, from: self.rows[from].id, to: self.rows[to].id });
    }
}

/// Where the memory of each of the view's groups is.
fn residents<'a>(view: &'a CellView, index: &Index) -> Vec<Option<&'a Resident>> {
    if view.residents.is_empty() {
        return Vec::new();
    }
    let mut residents = vec![None; view.groups.len()];
    for resident in &view.residents {
        if let Some(&at) = index.get(&resident.group) {
            residents[at as usize] = Some(resident);
        }
    }
    residents
}

fn mean_bytes(view: &CellView) -> f64 {
    if view.groups.is_empty() || view.nodes.iter().all(|node| node.free_bytes.is_none()) {
        return 0.0;
    }
    view.groups.iter().map(|group| group.demand.memory_bytes).sum::<f64>() / view.groups.len() as f64
}
