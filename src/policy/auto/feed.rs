//! Feeding and balancing, where tasks wait for admission: running work leaves a node if its reservation then lets a waiting task
//! start, and loads are evened out as far as that is worth the bytes moved. Without admission control this module does nothing.

use super::table::Table;
use crate::cell::Admission;

/// Bytes added to every move's memory: moving a small group that frees little is not worth its overhead.
const MOVE_BYTES: f64 = (64u64 << 20) as f64;

/// Weight of a node's mean load against its current load, when a destination is chosen.
const MEAN_WEIGHT: f64 = 0.9;

/// Lets waiting tasks start, beginning with the node where most are waiting.
pub(super) fn feed(table: &mut Table<'_>) {
    let waiting_cpus = |row: usize| admission(table, row).map_or(0.0, |_| table.view.nodes[row].waiting_cpus);
    let mut sources: Vec<(f64, usize)> = (0..table.rows.len()).map(|row| (waiting_cpus(row), row)).collect();
    sources.retain(|&(waiting_cpus, _)| waiting_cpus > 0.0);
    sources.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, source) in sources {
        feed_node(table, source);
    }
}

fn admission<'a>(table: &Table<'a>, row: usize) -> Option<&'a Admission> {
    table.view.nodes[row].admission.as_ref()
}

fn feed_node(table: &mut Table<'_>, source: usize) {
    let Some(queue) = admission(table, source) else { return };
    let value = |group: usize| {
        let demand = &table.view.groups[group].demand;
        demand.request_cpus * table.age_rounds(group) / (demand.memory_bytes + MOVE_BYTES)
    };
    let mut groups: Vec<(f64, usize)> = table
        .groups_of(source)
        .filter(|&group| {
            table.may_move(group) && !table.is_held(group) && table.view.groups[group].demand.request_cpus > 0.0
        })
        .map(|group| (value(group), group))
        .collect();
    groups.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut groups = groups.into_iter().map(|(_, group)| group).peekable();
    let mut free_cpus = queue.free_cpus;
    for &waiting_cpus in &queue.waiting_cpus {
        // Only a batch that lets the next task start is worth its bytes.
        let mut batch = Vec::new();
        while free_cpus < waiting_cpus {
            let Some(group) = groups.next() else { return };
            let Some(to) = roomiest(table, group, source, &batch) else { return };
            free_cpus += table.view.groups[group].demand.request_cpus;
            batch.push((group, to));
        }
        free_cpus -= waiting_cpus;
        for (group, to) in batch {
            table.bytes_left -= table.view.groups[group].demand.memory_bytes;
            table.go(group, source, to);
        }
    }
}

/// The least loaded node, mainly by its mean load, that has room for a group in addition to a batch.
fn roomiest(table: &Table<'_>, group: usize, source: usize, batch: &[(usize, usize)]) -> Option<usize> {
    let demand = &table.view.groups[group].demand;
    let load_cpus = |row: usize| {
        let usage_cpus = |&(group, _): &(usize, usize)| table.view.groups[group].demand.usage_cpus;
        table.rows[row].load_cpus + batch.iter().filter(|&&(_, to)| to == row).map(usage_cpus).sum::<f64>()
    };
    let batch_bytes: f64 = batch.iter().map(|&(group, _)| table.view.groups[group].demand.memory_bytes).sum();
    if batch_bytes + demand.memory_bytes > table.bytes_left {
        return None;
    }
    let has_room = |&row: &usize| {
        let node = &table.rows[row];
        row != source
            && node.is_open
            && load_cpus(row) + demand.usage_cpus <= table.options.feed_load_share * node.capacity_cpus
            && batch_bytes + demand.memory_bytes <= node.free_bytes
            && !table.left_within(group, node.id, table.options.hold_rounds)
    };
    let rank = |row: usize| MEAN_WEIGHT * table.rows[row].mean_load_cpus + (1.0 - MEAN_WEIGHT) * load_cpus(row);
    (0..table.rows.len()).filter(has_room).min_by(|&a, &b| rank(a).total_cmp(&rank(b)))
}

/// Evens out loads between nodes with admission: the largest gain per byte comes first, and gains below the price are left.
pub(super) fn balance(table: &mut Table<'_>) {
    let is_open = |&row: &usize| admission(table, row).is_some() && table.rows[row].is_open;
    let rows: Vec<usize> = (0..table.rows.len()).filter(is_open).collect();
    loop {
        let rank =
            |row: usize| MEAN_WEIGHT * table.rows[row].mean_load_cpus + (1.0 - MEAN_WEIGHT) * table.rows[row].load_cpus;
        let least = rows.iter().copied().min_by(|&a, &b| rank(a).total_cmp(&rank(b)));
        let most = rows.iter().copied().max_by(|&a, &b| rank(a).total_cmp(&rank(b)));
        let (Some(to), Some(from)) = (least, most) else { return };
        let Some(group) = steepest(table, from, to) else { return };
        table.bytes_left -= table.view.groups[group].demand.memory_bytes;
        table.go(group, from, to);
    }
}

fn steepest(table: &Table<'_>, from: usize, to: usize) -> Option<usize> {
    let gap_cpus = table.rows[from].load_cpus - table.rows[to].load_cpus;
    let room_cpus = table.options.feed_load_share * table.rows[to].capacity_cpus - table.rows[to].load_cpus;
    let price = |group: usize| {
        let demand = &table.view.groups[group].demand;
        let usage_cpus = demand.usage_cpus;
        usage_cpus * (gap_cpus - usage_cpus) * table.age_rounds(group) / (demand.memory_bytes + MOVE_BYTES)
    };
    let may_go = |&group: &usize| {
        let demand = &table.view.groups[group].demand;
        table.may_move(group)
            && !table.is_held(group)
            && !table.left_within(group, table.rows[to].id, table.options.hold_rounds)
            && demand.usage_cpus < gap_cpus.min(room_cpus)
            && demand.memory_bytes <= table.bytes_left.min(table.rows[to].free_bytes)
    };
    let groups = table.groups_of(from).filter(may_go).map(|group| (price(group), group));
    let best = groups.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    best.filter(|&(price, _)| price > table.options.balance_price).map(|(_, group)| group)
}
