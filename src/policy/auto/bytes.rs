//! Memory: what of a group's memory a move has to fetch, and what of it the destination must have room for.
//!
//! In a distributed VM a page travels when it is touched, so a move fetches what the group goes on using: its hot set. What that is
//! can't be read off a process without slowing it down, but the hosts count it after a move ([`observe_arrivals`]). Until they have,
//! all of the memory counts. A host that the group left a while ago still has a part of it. Where the daemon moves memory itself,
//! all that is elsewhere comes.

use super::memory::{Arrivals, AutoMemory, Fetching, GroupMemory};
use super::options::{decay, AutoOptions, PAGE_BYTES};
use super::table::{Row, Table};
use super::units::Unit;
use crate::cell::{CellView, Fetched, Group, Move, NodeId, Resident};

/// However little a group fetched, it will touch so much of its memory at some time.
const HOT_MIN_SHARE: f64 = 0.02;

/// What is known of one group's memory.
#[derive(Clone, Copy)]
pub(super) struct Holding<'a> {
    options: &'a AutoOptions,
    now: f64,
    memory_follows: bool,
    bytes: f64,
    resident: Option<&'a Resident>,
    remembered: Option<&'a GroupMemory>,
}

impl<'a> Holding<'a> {
    pub(super) fn new(
        options: &'a AutoOptions,
        memory: &AutoMemory,
        view: &CellView,
        group: &Group,
        (resident, remembered): (Option<&'a Resident>, Option<&'a GroupMemory>),
    ) -> Self {
        Holding {
            options,
            now: memory.now,
            memory_follows: view.memory_follows,
            bytes: group.demand.memory_bytes,
            resident,
            remembered,
        }
    }

    /// Bytes that a node must have room for if the group comes: those that are elsewhere.
    pub(super) fn room_bytes(&self, to: NodeId) -> f64 {
        match self.resident {
            Some(resident) => self.bytes * (1.0 - resident.share_on(to)),
            None => self.bytes,
        }
    }

    /// The share of the group's memory for which it waits, or the daemon does, if it goes to a node.
    pub(super) fn fetched_share(&self, to: NodeId) -> f64 {
        match self.resident {
            Some(resident) if self.memory_follows => 1.0 - resident.share_on(to),
            _ => (1.0 - self.standby_share(to)) * self.hot_share(),
        }
    }

    /// Bytes that a move to a node takes of the budget.
    pub(super) fn fetched_bytes(&self, to: NodeId) -> f64 {
        match self.resident {
            Some(_) => self.bytes * self.fetched_share(to),
            // As older logs have it.
            None => self.bytes * self.hot_share(),
        }
    }

    /// Bytes that a move takes of the budget at least, wherever it goes.
    pub(super) fn least_fetched_bytes(&self) -> f64 {
        match self.resident {
            Some(resident) if self.memory_follows => {
                let nodes = resident.bytes.keys().map(|&node| resident.share_on(node));
                self.bytes * (1.0 - nodes.fold(0.0, f64::max))
            }
            Some(_) => {
                let has_moved = self.remembered.is_some_and(|memory| memory.moved.is_some());
                let standby_share = if has_moved { self.options.standby_share } else { 0.0 };
                self.bytes * (1.0 - standby_share) * self.hot_share()
            }
            None => self.bytes * self.hot_share(),
        }
    }

    /// The share of its memory that it touches soon after a move, as far as known.
    pub(super) fn hot_share(&self) -> f64 {
        self.remembered.and_then(|memory| memory.hot_share).unwrap_or(1.0)
    }

    /// Bytes that come if the group touches all of its memory, where pages travel when they are touched.
    pub(super) fn untouched_bytes(&self, to: NodeId) -> f64 {
        self.bytes * (1.0 - self.standby_share(to))
    }

    /// The share of copies that the host of a node has kept since the group left it.
    fn standby_share(&self, to: NodeId) -> f64 {
        let moved = self.remembered.and_then(|memory| memory.moved).filter(|moved| moved.from == to);
        moved.map_or(0.0, |moved| {
            self.options.standby_share * decay(self.now - moved.at, self.options.standby_half_life_rounds)
        })
    }

    /// Bytes that may still come to the node that the group is on, since it came: they aren't free, whoever counts them as such.
    pub(super) fn coming_bytes(&self, here: NodeId) -> f64 {
        let came = self.remembered.and_then(|memory| memory.moved);
        let is_new = came.is_some_and(|came| self.now - came.at < self.options.back_rounds);
        match self.resident {
            Some(_) if is_new => self.room_bytes(here),
            _ => 0.0,
        }
    }
}

impl<'a> Table<'a> {
    /// Return true if a new process, which may come to need as much as others have, has no room on a row's node.
    pub(super) fn is_full(&self, row: &Row) -> bool {
        row.free_bytes < self.mean_bytes
    }

    /// What is known of a group's memory.
    pub(super) fn holding(&self, group: usize) -> Holding<'a> {
        let known = (self.resident(group), self.remembered(group));
        Holding::new(self.options, self.memory, self.view, &self.view.groups[group], known)
    }

    /// Memory that a row's node must have room for if a unit comes.
    pub(super) fn unit_room_bytes(&self, unit: Unit, to: usize) -> f64 {
        let to = self.rows[to].id;
        self.groups_in(&unit).iter().map(|&group| self.holding(group).room_bytes(to)).sum()
    }

    /// Bytes that the move of a unit takes of the budget at least, wherever it goes.
    pub(super) fn unit_least_fetched_bytes(&self, unit: Unit) -> f64 {
        self.groups_in(&unit).iter().map(|&group| self.holding(group).least_fetched_bytes()).sum()
    }

    /// Bytes that the move of a unit to a row's node takes of the budget.
    pub(super) fn unit_fetched_bytes(&self, unit: Unit, to: usize) -> f64 {
        let to = self.rows[to].id;
        self.groups_in(&unit).iter().map(|&group| self.holding(group).fetched_bytes(to)).sum()
    }
}

/// Takes in how many pages have come to the nodes' hosts, and notes what a group has fetched once it has been on its node for as long
/// as it is held there.
pub(super) fn observe_arrivals(options: &AutoOptions, memory: &mut AutoMemory, view: &CellView) {
    memory.fetched.clear();
    let now = memory.now;
    let rise = 1.0 - decay(view.window_rounds, options.level_half_life_rounds);
    for node in &view.nodes {
        let Some(state) = memory.nodes.get_mut(&node.id) else { continue };
        let Some(pages) = node.fetched_pages else {
            (state.arrivals, state.fetching) = (None, None);
            continue;
        };
        let Some(arrivals) = state.arrivals.filter(|before| before.pages <= pages) else {
            // The first count, or one that begins anew.
            (state.arrivals, state.fetching) = (Some(Arrivals { pages, pages_per_round: 0.0 }), None);
            continue;
        };
        let pages_per_round = (pages - arrivals.pages) / view.window_rounds.max(f64::MIN_POSITIVE);
        let mean = arrivals.pages_per_round + rise * (pages_per_round - arrivals.pages_per_round);
        state.arrivals = Some(Arrivals { pages, pages_per_round: mean });
        let Some(fetching) = &mut state.fetching else { continue };
        if now - fetching.at < options.hold_rounds {
            if now - fetching.at >= options.hold_rounds / 2.0 {
                fetching.halfway.get_or_insert((now, pages));
            }
            continue;
        }
        let fetching = *fetching;
        state.fetching = None;
        let Some(group) = memory.groups.get_mut(&fetching.group).filter(|group| group.node == node.id) else {
            continue;
        };
        let came_bytes = fetching.pages_beyond_usual(now, pages) * PAGE_BYTES;
        if fetching.is_ambiguous || fetching.of_bytes < PAGE_BYTES {
            continue;
        }
        group.hot_share = Some((came_bytes / fetching.of_bytes).clamp(HOT_MIN_SHARE, 1.0));
        memory.fetched.push(Fetched {
            group: fetching.group,
            to: node.id,
            bytes: came_bytes,
            of_bytes: fetching.of_bytes,
        });
    }
}

impl Fetching {
    /// Pages that came to the node by now beyond those that come all the time. Since the group came these may be more than before,
    /// as it shares pages with tasks elsewhere, if only with the kernel there: they are what still comes in the second half.
    fn pages_beyond_usual(&self, now: f64, pages: f64) -> f64 {
        let (rounds, came) = (now - self.at, pages - self.before.pages);
        let usual = match self.halfway {
            Some((at, pages_then)) if at < now => self.before.pages_per_round.max((pages - pages_then) / (now - at)),
            _ => self.before.pages_per_round,
        };
        (came - usual * rounds).max(0.0)
    }
}

/// Begins to count what a group fetches that goes to a node, of so many bytes. Of several that come within the time it takes, none
/// is counted.
pub(super) fn note_fetching(memory: &mut AutoMemory, step: &Move, of_bytes: f64) {
    let now = memory.now;
    let Some(node) = memory.nodes.get_mut(&step.to) else { return };
    let Some(before) = node.arrivals else { return };
    let is_ambiguous = node.fetching.is_some();
    node.fetching = Some(Fetching { group: step.group, at: now, before, halfway: None, of_bytes, is_ambiguous });
}
