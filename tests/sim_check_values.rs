//! Agreement with an independent implementation of the model, on a trace that is too large to come with the project.
//!
//! It is looked for in `$VNUMA_TRACES`, then beside the project; where it isn't, these tests say so and pass.
#![cfg(feature = "sim")]
// A test's helpers fail by panicking, as its asserts do.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::OnceLock;

use scx_vnuma::policy::Order;
use scx_vnuma::sim::engine::Prepared;
use scx_vnuma::sim::figures::Figures;
use scx_vnuma::sim::params::{Params, PolicyKind};
use scx_vnuma::sim::placement::Shard;
use scx_vnuma::sim::trace::{expand, from_csv, CsvTables, Oddities, Trace};

fn trace() -> Option<&'static Trace> {
    static TRACE: OnceLock<Option<Trace>> = OnceLock::new();
    TRACE.get_or_init(load).as_ref()
}

fn load() -> Option<Trace> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/traces");
    let traces = std::env::var_os("VNUMA_TRACES").map_or(beside, PathBuf::from);
    let data = traces.join("g2011-hybrid-A");
    if !data.is_dir() {
        println!("skipped: {} is not there; set VNUMA_TRACES to the folder that has g2011-hybrid-A", data.display());
        return None;
    }
    let table = |name: &str| {
        let folder = data.join(name).to_string_lossy().into_owned();
        expand(&[folder], name, &mut Oddities::default()).unwrap()
    };
    let tables = CsvTables { events: table("task_events"), usage: table("task_usage") };
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

fn agrees(policy: PolicyKind, order: Option<Order>, wanted: &Wanted) {
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
    agrees(PolicyKind::None, None, &wanted);
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
    agrees(PolicyKind::Coarse, None, &wanted);
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
    agrees(PolicyKind::Fine, Some(Order::Memory), &wanted);
}

/// The bars that `auto` is held to: more work done, sooner, for a tenth of `coarse`'s bytes, and balanced too.
#[test]
fn auto_does_more_than_the_thesiss_policies_for_a_tenth_of_the_bytes() {
    let run = |policy, order| figures(&Params::default().with_policy(policy, order));
    let Some(auto) = run(PolicyKind::Auto, None) else { return };
    let coarse = run(PolicyKind::Coarse, None).unwrap();
    let thesis = [(PolicyKind::None, None), (PolicyKind::Coarse, None)];
    let fine = Order::ALL.map(|order| (PolicyKind::Fine, Some(order)));
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
    let Some(auto) = figures(&params.with_policy(PolicyKind::Auto, None)) else { return };
    let coarse = figures(&params.with_policy(PolicyKind::Coarse, None)).unwrap();
    assert!(auto.gini < coarse.gini, "{} and {}", auto.gini, coarse.gini);
    assert!(auto.cpu_utilisation > coarse.cpu_utilisation && auto.finished > coarse.finished);
    assert!(auto.network_bytes_per_s < 0.2 * coarse.network_bytes_per_s, "{}", auto.network_bytes_per_s);
}

#[test]
fn machines_pooled_by_cell_show_what_placement_could_reach() {
    let params = Params { machines: 200, capacity: 2.0, ..Params::default() }.with_policy(PolicyKind::None, None);
    let Some(figures) = figures(&params) else { return };
    within("cpu_utilisation", figures.cpu_utilisation, 0.3185, 0.001);
    within("gini", figures.gini, 0.103, 0.005);
}
