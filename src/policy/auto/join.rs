//! Brings the groups of a cluster together that are on different nodes.
//!
//! The value is the CPU that stalls for pages take while the cluster is apart; where its groups have less room together than apart,
//! what they and others lose counts against it, as in [`relieve`](super::relieve).

use std::ops::Range;

use super::relieve::cost_rounds;
use super::table::{Row, Table};
use super::units::Unit;

/// At most so many clusters are looked at in a round, so that its cost is bounded: those with the most to gain.
const CLUSTERS_MAX: usize = 32;

/// At most so many nodes that have a part of a cluster are considered for it: those where most of its CPU is wanted.
const ROWS_MAX: usize = 3;

/// Moves groups to where the rest of their cluster is, as far as that pays. The clusters with the most to gain come first.
pub(super) fn join(table: &mut Table<'_>) {
    let mut spread: Vec<(f64, Range<usize>)> = Vec::new();
    let mut first = 0;
    for parts in table.sharing.parts.chunk_by(|a, b| a.cluster == b.cluster) {
        let range = first..first + parts.len();
        first = range.end;
        // A group moves at most once in a round.
        if parts.len() > 1 && range.clone().all(|part| table.unit_may_move(Unit::Part(part))) {
            spread.push((cut_cpus(table, range.clone()), range));
        }
    }
    spread.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.start.cmp(&b.1.start)));
    for (_, parts) in spread.into_iter().take(CLUSTERS_MAX) {
        let Some(to) = best_row(table, parts.clone()) else { continue };
        for part in parts {
            let (unit, from) = (Unit::Part(part), row_of(table, part));
            if from != to {
                table.bytes_left -= table.unit_fetched_bytes(unit, to);
                table.go_unit(unit, from, to);
            }
        }
    }
}

fn row_of(table: &Table<'_>, part: usize) -> usize {
    table.sharing.row_of(table.groups_in(&Unit::Part(part))[0])
}

/// CPU that the links between the parts of a cluster cost while they are apart.
fn cut_cpus(table: &Table<'_>, parts: Range<usize>) -> f64 {
    let sharing = &table.sharing;
    let mut cut_cpus = 0.0;
    for part in &sharing.parts[parts] {
        for &group in sharing.groups_of(part) {
            let here = sharing.row_of(group);
            let is_apart = |other| sharing.cluster_of(other) == Some(part.cluster) && sharing.row_of(other) != here;
            cut_cpus += sharing.linked(group).filter(|&(other, _)| is_apart(other)).map(|(_, cpus)| cpus).sum::<f64>();
        }
    }
    // Each link is seen from both of its ends.
    cut_cpus / 2.0
}

/// Where the cluster is best brought together, if that pays: on a node that has a part of it, or else on the one with the most room.
fn best_row(table: &Table<'_>, parts: Range<usize>) -> Option<usize> {
    let wanted = |part: usize| (table.unit_want_cpus(Unit::Part(part)), row_of(table, part));
    let mut rows: Vec<(f64, usize)> = parts.clone().map(wanted).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let surpluses = rows.iter().take(ROWS_MAX).filter_map(|&(_, to)| Some((surplus(table, parts.clone(), to)?, to)));
    if let Some((_, to)) = surpluses.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))) {
        return Some(to);
    }
    let room_bytes = |to: usize| parts.clone().map(|part| table.unit_room_bytes(Unit::Part(part), to)).sum::<f64>();
    let is_other = |at: &usize| {
        let row = &table.rows[*at];
        let has_part = || rows.iter().any(|(_, with_part)| with_part == at);
        row.is_open && !row.is_shared && row.free_bytes >= room_bytes(*at) && !has_part()
    };
    let spare_cpus = |row: usize| table.rows[row].spare_cpus();
    let others = (0..table.rows.len()).filter(is_other);
    let roomiest = others.max_by(|&a, &b| spare_cpus(a).total_cmp(&spare_cpus(b)).then(b.cmp(&a)))?;
    surplus(table, parts, roomiest).map(|_| roomiest)
}

/// What bringing these parts together on a row is worth beyond its cost, CPU · rounds; `None` if it can't be done or doesn't pay.
fn surplus(table: &Table<'_>, parts: Range<usize>, to: usize) -> Option<f64> {
    let (options, row) = (table.options, &table.rows[to]);
    let movers: Vec<usize> = parts.clone().filter(|&part| row_of(table, part) != to).collect();
    let has_part = movers.len() < parts.len();
    let must_wait = |&part: &usize| {
        let unit = Unit::Part(part);
        table.unit_is_held(unit) || table.unit_left_within(unit, row.id, options.hold_rounds)
    };
    if !row.is_open || (row.is_shared && !has_part) || movers.iter().any(must_wait) {
        return None;
    }
    let room_bytes: f64 = movers.iter().map(|&part| table.unit_room_bytes(Unit::Part(part), to)).sum();
    let fetched_bytes: f64 = movers.iter().map(|&part| table.unit_fetched_bytes(Unit::Part(part), to)).sum();
    if room_bytes > row.free_bytes || fetched_bytes > table.bytes_left {
        return None;
    }
    let mut gain_cpus = 0.0;
    let (mut moved_cpus, mut weighted_rounds, mut cost, mut ratio) = (0.0, 0.0, 0.0, options.value_ratio);
    let given = |row: &Row, after: f64| {
        let given_cpus = (row.given_cpus(after) - row.given_cpus(row.wanted_cpus)) * row.speed;
        given_cpus - options.harm_weight * (row.harm_cpus(after) - row.harm_cpus(row.wanted_cpus))
    };
    for &part in &movers {
        let unit = Unit::Part(part);
        let (want_cpus, from) = (table.unit_want_cpus(unit), &table.rows[row_of(table, part)]);
        gain_cpus += given(from, (from.wanted_cpus - want_cpus).max(0.0));
        moved_cpus += want_cpus;
        weighted_rounds += want_cpus.max(options.limit_min_cpus) * table.unit_horizon_rounds(unit);
        let groups = table.groups_in(&unit).iter();
        cost += groups.map(|&group| cost_rounds(table, group, table.want_cpus(group), to)).sum::<f64>();
        if table.unit_left_within(unit, row.id, options.back_rounds) {
            ratio = options.value_ratio_back;
        }
    }
    gain_cpus += given(row, row.wanted_cpus + moved_cpus);
    let saved_cpus = saved_cpus(table, &movers, to);
    let weight_cpus: f64 =
        movers.iter().map(|&part| table.unit_want_cpus(Unit::Part(part)).max(options.limit_min_cpus)).sum();
    let horizon_rounds = (weighted_rounds / weight_cpus).min(row.lasts_rounds.max(options.horizon_min_rounds));
    let surplus = (gain_cpus + saved_cpus) * horizon_rounds - ratio * cost;
    (surplus > 0.0).then_some(surplus)
}

/// CPU that stalls for pages take less of after these parts of one cluster have moved to a row.
fn saved_cpus(table: &Table<'_>, movers: &[usize], to: usize) -> f64 {
    let sharing = &table.sharing;
    let mut saved_cpus = 0.0;
    for part in movers.iter().map(|&part| &sharing.parts[part]) {
        for &group in sharing.groups_of(part) {
            let here = sharing.row_of(group);
            for (other, cut_cpus) in sharing.linked(group) {
                let there = sharing.row_of(other);
                let moves_too = there != to && sharing.cluster_of(other) == Some(part.cluster);
                saved_cpus += match moves_too {
                    // Seen from both of its ends.
                    true if here != there => cut_cpus / 2.0,
                    true => 0.0,
                    false if there == to => cut_cpus,
                    false if there == here => -cut_cpus,
                    false => 0.0,
                };
            }
        }
    }
    saved_cpus
}
