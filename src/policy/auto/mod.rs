//! `auto`: uses idle CPU wherever it is, and moves work only where a move's value exceeds its cost.
//!
//! In each round, [`supply`] is the CPU that [`others`] leave of each node, and [`demand`] the CPU that each group wants. Work that
//! does not fit is first held to a limit, which costs nothing; then it leaves ([`relieve`]) if a move's value exceeds its cost.
//! Groups that share memory are brought together ([`join`]) and move as one ([`clusters`]).
//! Where tasks wait for admission, running ones make room for them ([`feed`]). As few nodes as can supply the demand are chosen
//! for new processes ([`choose`]), and work gathers there when there has been room for it for long enough.

mod bytes;
mod choose;
mod clusters;
mod demand;
mod feed;
mod join;
mod memory;
mod options;
mod orders;
mod others;
mod relieve;
mod supply;
mod table;
mod units;

pub use memory::AutoMemory;
pub use options::{AutoOptions, PAGE_COST_S};

use self::bytes::Holding;
use self::memory::PastMove;
use self::table::Table;
use super::{Memory, Policy, PolicySettings};
use crate::cell::{CellView, GroupId, Move, Plan};

/// The policy. It is pure: its state is a value that the caller keeps.
///
/// A round consists of [`observe`](Auto::observe), [`decide`](Auto::decide) as often as needed, and [`commit`](Auto::commit) of
/// the plan that is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Auto {
    /// The policy's constants.
    pub options: AutoOptions,
}

impl Auto {
    /// The policy's name, as in `--policy`.
    pub const NAME: &'static str = "auto";

    /// Returns the policy with the default constants for rounds of this length, in seconds.
    pub fn with_interval(interval_s: f64) -> Self {
        Auto { options: AutoOptions::with_interval(interval_s) }
    }

    /// Updates the state with a round's view. Called once per round, first.
    pub fn observe(&self, memory: &mut AutoMemory, view: &CellView) {
        let options = &self.options.priced(view);
        let window_rounds = view.window_rounds;
        memory.now += window_rounds;
        let kept_bytes = options.bytes_per_round * options.bytes_kept_rounds;
        memory.bytes_left = (memory.bytes_left + options.bytes_per_round * window_rounds).min(kept_bytes);
        memory.judged.clear();
        for node in &view.nodes {
            let groups = view.groups_on(node.id);
            let work = demand::observe_groups(options, memory, view, node, groups);
            let now = memory.now;
            let remembered = memory.nodes.entry(node.id).or_default();
            remembered.observe(options, node, work, now, window_rounds);
        }
        bytes::observe_arrivals(options, memory, view);
        clusters::observe_clusters(options, memory, view);
        choose::observe_slack(options, memory);
        // Kept long enough to recognise a group that slept, and where it came from.
        let (now, keep_rounds) = (memory.now, options.back_rounds);
        memory.groups.retain(|_, group| now - group.seen_at < keep_rounds);
        memory.nodes.retain(|id, _| view.nodes.iter().any(|node| node.id == *id));
    }

    /// Decides by the state and a view: that of the round, or a fresher one of the same groups.
    pub fn decide(&self, memory: &AutoMemory, view: &CellView) -> Plan {
        let options = self.options.priced(view);
        let mut table = Table::new(&options, memory, view);
        let before = table.rows.clone();
        relieve::relieve(&mut table);
        join::join(&mut table);
        feed::feed(&mut table);
        feed::balance(&mut table);
        let chosen = choose::choose(&mut table);
        orders::plan(table, &before, &chosen)
    }

    /// Records the plan that is carried out. Called once per round, last.
    pub fn commit(&self, memory: &mut AutoMemory, view: &CellView, plan: &Plan) {
        let options = &self.options;
        memory.first = plan.first;
        memory.chosen = plan.spread.iter().filter(|(_, weight)| **weight > 0.0).map(|(id, _)| *id).collect();
        if choose::has_slack(options, memory) {
            // Whether done or not worth it, gathering starts waiting again.
            memory.slack_since = None;
        }
        for step in &plan.moves {
            let (fetched_bytes, untouched_bytes) = bytes_of(options, memory, view, step);
            let share = view.nodes.iter().find(|node| node.id == step.to).and_then(|node| node.pressure.share());
            if let (Some(node), Some(share)) = (memory.nodes.get_mut(&step.to), share) {
                node.reopen_if_calm(options, share, memory.now);
            }
            let groups = view.groups_on(step.from);
            if groups.binary_search_by_key(&step.group, |group| group.id).is_err() {
                continue;
            }
            let met_share =
                memory.nodes.get(&step.from).map_or(1.0, |node| match node.wanted_cpus > node.supply_cpus {
                    true => node.supply_cpus / node.wanted_cpus,
                    false => 1.0,
                });
            let from = memory.nodes.get(&step.from);
            let was_hit = from.is_some_and(|node| node.was_hit_within(memory.now, options.hit_rounds));
            let was_urgent = was_hit || from.is_some_and(|node| node.is_closed);
            if !was_hit {
                memory.bytes_left = (memory.bytes_left - fetched_bytes).max(0.0);
            }
            let now = memory.now;
            let Some(group) = memory.groups.get_mut(&step.group) else { continue };
            group.node = step.to;
            group.moved = Some(PastMove {
                at: now,
                from: step.from,
                was_urgent,
                instead_cpus: group.used_cpus.min(group.want_cpus * met_share),
                is_judged: false,
            });
            if !view.memory_follows {
                bytes::note_fetching(memory, step, untouched_bytes);
            }
        }
        clusters::note_apart(memory, &plan.clusters);
    }

    /// The groups that share so much memory that they move as one, each cluster in order of id.
    pub fn clusters<'a>(&self, memory: &'a AutoMemory) -> &'a [Vec<GroupId>] {
        &memory.clusters
    }

    /// Returns true if work stays on a node where others' use jumped a short while ago: the readings of the other nodes may be old, so
    /// they should be refreshed at once.
    pub fn is_stuck(&self, memory: &AutoMemory, view: &CellView, plan: &Plan) -> bool {
        let is_fled = |id| memory.nodes.get(&id).is_some_and(|node| node.is_fled(&self.options, memory.now));
        let stays = |id| plan.moves.iter().all(|step| step.from != id);
        view.nodes.iter().any(|node| is_fled(node.id) && !view.groups_on(node.id).is_empty() && stays(node.id))
    }
}

/// The bytes that a move takes of the budget, and those that come if the group touches all of its memory.
fn bytes_of(options: &AutoOptions, memory: &AutoMemory, view: &CellView, step: &Move) -> (f64, f64) {
    let groups = view.groups_on(step.from);
    let Ok(at) = groups.binary_search_by_key(&step.group, |group| group.id) else { return (0.0, 0.0) };
    let known = (view.resident(step.group), memory.groups.get(&step.group));
    let holding = Holding::new(options, memory, view, &groups[at], known);
    (holding.fetched_bytes(step.to), holding.untouched_bytes(step.to))
}

impl From<&PolicySettings> for Auto {
    fn from(settings: &PolicySettings) -> Self {
        let mut options = AutoOptions::with_interval(settings.round_s);
        options.others_grain_cpus = settings.others_grain_cpus;
        if let Some(price) = settings.balance_price {
            options.balance_price = price / settings.round_s;
        }
        if let Some(bytes_per_s) = settings.byte_budget {
            options.bytes_per_round = bytes_per_s * settings.round_s;
        }
        Auto { options }
    }
}

impl Policy for Auto {
    fn name(&self) -> &'static str {
        Auto::NAME
    }

    fn decide(&self, view: &CellView, memory: &Memory) -> Plan {
        Auto::decide(self, &memory.auto, view)
    }

    fn places_groups(&self) -> bool {
        true
    }

    fn remembers(&self) -> bool {
        true
    }

    fn steers(&self) -> bool {
        true
    }

    fn uses_links(&self) -> bool {
        true
    }

    fn weighs_memory(&self) -> bool {
        true
    }

    fn observe(&self, view: &CellView, memory: &mut Memory) {
        Auto::observe(self, &mut memory.auto, view);
    }

    fn commit(&self, view: &CellView, plan: &Plan, memory: &mut Memory) {
        Auto::commit(self, &mut memory.auto, view, plan);
    }

    fn clusters<'a>(&self, memory: &'a Memory) -> &'a [Vec<GroupId>] {
        Auto::clusters(self, &memory.auto)
    }

    fn is_stuck(&self, view: &CellView, plan: &Plan, memory: &Memory) -> bool {
        Auto::is_stuck(self, &memory.auto, view, plan)
    }
}

#[cfg(test)]
mod tests;
