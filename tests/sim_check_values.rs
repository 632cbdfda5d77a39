//! Compares the simulator with an independent implementation of the model, on a trace too large for the repository.
//!
//! The trace is searched for in `$VNUMA_TRACES`, then next to the project. Without it these tests print that and pass.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::OnceLock;

use scx_vnuma::policy::{Order, PolicyName};
use scx_vnuma::sim::engine::Prepared;
use scx_vnuma::sim::figures::Figures;
use scx_vnuma::sim::params::Params;
use scx_vnuma::sim::placement::Shard;
use scx_vnuma::sim::trace::{expand, from_csv, CsvTables, Oddities, Trace};

fn trace() -> Option<&'static Trace> {
    static TRACE: OnceLock<Option<Trace>> = OnceLock::new();
    TRACE.get_or_init(load).as_ref()
}

fn load() -> Option<Trace> {
    let next_to_project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/traces");
    let traces = std::env::var_os("VNUMA_TRACES").map_or(next_to_project, PathBuf::from);
    let data = traces.join("g2011-hybrid-A");
    if !data.is_dir() {
        println!("skipped: {} doesn't exist; set VNUMA_TRACES to the directory of g2011-hybrid-A", data.display());
        return None;
    }
    let table = |name: &str| {
        let folder = data.join(name).to_string_lossy().into_owned();
        expand(&[folder], name, &mut Oddities::default()).unwrap()
    };
    let tables = CsvTables { events: table("task_events"), usage: table("task_usage"), checksums: false };
    Some(from_csv(&tables, true, &|_| true, &|_| {}).unwrap())
}

fn figures(params: &Params) -> Option<Figures> {
    let prepared = Prepared::new(trace()?, params, Shard::WHOLE);
    Some(Figures::new(&prepared.run(params, &|| {}).cells, params, prepared.horizon().length_s()))
}

fn within(name: &str, value: f64, wanted: f64, relative: f64) {
    assert!((value - wanted).abs() <= relative * wanted.abs(), "{name} is {value}, should be {wanted}");
}

struct Wanted {
    finished: f64,
    cpu_utilisation: f64,
    gini: f64,
    duration_s: f64,
    migrations: f64,
    network_bytes_per_s: f64,
}

fn agrees(policy: PolicyName, order: Option<Order>, wanted: &Wanted) {
    let Some(figures) = figures(&Params::default().with_policy(policy, order)) else { return };
    assert_eq!(figures.tasks, 18_624);
    let pairs = [
        ("finished", figures.finished as f64, wanted.finished),
        ("cpu_utilisation", figures.cpu_utilisation, wanted.cpu_utilisation),
        ("gini", figures.gini, wanted.gini),
        ("duration_s", figures.duration_s.unwrap(), wanted.duration_s),
        ("migrations", figures.migrations as f64, wanted.migrations),
        ("network_bytes_per_s", figures.network_bytes_per_s, wanted.network_bytes_per_s),
    ];
    pairs.into_iter().for_each(|(name, value, wanted)| within(name, value, wanted, 0.001));
}

#[test]
fn none_agrees() {
    let wanted = Wanted {
        finished: 7159.0,
        cpu_utilisation: 0.285971,
        gini: 0.203524,
        duration_s: 3181.67,
        migrations: 0.0,
        network_bytes_per_s: 0.0,
    };
    agrees(PolicyName::NONE, None, &wanted);
}

#[test]
fn coarse_agrees() {
    let wanted = Wanted {
        finished: 8464.0,
        cpu_utilisation: 0.300620,
        gini: 0.168677,
        duration_s: 3115.96,
        migrations: 54270.0,
        network_bytes_per_s: 2.63421e9,
    };
    agrees(PolicyName::COARSE, None, &wanted);
}

#[test]
fn fine_by_memory_agrees() {
    let wanted = Wanted {
        finished: 8391.0,
        cpu_utilisation: 0.299714,
        gini: 0.170055,
        duration_s: 3179.02,
        migrations: 62665.0,
        network_bytes_per_s: 2.59839e9,
    };
    agrees(PolicyName::FINE, Some(Order::Memory), &wanted);
}

/// The requirements for `auto`: more work done, sooner, with a tenth of `coarse`'s bytes, and balanced.
#[test]
fn auto_does_more_than_the_thesiss_policies_for_a_tenth_of_the_bytes() {
    let run = |policy, order| figures(&Params::default().with_policy(policy, order));
    let Some(auto) = run(PolicyName::AUTO, None) else { return };
    let coarse = run(PolicyName::COARSE, None).unwrap();
    let thesis = [(PolicyName::NONE, None), (PolicyName::COARSE, None)];
    let fine = Order::ALL.map(|order| (PolicyName::FINE, Some(order)));
    for (policy, order) in thesis.into_iter().chain(fine) {
        let other = run(policy, order).unwrap();
        assert!(auto.cpu_utilisation > other.cpu_utilisation, "{policy:?} {order:?}");
        assert!(auto.finished > other.finished, "{policy:?} {order:?}");
        assert!(auto.duration_s < other.duration_s, "{policy:?} {order:?}");
    }
    assert!(auto.network_bytes_per_s <= 0.1 * coarse.network_bytes_per_s, "{}", auto.network_bytes_per_s);
    assert!(auto.gini <= 0.181, "{}", auto.gini);
}

#[test]
fn auto_balances_best_of_all_too_for_a_fifth_of_coarses_bytes() {
    let params = Params { price: 1e-10, ..Params::default() };
    let Some(auto) = figures(&params.with_policy(PolicyName::AUTO, None)) else { return };
    let coarse = figures(&params.with_policy(PolicyName::COARSE, None)).unwrap();
    assert!(auto.gini < coarse.gini, "{} and {}", auto.gini, coarse.gini);
    assert!(auto.cpu_utilisation > coarse.cpu_utilisation && auto.finished > coarse.finished);
    assert!(auto.network_bytes_per_s < 0.2 * coarse.network_bytes_per_s, "{}", auto.network_bytes_per_s);
}

#[test]
fn machines_pooled_by_cell_bound_what_placement_can_reach() {
    let params = Params { machines: 200, capacity: 2.0, ..Params::default() }.with_policy(PolicyName::NONE, None);
    let Some(figures) = figures(&params) else { return };
    within("cpu_utilisation", figures.cpu_utilisation, 0.3185, 0.001);
    within("gini", figures.gini, 0.103, 0.005);
}
