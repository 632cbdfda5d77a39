//! Choosing the nodes that do the work: as few as supply what is wanted. Work is placed on them at exec, and gathers there when
//! one node fewer has been enough for a while.

use std::collections::BTreeSet;

use super::memory::AutoMemory;
use super::options::{AutoOptions, PAGE_BYTES};
use super::table::{Row, Table};
use crate::cell::NodeId;

/// The nodes that do the work from now on.
pub(super) fn choose(table: &Table<'_>) -> BTreeSet<NodeId> {
    let options = table.options;
    let wanted_cpus = options.supply_margin * table.rows.iter().map(|row| row.wanted_cpus).sum::<f64>();
    let is_chosen = |row: &&Row| table.memory.chosen.contains(&row.id);
    let mut chosen: Vec<&Row> = table.rows.iter().filter(|row| row.is_open).filter(is_chosen).collect();
    if has_slack_for(table.memory, options.consolidate_rounds) && chosen.len() > 1 {
        // The one that least work has to leave.
        chosen.sort_by(|a, b| b.wanted_cpus.total_cmp(&a.wanted_cpus).then(a.id.cmp(&b.id)));
        chosen.pop();
    }
    let mut others: Vec<&Row> = table.rows.iter().filter(|row| row.is_open).collect();
    others.retain(|row| chosen.iter().all(|chosen| chosen.id != row.id));
    others.sort_by(|a, b| preference(a, b));
    let mut supply_cpus: f64 = chosen.iter().map(|row| row.supply_cpus).sum();
    for row in others {
        if !chosen.is_empty() && supply_cpus >= wanted_cpus {
            break;
        }
        supply_cpus += row.supply_cpus;
        chosen.push(row);
    }
    chosen.into_iter().map(|row| row.id).collect()
}

/// Nodes that nobody else uses first, then those that work is on, then by what they can give.
fn preference(a: &Row, b: &Row) -> std::cmp::Ordering {
    let is_used = |row: &Row| row.nr_groups > 0;
    let gives = |row: &Row| row.supply_cpus * row.speed;
    let by_others = a.is_shared.cmp(&b.is_shared);
    by_others.then(is_used(b).cmp(&is_used(a))).then(gives(b).total_cmp(&gives(a))).then(a.id.cmp(&b.id))
}

fn has_slack_for(memory: &AutoMemory, rounds: f64) -> bool {
    memory.slack_since.is_some_and(|since| memory.now - since >= rounds)
}

/// Take note of whether one chosen node fewer would do.
pub(super) fn observe_slack(options: &AutoOptions, memory: &mut AutoMemory) {
    let supplies = memory.chosen.iter().filter_map(|id| memory.nodes.get(id)).map(|node| node.supply_cpus);
    let (sum_cpus, largest_cpus) =
        supplies.fold((0.0, 0.0_f64), |(sum, largest), supply| (sum + supply, largest.max(supply)));
    let wanted_cpus: f64 = memory.nodes.values().map(|node| node.wanted_cpus).sum();
    let has_slack = memory.chosen.len() > 1 && wanted_cpus <= options.consolidate_share * (sum_cpus - largest_cpus);
    memory.slack_since = if has_slack { memory.slack_since.or(Some(memory.now)) } else { None };
}

/// Move what is on a node that isn't chosen to those that are, if all of it fits there and gathering it is worth its pages.
/// A node a round; none where tasks wait for admission, as there reservations are short and not nodes.
pub(super) fn consolidate(table: &mut Table<'_>, chosen: &BTreeSet<NodeId>) {
    let has_admission = table.view.nodes.iter().any(|node| node.admission.is_some());
    if has_admission || !table.moves.is_empty() {
        return;
    }
    let is_left = |row: &Row| row.nr_groups > 0 && row.is_open && !chosen.contains(&row.id);
    let sources = (0..table.rows.len()).filter(|&row| is_left(&table.rows[row]));
    let source = sources.min_by(|&a, &b| table.rows[a].wanted_cpus.total_cmp(&table.rows[b].wanted_cpus));
    let Some(steps) = source.and_then(|source| gather(table, source, chosen)) else { return };
    for (group, from, to) in steps {
        table.bytes_left -= table.view.groups[group].demand.memory_bytes;
        table.go(group, from, to);
    }
}

fn gather(table: &Table<'_>, source: usize, chosen: &BTreeSet<NodeId>) -> Option<Vec<(usize, usize, usize)>> {
    let options = table.options;
    let mut rows = table.rows.clone();
    let mut steps = Vec::new();
    let (mut bytes, mut value_rounds) = (0.0, 0.0);
    for group in table.groups_of(source) {
        let want_cpus = table.want_cpus(group);
        let memory_bytes = table.view.groups[group].demand.memory_bytes;
        let fits = |&to: &usize| {
            let row: &Row = &rows[to];
            let has_room = row.wanted_cpus + want_cpus <= options.saturated_share * row.supply_cpus;
            to != source && chosen.contains(&row.id) && row.is_open && !row.is_shared && has_room
        };
        // Into the least room that is enough, so that the larger rooms stay for the larger groups.
        let fitting = (0..rows.len()).filter(fits);
        let to = fitting.min_by(|&a, &b| rows[a].spare_cpus().total_cmp(&rows[b].spare_cpus()))?;
        if !table.may_move(group, false) || memory_bytes > rows[to].free_bytes {
            return None;
        }
        rows[to].wanted_cpus += want_cpus;
        rows[to].free_bytes -= memory_bytes;
        bytes += memory_bytes;
        value_rounds += options.locality_share * want_cpus * table.horizon_rounds(group);
        steps.push((group, source, to));
    }
    let cost_rounds = bytes / PAGE_BYTES * options.page_cost_rounds + options.move_cost_rounds * steps.len() as f64;
    (bytes <= table.bytes_left && value_rounds > options.value_ratio * cost_rounds).then_some(steps)
}
