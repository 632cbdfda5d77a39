//! Demand: the CPU that each group wants, and the outcome of its last move. A group wants what it used while nothing held it
//! back, and what it used and waited for where something did.

use super::memory::{AutoMemory, GroupMemory};
use super::options::{decay, AutoOptions};
use crate::cell::{CellView, Group, JudgedMove, Node, Payoff};

/// Sums over the groups of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct NodeUse {
    /// CPU that they used.
    pub(super) used_cpus: f64,
    /// CPU that they want, according to the policy's memory.
    pub(super) wanted_cpus: f64,
    /// Number of their tasks.
    pub(super) nr_tasks: u32,
}

impl NodeUse {
    fn of(groups: &[Group]) -> Self {
        groups.iter().fold(NodeUse::default(), |sum, group| NodeUse {
            used_cpus: sum.used_cpus + group.demand.usage_cpus,
            wanted_cpus: 0.0,
            nr_tasks: sum.nr_tasks.saturating_add(group.nr_tasks),
        })
    }
}

/// Updates the memory with a round's observations of a node's groups.
pub(super) fn observe_groups(
    options: &AutoOptions,
    memory: &mut AutoMemory,
    view: &CellView,
    node: &Node,
    groups: &[Group],
) -> NodeUse {
    let used = NodeUse::of(groups);
    let others_cpus = node.pressure_cpus().unwrap_or(0.0);
    let limit_cpus = memory.nodes.get(&node.id).and_then(|memory| memory.limit_cpus).unwrap_or(f64::INFINITY);
    // Of this round, as what the groups used is: where nothing is idle, they are short whatever the others' part is.
    let fixed_cpus = (node.load_cpus - others_cpus - used.used_cpus).max(0.0);
    let available_cpus = (node.capacity_cpus - others_cpus - fixed_cpus).max(0.0).min(limit_cpus);
    let is_busy = used.used_cpus >= options.busy_share * available_cpus;
    // Tasks that wait for admission are not part of these groups.
    let waiting_cpus = if node.admission.is_none() { node.waiting_cpus } else { 0.0 };
    let waiting_cpus_per_task = waiting_cpus / f64::from(used.nr_tasks.max(1));
    let rise = 1.0 - decay(view.window_rounds, options.want_rise_half_life_rounds);
    let fall = decay(view.window_rounds, options.want_fall_half_life_rounds);
    let now = memory.now;
    let mut wanted_cpus = 0.0;
    for group in groups {
        let tasks = f64::from(group.nr_tasks.max(1));
        let used_cpus = group.demand.usage_cpus;
        let held_back = group.wanted_cpus.unwrap_or(used_cpus + waiting_cpus_per_task * tasks);
        let want_cpus = if is_busy { used_cpus.max(held_back) } else { used_cpus };
        // A task can't use more than one CPU, but a short window may count more.
        let want_cpus = want_cpus.min(tasks.max(used_cpus));
        let remembered = memory.groups.entry(group.id).or_insert_with(|| GroupMemory {
            node: group.node,
            first_seen_at: now - group.age_rounds,
            seen_at: now,
            used_cpus,
            want_cpus,
            moved: None,
            dearness: 1.0,
            hot_share: None,
            apart: None,
        });
        let want_cpus = remembered.apart.map_or(want_cpus, |apart| want_cpus.min(apart.cpus.max(used_cpus)));
        remembered.seen_at = now;
        remembered.node = group.node;
        remembered.used_cpus += rise * (used_cpus - remembered.used_cpus);
        // Of sharers that take turns, one uses what the other doesn't: the sum of what each used at most would be too much.
        let follows_down = remembered.apart.is_some();
        remembered.want_cpus = match want_cpus >= remembered.want_cpus || follows_down {
            true => remembered.want_cpus + rise * (want_cpus - remembered.want_cpus),
            false => want_cpus.max(remembered.want_cpus * fall),
        };
        let (node, used_cpus) = (remembered.node, remembered.used_cpus);
        if let (Some(payoff), Some(moved)) = (remembered.judge(options, now, want_cpus), remembered.moved) {
            memory.judged.push(JudgedMove {
                group: group.id,
                from: moved.from,
                to: node,
                age_rounds: now - moved.at,
                used_cpus,
                instead_cpus: moved.instead_cpus,
                payoff,
            });
        }
        wanted_cpus += remembered.want_cpus;
    }
    NodeUse { wanted_cpus, ..used }
}

impl GroupMemory {
    /// Judges the last move once its trial is over: it was bad if the group gets clearly less than it would have got on its old
    /// node, although it wants more. A bad move makes the next ones more expensive, a good one cheaper again. Returns the
    /// judgement, once.
    pub(super) fn judge(&mut self, options: &AutoOptions, now: f64, want_cpus: f64) -> Option<Payoff> {
        const CLEARLY_LESS: f64 = 0.9;
        const DEAREST: f64 = 16.0;
        /// So little more is no gain.
        const NOTHING_CPUS: f64 = 0.01;

        let used_cpus = self.used_cpus;
        let moved = self.moved.as_mut()?;
        if moved.from == self.node {
            // The plan could not be carried out.
            self.moved = None;
            return None;
        }
        if moved.is_judged || now - moved.at < options.trial_rounds {
            return None;
        }
        moved.is_judged = true;
        let wants_more = want_cpus * CLEARLY_LESS > used_cpus;
        let payoff = if used_cpus < CLEARLY_LESS * moved.instead_cpus && wants_more {
            Payoff::Lost
        } else if moved.instead_cpus < CLEARLY_LESS * used_cpus && used_cpus - moved.instead_cpus > NOTHING_CPUS {
            Payoff::Gained
        } else {
            Payoff::Even
        };
        self.dearness = match payoff {
            Payoff::Lost => (self.dearness * 2.0).min(DEAREST),
            Payoff::Gained | Payoff::Even => (self.dearness / 2.0).max(1.0),
        };
        Some(payoff)
    }

    /// Rounds since the group began, as far as known.
    pub(super) fn age_rounds(&self, now: f64) -> f64 {
        now - self.first_seen_at
    }
}
