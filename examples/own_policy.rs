//! A policy of your own on the bundled sample, next to the built-in ones. It needs no BPF:
//!
//!     cargo run --release --no-default-features --features sim --example own_policy
use scx_vnuma::cell::{CellView, Group, Move, Node, Plan};
use scx_vnuma::policy::{Memory, Policy, PolicyName};
use scx_vnuma::sim::engine::Prepared;
use scx_vnuma::sim::figures::Figures;
use scx_vnuma::sim::params::Params;
use scx_vnuma::sim::placement::Shard;
use scx_vnuma::sim::{sample, SimError};

/// In each round one task goes from the most to the least loaded machine: the one that evens them out best.
struct OneByOne;

impl Policy for OneByOne {
    fn name(&self) -> &'static str {
        "one by one"
    }

    fn decide(&self, cell: &CellView, _memory: &Memory) -> Plan {
        let by_load = |a: &&Node, b: &&Node| a.load_cpus.total_cmp(&b.load_cpus);
        let ends = cell.nodes.iter().min_by(by_load).zip(cell.nodes.iter().max_by(by_load));
        let Some((low, high)) = ends.filter(|(low, high)| low.id != high.id) else { return Plan::default() };
        let half_cpus = (high.load_cpus - low.load_cpus) / 2.0;
        let off = |group: &Group| (group.demand.usage_cpus - half_cpus).abs();
        let best = cell.groups_on(high.id).iter().min_by(|a, b| off(a).total_cmp(&off(b)));
        let best = best.filter(|group| off(group) < half_cpus);
        let moves = best.map(|group| Move { group: group.id, from: high.id, to: low.id });
        Plan { first: Some(low.id), moves: moves.into_iter().collect(), ..Plan::default() }
    }
}

fn main() -> Result<(), SimError> {
    let trace = sample::load(&|_| true)?;
    let params = Params { machines: sample::MACHINES, ..Params::default() };
    let prepared = Prepared::new(&trace, &params, Shard::WHOLE);
    let coarse = PolicyName::COARSE.make(&params.policy_settings());
    for policy in [&OneByOne as &dyn Policy, &*coarse] {
        let outcome = prepared.run_policy(&params, policy);
        let figures = Figures::new(&outcome.cells, &params, prepared.horizon().length_s());
        println!("{:10} uses {:.4}, Gini {:.4}", policy.name(), figures.cpu_utilisation, figures.gini);
    }
    Ok(())
}
