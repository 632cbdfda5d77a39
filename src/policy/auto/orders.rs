//! What a plan orders besides moves: limits, where new processes go, fallbacks, and which nodes to watch.

use std::collections::{BTreeMap, BTreeSet};

use super::memory::NodeMemory;
use super::table::{Row, Table};
use crate::cell::{Balance, Bytes, Node, NodeId, Outcome, Plan, Verdict};

/// The plan of a table whose moves are decided. `before` is the table as it was before them.
pub(super) fn plan(table: Table<'_>, before: &[Row], chosen: &BTreeSet<NodeId>) -> Plan {
    let fallback = fallback(&table);
    let first = first(&table, chosen);
    Plan {
        first,
        second: first.and_then(|first| fallback.get(&first).copied()),
        verdicts: verdicts(&table, before),
        limits: limits(&table),
        gives_way: nodes(&table, |node| node.gives_way),
        has_others: nodes(&table, |node| node.gives_way && node.is_shared(table.options)),
        spread: spread(&table, before, chosen),
        fallback,
        watch: watch(&table, chosen),
        balance: Some(balance(&table)),
        clusters: table.sharing.moved(table.memory, &table.is_moved),
        judged: table.memory.judged.clone(),
        bytes: bytes(&table),
        fetched: table.memory.fetched.clone(),
        moves: table.moves,
    }
}

fn limits(table: &Table<'_>) -> BTreeMap<NodeId, f64> {
    let limit = |(row, node): (&Row, &Node)| {
        // What was learnt of a refuge is out of date.
        let is_refuge = row.is_refuge && row.receives;
        let limit_cpus = match is_refuge {
            true => (node.room_share < 1.0).then_some(row.supply_cpus),
            false => table.memory.nodes.get(&row.id)?.limit_cpus,
        };
        let limit_cpus = limit_cpus.filter(|limit| *limit < row.capacity_cpus)?;
        Some((row.id, limit_cpus))
    };
    let rows = table.rows.iter().zip(&table.view.nodes);
    rows.filter(|(row, _)| row.capacity_cpus > 0.0).filter_map(limit).collect()
}

/// The nodes of which this is remembered.
fn nodes(table: &Table<'_>, is_so: impl Fn(&NodeMemory) -> bool) -> BTreeSet<NodeId> {
    table.rows.iter().map(|row| row.id).filter(|id| table.memory.nodes.get(id).is_some_and(&is_so)).collect()
}

/// The chosen node with most room, but the last plan's if it is still good: IRQs and workqueues follow it.
fn first(table: &Table<'_>, chosen: &BTreeSet<NodeId>) -> Option<NodeId> {
    if let Some(first) = table.memory.first.filter(|first| chosen.contains(first)) {
        return Some(first);
    }
    let rows = table.rows.iter().filter(|row| chosen.contains(&row.id));
    rows.min_by(|a, b| roomier(a, b)).map(|row| row.id)
}

/// Nodes that nobody else uses first, then by room, then by supply.
fn roomier(a: &Row, b: &Row) -> std::cmp::Ordering {
    let spare = |row: &Row| row.spare_cpus() * row.speed;
    let by_others = a.is_shared.cmp(&b.is_shared);
    by_others.then(spare(b).total_cmp(&spare(a))).then(b.supply_cpus.total_cmp(&a.supply_cpus)).then(a.id.cmp(&b.id))
}

/// New processes go to the chosen nodes, in proportion to the room there; where there is none, to their supply. While a chosen
/// node has no idle CPU they may go to others too.
fn spread(table: &Table<'_>, before: &[Row], chosen: &BTreeSet<NodeId>) -> BTreeMap<NodeId, f64> {
    /// Of its supply: so that a node that seems full still gets some, as what fills it may end.
    const LEAST_ROOM_SHARE: f64 = 0.05;

    let room_cpus = |at: usize| {
        let row = &table.rows[at];
        // Young processes come and go: they are what room is for.
        let lasts = |&group: &usize| table.age_rounds(group) >= table.options.young_rounds;
        let lasting_cpus: f64 = table.groups_of(at).filter(lasts).map(|group| table.want_cpus(group)).sum();
        let moved_cpus = row.wanted_cpus - before[at].wanted_cpus;
        (row.supply_cpus - lasting_cpus - moved_cpus).max(LEAST_ROOM_SHARE * row.supply_cpus) * row.speed
    };
    let gives = |row: &Row| chosen.contains(&row.id) && row.supply_cpus > 0.0;
    // Where memory is short, only if it is everywhere.
    let has_room = table.rows.iter().any(|row| gives(row) && !table.is_full(row));
    let is_chosen = |&at: &usize| gives(&table.rows[at]) && !(has_room && table.is_full(&table.rows[at]));
    let rooms: Vec<(NodeId, f64)> =
        (0..table.rows.len()).filter(is_chosen).map(|at| (table.rows[at].id, room_cpus(at))).collect();
    let sum_cpus: f64 = rooms.iter().map(|(_, room)| room).sum();
    let chosen_ones = rooms.into_iter().map(|(id, room)| (id, room / sum_cpus));
    // Only work that is short of an idle CPU goes further, and not to where others are.
    let may_take_more = |row: &&Row| {
        let has_idle_cpus = row.is_open && !row.is_shared && !chosen.contains(&row.id);
        has_idle_cpus && !table.is_full(row)
    };
    table.rows.iter().filter(may_take_more).map(|row| (row.id, 0.0)).chain(chosen_ones).collect()
}

/// For each node, the best other one.
fn fallback(table: &Table<'_>) -> BTreeMap<NodeId, NodeId> {
    let mut best: Vec<&Row> = table.rows.iter().filter(|row| row.is_open).collect();
    best.sort_by(|a, b| roomier(a, b));
    // Rather where the memory of all that would come has room.
    let holds = |to: &Row, row: usize| {
        let rooms = table.groups_of(row).map(|group| table.holding(group).room_bytes(to.id));
        to.free_bytes == f64::INFINITY || rooms.sum::<f64>() <= to.free_bytes
    };
    let other = |at: usize| {
        let row = &table.rows[at];
        let mut others = best.iter().filter(|best| best.id != row.id);
        let first = others.clone().next()?;
        Some((row.id, others.find(|best| holds(best, at)).unwrap_or(first).id))
    };
    (0..table.rows.len()).filter(|&at| table.rows[at].capacity_cpus > 0.0).filter_map(other).collect()
}

/// Those in use, and the best of all by what is expected of them: twice as many as are chosen.
fn watch(table: &Table<'_>, chosen: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let expected_cpus = |row: &Row| {
        let memory = table.memory.nodes.get(&row.id);
        let others = memory.map_or(0.0, |memory| memory.expected_share(table.options, table.memory.now));
        row.capacity_cpus * row.speed * (1.0 - others)
    };
    let mut ranked: Vec<(f64, &Row)> = table.rows.iter().map(|row| (expected_cpus(row), row)).collect();
    ranked.retain(|(_, row)| row.capacity_cpus > 0.0);
    ranked.sort_by(|(a, row_a), (b, row_b)| b.total_cmp(a).then(row_a.id.cmp(&row_b.id)));
    let count = (2 * chosen.len()).max(table.options.watch_min_nodes);
    let used = table.rows.iter().filter(|row| row.nr_groups > 0 && row.capacity_cpus > 0.0).map(|row| row.id);
    ranked.iter().take(count).map(|(_, row)| row.id).chain(used).chain(chosen.iter().copied()).collect()
}

/// What moves take, where the view tells of memory.
fn bytes(table: &Table<'_>) -> Option<Bytes> {
    let Table { fetched_bytes, bytes_left, nr_no_room, nr_over_budget, view, .. } = *table;
    let is_known = !view.residents.is_empty() || view.nodes.iter().any(|node| node.free_bytes.is_some());
    is_known.then_some(Bytes { fetched: fetched_bytes, left: bytes_left, nr_no_room, nr_over_budget })
}

fn balance(table: &Table<'_>) -> Balance {
    let sum = |of: fn(&Row) -> f64| table.rows.iter().map(of).sum();
    Balance {
        wanted_cpus: sum(|row| row.wanted_cpus),
        supply_cpus: sum(|row| row.supply_cpus),
        short_cpus: sum(|row| (row.wanted_cpus - row.supply_cpus).max(0.0)),
    }
}

fn verdicts(table: &Table<'_>, before: &[Row]) -> Vec<Verdict> {
    let used = table.rows.iter().zip(before).filter(|(_, before)| before.nr_groups > 0);
    used.map(|(row, before)| Verdict { node: row.id, outcome: outcome(table, row, before) }).collect()
}

fn outcome(table: &Table<'_>, row: &Row, before: &Row) -> Outcome {
    let (wanted_cpus, supply_cpus) = (before.wanted_cpus, before.supply_cpus);
    let limit_cpus = table.memory.nodes.get(&row.id).and_then(|memory| memory.limit_cpus);
    let limit_cpus = limit_cpus.filter(|limit| *limit < row.capacity_cpus);
    // As relief has it: less may be an error of measurement.
    let is_short = |cpus| cpus < table.options.saturated_share * wanted_cpus;
    match (row.left_cpus, limit_cpus) {
        (Some(moved_cpus), _) => Outcome::Moves { moved_cpus },
        (None, Some(limit_cpus)) if is_short(limit_cpus) => Outcome::Folds { wanted_cpus, limit_cpus },
        (None, _) if is_short(supply_cpus) => Outcome::Short { wanted_cpus, supply_cpus },
        (None, _) => Outcome::Fits { wanted_cpus, supply_cpus },
    }
}
