//! Relief: work leaves nodes that can't give it the CPU that it wants, or where others need the CPU that it takes, as far as a
//! move's value exceeds its cost.
//!
//! A move's value is its benefit for the cell, over the time for which the group is expected to live and the destination to stay
//! unchanged: the additional CPU that work gets, λ times the CPU that others need and no longer lose, and part of what the group
//! itself gains at the expense of other groups. Its cost is the stall for the pages that move with the group.

use super::options::{AutoOptions, PAGE_BYTES};
use super::table::{Row, Table};
use super::units::Unit;

/// Decides the moves off all nodes that are short of CPU or harm others, beginning with the worst.
pub(super) fn relieve(table: &mut Table<'_>) {
    let mut sources: Vec<usize> =
        (0..table.rows.len()).filter(|&row| needs_relief(table.options, &table.rows[row])).collect();
    let met_share = |table: &Table<'_>, row: usize| table.rows[row].met_share(table.rows[row].wanted_cpus);
    sources.sort_by(|&a, &b| met_share(table, a).total_cmp(&met_share(table, b)));
    for source in sources {
        // A short node that took work from a shorter one waits for the next round: otherwise that work would end up worse off.
        if !table.rows[source].receives {
            relieve_node(table, source);
        }
    }
}

/// Returns true if a node's work is clearly short of CPU, or takes CPU that others need. Supply and demand are measured to within
/// a few per cent, and work must not move because of such errors.
fn needs_relief(options: &AutoOptions, row: &Row) -> bool {
    /// A hundredth of a CPU more or less delays nobody.
    const HARM_MIN_SHARE: f64 = 0.01;

    let is_short = row.met_share(row.wanted_cpus) < options.saturated_share;
    let does_harm = row.harm_cpus(row.wanted_cpus) > HARM_MIN_SHARE * row.capacity_cpus;
    row.nr_groups > 0 && (is_short || does_harm)
}

fn relieve_node(table: &mut Table<'_>, source: usize) {
    let is_offline = table.rows[source].capacity_cpus == 0.0;
    let is_urgent = is_offline || table.rows[source].is_hit;
    if !is_offline && table.memory.nodes.get(&table.rows[source].id).is_none_or(|node| node.known_at.is_none()) {
        // The supply of this node isn't known, so its work can't be said to be short of it.
        return;
    }
    let destinations = destinations(table, source);
    if destinations.is_empty() {
        return;
    }
    // A cluster that finds no place as a whole is split where that is worth what it costs.
    for units in [Table::units_of, Table::members_of] {
        for unit in cheapest_first(table, source, units(table, source)) {
            if !needs_relief(table.options, &table.rows[source]) {
                return;
            }
            match best_destination(table, unit, source, &destinations) {
                Ok(to) => {
                    if !is_urgent {
                        table.bytes_left -= table.unit_fetched_bytes(unit, to);
                    }
                    table.go_unit(unit, source, to);
                }
                Err(stays) => table.note_staying(unit, stays),
            }
        }
    }
}

/// Nodes where any group of a node could gain, in order of id. Moves off the node only make these destinations worse.
fn destinations(table: &Table<'_>, source: usize) -> Vec<usize> {
    let from = &table.rows[source];
    let fair_rate = table.options.fairness_ratio * from.met_share(from.wanted_cpus) * from.speed;
    let does_harm = from.harm_cpus(from.wanted_cpus) > 0.0;
    let may_gain = |row: &Row| {
        let is_fairer = row.met_share(row.wanted_cpus) * row.speed >= fair_rate;
        row.spare_cpus() > 0.0 || is_fairer || does_harm
    };
    let rows = table.rows.iter().enumerate();
    rows.filter(|&(to, row)| to != source && row.is_open && may_gain(row)).map(|(to, _)| to).collect()
}

/// Those units of a node that may move, by CPU · rounds of relief for each round of stall.
fn cheapest_first(table: &Table<'_>, source: usize, units: Vec<Unit>) -> Vec<Unit> {
    let row = &table.rows[source];
    let over_cpus = (row.wanted_cpus - row.supply_cpus).max(row.harm_cpus(row.wanted_cpus));
    let density = |unit: Unit| {
        let relief_cpus = table.unit_want_cpus(unit).min(over_cpus);
        let stalls = table.groups_in(&unit).iter().map(|&group| stall_rounds(table, group));
        let stall_rounds = stalls.map(|rounds| rounds + table.options.move_cost_rounds).sum::<f64>();
        relief_cpus * table.unit_horizon_rounds(unit) / stall_rounds
    };
    let is_moved = |unit: &Unit| table.groups_in(unit).iter().any(|&group| table.is_moved[group]);
    let may_move = |unit: &Unit| !is_moved(unit) && (row.capacity_cpus == 0.0 || table.unit_may_move(*unit));
    let mut units: Vec<(f64, Unit)> = units.into_iter().filter(may_move).map(|unit| (density(unit), unit)).collect();
    units.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    units.into_iter().map(|(_, unit)| unit).collect()
}

/// The time for which a group would stall for all of the pages that it uses.
fn stall_rounds(table: &Table<'_>, group: usize) -> f64 {
    let hot_bytes = table.view.groups[group].demand.memory_bytes * table.holding(group).hot_share();
    hot_bytes / PAGE_BYTES * table.options.page_cost_rounds
}

/// What a destination is worth, whether it is in use, and its row.
type Candidate = (f64, bool, usize);

/// Why a unit goes nowhere.
enum Stays {
    /// It is no better off anywhere, or not by as much as the move costs.
    NotWorthIt,
    /// No node where it would be has the memory.
    NoRoom,
    /// Moves have taken the bytes that they may take.
    OverBudget,
}

impl Table<'_> {
    /// Counts the groups that memory or bytes keep where they are. Those of a cluster have been counted when they were one unit.
    fn note_staying(&mut self, unit: Unit, stays: Stays) {
        let nr_groups = match unit {
            Unit::Group(group) if self.sharing.cluster_of(group).is_some() => 0,
            _ => self.groups_in(&unit).len() as u32,
        };
        match stays {
            Stays::NoRoom => self.nr_no_room += nr_groups,
            Stays::OverBudget => self.nr_over_budget += nr_groups,
            Stays::NotWorthIt => {}
        }
    }
}

/// The destination where a unit's move is worth most, if it is worth its cost anywhere.
fn best_destination(table: &Table<'_>, unit: Unit, source: usize, destinations: &[usize]) -> Result<usize, Stays> {
    let (is_offline, is_hit) = (table.rows[source].capacity_cpus == 0.0, table.rows[source].is_hit);
    let takes_budget = !is_offline && !is_hit;
    if takes_budget && table.unit_least_fetched_bytes(unit) > table.bytes_left {
        return Err(Stays::OverBudget);
    }
    let mut stays = Stays::NotWorthIt;
    let want_cpus = table.unit_want_cpus(unit);
    let ties = table.ties(unit);
    // Off a node that gives it next to nothing, work goes even where its new pages would be on other nodes. Where reservations are
    // made, memory is one, too.
    let may_squeeze = (is_offline || is_hit) && table.view.nodes[source].admission.is_none();
    let (mut best, mut squeezed): (Option<Candidate>, Option<Candidate>) = (None, None);
    for &to in destinations {
        let row = &table.rows[to];
        // A node that others also use may be hit next: moving there can wait.
        let is_urgent = is_offline || (is_hit && !row.is_shared);
        let must_wait =
            !is_urgent && (table.unit_is_held(unit) || table.unit_left_within(unit, row.id, table.options.hold_rounds));
        if must_wait {
            continue;
        }
        let Some(gain_cpus) = gain_cpus(table, want_cpus, source, to) else { continue };
        let horizon_rounds =
            table.unit_horizon_rounds(unit).min(row.lasts_rounds.max(table.options.horizon_min_rounds));
        let ratio = value_ratio(table, unit, source, to);
        let (split_cpus, joined_cpus) = ties.split_and_joined_cpus(source, to);
        if gain_cpus + joined_cpus <= 0.0 && !is_offline {
            continue;
        }
        let groups = table.groups_in(&unit).iter();
        let cost_rounds = groups.map(|&group| cost_rounds(table, group, table.want_cpus(group), to)).sum::<f64>();
        let surplus = (gain_cpus + joined_cpus) * horizon_rounds - ratio * (cost_rounds + split_cpus * horizon_rounds);
        let is_used = row.nr_groups > 0;
        // Among equals prefer a node in use, then the lower id.
        let is_better = |best: Option<Candidate>| {
            best.is_none_or(|(most, used, _)| surplus > most || (surplus == most && is_used && !used))
        };
        if !is_better(best) || !(surplus > 0.0 || is_offline) {
            continue;
        }
        if table.unit_room_bytes(unit, to) > row.free_bytes {
            stays = Stays::NoRoom;
            if may_squeeze && is_better(squeezed) {
                squeezed = Some((surplus, is_used, to));
            }
        } else if takes_budget && table.unit_fetched_bytes(unit, to) > table.bytes_left {
            stays = Stays::OverBudget;
        } else {
            best = Some((surplus, is_used, to));
        }
    }
    best.or(squeezed).map(|(_, _, to)| to).ok_or(stays)
}

fn value_ratio(table: &Table<'_>, unit: Unit, source: usize, to: usize) -> f64 {
    let options = table.options;
    match table.rows[source].is_hit && !table.rows[to].is_shared {
        true => options.value_ratio_hit,
        false if table.unit_left_within(unit, table.rows[to].id, options.back_rounds) => options.value_ratio_back,
        false if table.splits_joined_within(unit, options.back_rounds) => options.value_ratio_back,
        false => options.value_ratio,
    }
}

/// The cost of a group's move, CPU · rounds.
pub(super) fn cost_rounds(table: &Table<'_>, group: usize, want_cpus: f64, to: usize) -> f64 {
    let options = table.options;
    let dearness = table.remembered(group).map_or(1.0, |memory| memory.dearness);
    let all_rounds = table.view.groups[group].demand.memory_bytes / PAGE_BYTES * options.page_cost_rounds;
    let fetched_share = table.holding(group).fetched_share(table.rows[to].id);
    let stall_rounds = all_rounds * fetched_share + options.move_cost_rounds;
    want_cpus.max(options.limit_min_cpus) * stall_rounds * dearness
}

/// The gain of moving a group that wants `want_cpus`, CPU; `None` if the group itself would be worse off.
fn gain_cpus(table: &Table<'_>, want_cpus: f64, source: usize, to: usize) -> Option<f64> {
    let options = table.options;
    let (from, to) = (&table.rows[source], &table.rows[to]);
    let (from_after, to_after) = ((from.wanted_cpus - want_cpus).max(0.0), to.wanted_cpus + want_cpus);
    let rate_before = from.met_share(from.wanted_cpus) * from.speed;
    let rate_after = to.met_share(to_after) * to.speed;
    // The supply of a shared node is an estimate: a small difference may not be real.
    let least_ratio = if to.is_shared { options.shared_ratio } else { 1.0 };
    if rate_after < least_ratio * rate_before {
        return None;
    }
    let given = |row: &Row, after: f64| (row.given_cpus(after) - row.given_cpus(row.wanted_cpus)) * row.speed;
    let harm = |row: &Row, after: f64| row.harm_cpus(after) - row.harm_cpus(row.wanted_cpus);
    let given_cpus = given(from, from_after) + given(to, to_after);
    let harm_cpus = harm(from, from_after) + harm(to, to_after);
    let is_fairer = rate_after >= options.fairness_ratio * rate_before;
    let fairness_cpus = if is_fairer { want_cpus * (rate_after - rate_before) } else { 0.0 };
    Some(given_cpus - options.harm_weight * harm_cpus + options.fairness_weight * fairness_cpus)
}
