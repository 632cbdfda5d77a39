//! Chooses the nodes that do the work: as few as can supply the demand. Work is placed on them at exec, and is gathered on them
//! when one node fewer has been enough for a while.

use std::collections::BTreeSet;

use super::memory::AutoMemory;
use super::options::{AutoOptions, PAGE_BYTES};
use super::table::{Row, Table};
use super::units::Unit;
use crate::cell::NodeId;

/// The nodes that do the work from now on: those chosen before and those that have work, and more if these are not enough. When
/// one node fewer has been enough for long, the node with the least work to move is given up, and its work moves if that pays.
pub(super) fn choose(table: &mut Table<'_>) -> BTreeSet<NodeId> {
    let does_work = |row: &&Row| row.is_open && (row.nr_groups > 0 || table.memory.chosen.contains(&row.id));
    let mut chosen: BTreeSet<NodeId> = table.rows.iter().filter(does_work).map(|row| row.id).collect();
    let wanted_cpus = table.options.supply_margin * table.rows.iter().map(|row| row.wanted_cpus).sum::<f64>();
    let mut supply_cpus: f64 = table.rows.iter().filter(does_work).map(|row| row.supply_cpus).sum();
    let mut others: Vec<&Row> = table.rows.iter().filter(|row| row.is_open && !chosen.contains(&row.id)).collect();
    others.sort_by(|a, b| table.is_full(a).cmp(&table.is_full(b)).then(preference(a, b)));
    for row in others {
        if !chosen.is_empty() && supply_cpus >= wanted_cpus {
            break;
        }
        supply_cpus += row.supply_cpus;
        chosen.insert(row.id);
    }
    if has_slack(table.options, table.memory) {
        consolidate(table, &mut chosen);
    }
    chosen
}

/// Nodes that others don't use come first, then nodes in order of their supply.
fn preference(a: &Row, b: &Row) -> std::cmp::Ordering {
    let gives = |row: &Row| row.supply_cpus * row.speed;
    a.is_shared.cmp(&b.is_shared).then(gives(b).total_cmp(&gives(a))).then(a.id.cmp(&b.id))
}

/// Returns true if one chosen node fewer has been enough for long.
pub(super) fn has_slack(options: &AutoOptions, memory: &AutoMemory) -> bool {
    memory.slack_since.is_some_and(|since| memory.now - since >= options.consolidate_rounds)
}

/// Records whether one chosen node fewer would be enough.
pub(super) fn observe_slack(options: &AutoOptions, memory: &mut AutoMemory) {
    let supplies = memory.chosen.iter().filter_map(|id| memory.nodes.get(id)).map(|node| node.supply_cpus);
    let (sum_cpus, largest_cpus) =
        supplies.fold((0.0, 0.0_f64), |(sum, largest), supply| (sum + supply, largest.max(supply)));
    let wanted_cpus: f64 = memory.nodes.values().map(|node| node.wanted_cpus).sum();
    let has_slack = memory.chosen.len() > 1 && wanted_cpus <= options.consolidate_share * (sum_cpus - largest_cpus);
    memory.slack_since = if has_slack { memory.slack_since.or(Some(memory.now)) } else { None };
}

/// Gives up the chosen node with the least work, if all of that work fits on the others and gathering it is worth the cost of
/// its pages. Does nothing where tasks wait for admission: there reservations are scarce, not nodes.
fn consolidate(table: &mut Table<'_>, chosen: &mut BTreeSet<NodeId>) {
    let has_admission = table.view.nodes.iter().any(|node| node.admission.is_some());
    if has_admission || !table.moves.is_empty() || chosen.len() < 2 {
        return;
    }
    let rows = (0..table.rows.len()).filter(|&row| chosen.contains(&table.rows[row].id));
    // Among equals take the last, so that work gathers on the first.
    let least = rows.min_by(|&a, &b| table.rows[a].wanted_cpus.total_cmp(&table.rows[b].wanted_cpus).then(b.cmp(&a)));
    let Some(source) = least else { return };
    let Some(steps) = gather(table, source, chosen) else { return };
    chosen.remove(&table.rows[source].id);
    for (unit, from, to) in steps {
        table.bytes_left -= table.unit_fetched_bytes(unit, to);
        table.go_unit(unit, from, to);
    }
}

fn gather(table: &Table<'_>, source: usize, chosen: &BTreeSet<NodeId>) -> Option<Vec<(Unit, usize, usize)>> {
    let options = table.options;
    let mut rows = table.rows.clone();
    let mut steps = Vec::new();
    let (mut bytes, mut value_rounds, mut nr_groups) = (0.0, 0.0, 0);
    for unit in table.units_of(source) {
        let want_cpus = table.unit_want_cpus(unit);
        let fits = |&to: &usize| {
            let row: &Row = &rows[to];
            let has_room = row.wanted_cpus + want_cpus <= options.saturated_share * row.supply_cpus;
            let is_back = table.unit_left_within(unit, row.id, options.back_rounds);
            to != source && chosen.contains(&row.id) && !row.is_shared && has_room && !is_back
        };
        // Best fit: take the node with the least sufficient room, so that larger rooms are left for larger groups.
        let fitting = (0..rows.len()).filter(fits);
        let to = fitting.min_by(|&a, &b| rows[a].spare_cpus().total_cmp(&rows[b].spare_cpus()))?;
        let room_bytes = table.unit_room_bytes(unit, to);
        if !table.unit_may_move(unit) || table.unit_is_held(unit) || room_bytes > rows[to].free_bytes {
            return None;
        }
        rows[to].wanted_cpus += want_cpus;
        rows[to].free_bytes -= room_bytes;
        bytes += table.unit_fetched_bytes(unit, to);
        let (split_cpus, joined_cpus) = table.ties(unit).split_and_joined_cpus(source, to);
        let saved_cpus = options.locality_share * want_cpus + joined_cpus - split_cpus;
        value_rounds += saved_cpus * table.unit_horizon_rounds(unit);
        nr_groups += table.groups_in(&unit).len();
        steps.push((unit, source, to));
    }
    let cost_rounds = bytes / PAGE_BYTES * options.page_cost_rounds + options.move_cost_rounds * nr_groups as f64;
    let pays = steps.is_empty() || value_rounds > options.value_ratio * cost_rounds;
    (bytes <= table.bytes_left && pays).then_some(steps)
}
