//! The policy `auto` in a closed loop with a toy cell: harvest, reaction, calm, hysteresis. Uses the public API only.

// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

mod toy_cell;

use toy_cell::{Cell, Host, Work};

fn busy_loops(nr: u64) -> Vec<Work> {
    (0..nr).map(|id| Work::busy_loop(100 + id, 0)).collect()
}

fn idle_hosts(nr: usize) -> Vec<Host> {
    (0..nr).map(|_| Host::idle(1.0)).collect()
}

#[test]
fn eight_busy_loops_fill_four_idle_hosts_two_each_and_then_stay() {
    for interval_ms in [100, 500] {
        let mut cell = Cell::new(idle_hosts(4), busy_loops(8), interval_ms);
        cell.run_ms(3_000);
        let on = |node| cell.work.iter().filter(|work| work.node == node).count();
        assert_eq!([0, 1, 2, 3].map(on), [2; 4], "every {interval_ms} ms");
        cell.forget();
        cell.run_ms(60_000);
        assert!(cell.sums.ran_cpus() >= 0.95 * 4.0, "{:?}", cell.sums);
        assert!(cell.sums.moves.is_empty(), "{:?}", cell.sums.moves);
    }
}

#[test]
fn half_a_nodes_demand_stays_on_one_node_for_ten_minutes() {
    for split in [1, 4, 10] {
        let wants_cpus = 0.5 / split as f64;
        let work = (0..split).map(|id| Work { wants_cpus, ..Work::busy_loop(id, 0) }).collect();
        let mut cell = Cell::new(idle_hosts(4), work, 500);
        cell.run_ms(600_000);
        assert!(cell.sums.moves.is_empty(), "{:?}", cell.sums.moves);
        assert!(cell.plan.limits.is_empty(), "{:?}", cell.plan.limits);
        assert_eq!(cell.plan.spread.values().filter(|&&weight| weight > 0.0).count(), 1);
    }
}

#[test]
fn with_hogs_on_two_of_four_hosts_the_other_two_do_the_work() {
    for interval_ms in [100, 500] {
        let hog = || Host::with(1.0, |_| 1.0);
        let hosts = vec![hog(), Host::idle(1.0), hog(), Host::idle(1.0)];
        let mut cell = Cell::new(hosts, busy_loops(8), interval_ms);
        cell.run_ms(5_000);
        cell.forget();
        cell.run_ms(120_000);
        let sums = &cell.sums;
        let free: f64 = (sums.ran[1] + sums.ran[3]) / sums.ms as f64;
        let stolen: f64 = sums.stolen.iter().sum::<f64>() / sums.ran.iter().sum::<f64>();
        assert!(free >= 0.90 * 2.0, "{free}");
        assert!(stolen <= 0.05, "{stolen}");
        for node in [0, 2] {
            assert!(sums.others_share(node) >= 0.97, "{:?}", sums);
        }
        assert!(sums.moves.is_empty(), "{:?}", sums.moves);
    }
}

#[test]
fn work_leaves_a_host_within_50_ms_of_a_hogs_onset() {
    for onset_ms in [20_000, 20_137, 20_333, 20_499] {
        let mut hosts = idle_hosts(4);
        hosts[0] = Host::with(1.0, move |now| if now >= onset_ms { 1.0 } else { 0.0 });
        let work = vec![Work { wants_cpus: 0.9, ..Work::busy_loop(7, 0) }];
        let mut cell = Cell::new(hosts, work, 500);
        cell.run_ms(25_000);
        let left_ms = cell.last_ran_ms[0];
        assert!((onset_ms..=onset_ms + 50).contains(&left_ms), "{left_ms} after {onset_ms}");
        assert_eq!(cell.sums.moves.len(), 1, "{:?}", cell.sums.moves);
    }
}

/// Four hosts, two of which are busy with a batch of 4 ms every 20 ms. The busy pair changes every seven seconds.
fn shifting_hosts() -> Vec<Host> {
    let host = |id: u64| {
        Host::with_batches(1.0, move |now| {
            let is_busy = (id + 4 - now / 7_000 % 4) % 4 < 2;
            if is_busy && (now + 5 * id).is_multiple_of(20) {
                4.0
            } else {
                0.0
            }
        })
    };
    (0..4).map(host).collect()
}

#[test]
fn work_uses_the_idle_hosts_and_avoids_the_bursty_ones_as_they_change() {
    /// Duration of a batch when nothing else runs.
    const ALONE_MS: f64 = 4.0;
    /// What the batches leave of four hosts is 3.6 CPUs, and 2 of that are of idle hosts.
    const LEAST_CPUS: [(bool, u64, f64, f64); 6] = [
        (false, 4, 0.25, 0.97),
        (false, 4, 1.0, 1.8),
        (false, 16, 0.25, 1.8),
        (true, 4, 0.25, 0.97),
        (true, 4, 1.0, 3.1),
        (true, 16, 0.25, 3.1),
    ];
    for (can_give_way, nr, wants_cpus, at_least_cpus) in LEAST_CPUS {
        let work = (0..nr).map(|id| Work { wants_cpus, ..Work::busy_loop(100 + id, 0) }).collect();
        let mut cell = Cell::new(shifting_hosts(), work, 100);
        cell.can_give_way = can_give_way;
        cell.run_ms(14_000);
        cell.forget();
        cell.run_ms(140_000);
        let (ran_cpus, p99_ms) = (cell.sums.ran_cpus(), cell.sums.batch_percentile_ms(99.0));
        println!(
            "{can_give_way}, {nr} x {wants_cpus}: {ran_cpus:.3} CPUs, batches' P99 {p99_ms} ms, {} moves",
            cell.sums.moves.len()
        );
        assert!(ran_cpus >= at_least_cpus, "{can_give_way}, {nr} x {wants_cpus}: {ran_cpus} CPUs");
        assert!(p99_ms <= 1.5 * ALONE_MS, "{nr} x {wants_cpus}: {p99_ms} ms");
    }
}

#[test]
fn when_hogs_come_to_half_of_the_hosts_work_leaves_for_the_others_and_comes_back_when_they_go() {
    const HOGS_MS: std::ops::Range<u64> = 20_000..80_000;
    let hog = || Host::with(1.0, |now| f64::from(u8::from(HOGS_MS.contains(&now))));
    let hosts = vec![hog(), Host::idle(1.0), hog(), Host::idle(1.0)];
    let mut cell = Cell::new(hosts, busy_loops(8), 500);
    cell.run_ms(HOGS_MS.start);
    cell.forget();
    cell.run_ms(60_000);
    let (sums, seconds) = (&cell.sums, 60.0);
    let free_cpus = (sums.ran[1] + sums.ran[3]) / sums.ms as f64;
    assert!(free_cpus >= 0.90 * 2.0, "{free_cpus}");
    assert!(sums.others_share(0).min(sums.others_share(2)) >= 0.97, "{sums:?}");
    assert!(sums.moves.len() <= 6, "in {seconds} s: {:?}", sums.moves);
    cell.forget();
    cell.run_ms(5_000);
    cell.forget();
    cell.run_ms(30_000);
    assert!(cell.sums.ran_cpus() >= 0.95 * 4.0, "{:?}", cell.sums);
}

#[test]
fn hosts_of_two_cpus_of_which_others_use_one_give_work_the_other() {
    for has_host_metrics in [true, false] {
        let hosts = vec![Host::with(2.0, |_| 1.0), Host::idle(2.0), Host::with(2.0, |_| 2.0)];
        let mut cell = Cell::new(hosts, busy_loops(6), 500);
        cell.has_host_metrics = has_host_metrics;
        cell.run_ms(120_000);
        cell.forget();
        cell.run_ms(600_000);
        let sums = &cell.sums;
        let ran_cpus: Vec<f64> = sums.ran.iter().map(|ran| ran / sums.ms as f64).collect();
        assert!(ran_cpus[0] >= 0.9 && ran_cpus[1] >= 1.9, "{ran_cpus:?}");
        assert!(sums.moves.is_empty(), "{:?}", sums.moves);
        assert!(sums.others_share(0).min(sums.others_share(2)) >= 0.97, "{sums:?}");
    }
}

/// `make -j4` of 60 processes of half a second each.
fn make_ms(hosts: Vec<Host>) -> u64 {
    let mut cell = Cell::new(hosts, Vec::new(), 500);
    cell.run_ms(5_000);
    let (began_ms, mut started) = (cell.now_ms, 0);
    while started < 60 || !cell.work.is_empty() {
        cell.work.retain(|work| work.total_ms > 0.0);
        while started < 60 && cell.work.len() < 4 {
            cell.exec(Work { total_ms: 500.0, ..Work::busy_loop(1_000 + started, 0) });
            started += 1;
        }
        cell.run_ms(1);
    }
    cell.now_ms - began_ms
}

#[test]
fn short_processes_are_spread_at_exec_as_well_as_on_one_node() {
    let one_node_ms = make_ms(vec![Host::idle(4.0)]);
    let two_nodes_ms = make_ms(vec![Host::idle(2.0), Host::idle(2.0)]);
    println!("60 processes: {one_node_ms} ms on a node of four CPUs, {two_nodes_ms} ms on two of two");
    assert!(two_nodes_ms as f64 <= 1.05 * one_node_ms as f64, "{two_nodes_ms} ms, {one_node_ms} on one node");
}

/// What a host does in the co-location experiment: busy, busy, lightly used, idle.
fn role(host: u64, phase: u64) -> usize {
    ((host + 4 - phase % 4) % 4) as usize
}

const IDLE: usize = 3;

/// Four hosts with a batch of work every 20 ms on average, as in the co-location experiment. The roles change every seven seconds.
fn colocated_hosts() -> Vec<Host> {
    const BATCHES_MS: [f64; 4] = [5.0, 5.0, 2.0, 0.0];
    let host = |id: u64| {
        let state = std::cell::Cell::new(((id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15), 0));
        Host::with_batches(1.0, move |now| {
            let (mut seed, mut due) = state.get();
            if now < due {
                return 0.0;
            }
            // The sum of twelve is nearly normal, with a standard deviation of 1.
            let normal = (0..12).map(|_| random(&mut seed)).sum::<f64>() - 6.0;
            due = now + (20.0 + 5.0 * normal).max(1.0) as u64;
            state.set((seed, due));
            BATCHES_MS[role(id, now / 7_000)]
        })
    };
    (0..4).map(host).collect()
}

/// 0..1, by xorshift.
fn random(seed: &mut u64) -> f64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 11) as f64 / (1u64 << 53) as f64
}

#[test]
fn work_fills_the_idle_host_and_spares_the_busy_ones_as_their_roles_change() {
    const PHASE_MS: u64 = 7_000;
    const NR_TURNS: u64 = 10;
    let mut alone = Cell::new(colocated_hosts(), Vec::new(), 500);
    alone.run_ms(4 * NR_TURNS * PHASE_MS);
    for (has_host_metrics, can_give_way) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut cell = Cell::new(colocated_hosts(), busy_loops(8), 500);
        cell.has_host_metrics = has_host_metrics;
        cell.can_give_way = can_give_way;
        cell.run_ms(4 * PHASE_MS);
        cell.forget();
        let mut ran_ms = [0.0; 4];
        for phase in 4..4 + 4 * NR_TURNS {
            let before = cell.sums.ran.clone();
            cell.run_ms(PHASE_MS);
            (0..4).for_each(|host| ran_ms[role(host, phase)] += cell.sums.ran[host as usize] - before[host as usize]);
        }
        let cpus = ran_ms.map(|ms| ms / cell.sums.ms as f64);
        let (p99_ms, alone_ms) = (cell.sums.batch_percentile_ms(99.0), alone.sums.batch_percentile_ms(99.0));
        println!(
            "host metrics: {has_host_metrics}, gives way: {can_give_way}: {cpus:.3?} CPUs by role, batches' P99 {p99_ms} ms, {alone_ms} ms alone"
        );
        assert!(cpus[IDLE] >= 0.85, "{cpus:?}");
        assert!(!can_give_way || cpus[0].min(cpus[1]) >= 0.45, "{cpus:?}");
        assert!(p99_ms <= 2.0 * alone_ms, "{p99_ms} ms, {alone_ms} ms alone");
    }
}
