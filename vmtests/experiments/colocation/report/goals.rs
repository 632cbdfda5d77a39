//! The goals of the experiment, which depend on what the BE work wants, and whether they hold.

use super::data::{Figure, Run, Spread};
use crate::experiments::colocation::record::{Arm, Demand};

/// One goal for one arm, by the median over the rounds.
pub struct Goal {
    pub description: &'static str,
    pub arm: Arm,
    pub measured: Option<Spread>,
    pub bound: Bound,
}

#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub fn holds(&self) -> Option<bool> {
        let median = self.measured?.median;
        Some(match self.bound {
            Bound::AtMost(bound) => median <= bound,
            Bound::AtLeast(bound) => median >= bound,
        })
    }

    pub fn verdict(&self) -> &'static str {
        match self.holds() {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "undefined: the baseline is zero or missing",
        }
    }
}

/// The goals for the arms of scx_vnuma. Those of `coarse` and `fine` are for work that wants as much as one node has, as in the
/// thesis: what they use of other nodes is not their aim.
pub fn goals(run: &Run) -> Vec<Goal> {
    let thesis = || [Arm::Coarse, Arm::Fine].into_iter().flat_map(|arm| against_rebalance(run, arm));
    let harvesters = [Arm::AutoProbes, Arm::AutoHosts].into_iter();
    match run.setup.demand {
        Demand::Node => thesis().chain(harvesters.flat_map(|arm| harvesting_one_node(run, arm))).collect(),
        Demand::All => harvesters.flat_map(|arm| harvesting_all(run, arm)).collect(),
    }
}

fn against_rebalance(run: &Run, arm: Arm) -> [Goal; 4] {
    let ratio = |figure| run.ratio(arm, Arm::Rebalance, figure);
    [
        Goal {
            description: "added to the P99 of LC only / added by rebalance.sh",
            arm,
            measured: run.p99_cost_relative_to_rebalance(arm),
            bound: Bound::AtMost(0.25),
        },
        Goal {
            description: "BE work / BE work under rebalance.sh",
            arm,
            measured: ratio(Figure::SignsPerS),
            bound: Bound::AtLeast(1.2),
        },
        Goal {
            description: "CPU utilisation of the hosts / that under rebalance.sh",
            arm,
            measured: ratio(Figure::Utilisation),
            bound: Bound::AtLeast(1.0),
        },
        Goal {
            description: "Gini over the hosts / that under rebalance.sh",
            arm,
            measured: ratio(Figure::Gini),
            bound: Bound::AtMost(1.0),
        },
    ]
}

fn harvesting_one_node(run: &Run, arm: Arm) -> [Goal; 2] {
    [work_of_unbound(run, arm, 1.0), p99_of_lc_only(run, arm, 1.5)]
}

/// The unbound kernel also takes what busy hosts leave idle between two batches, and so delays the next one: less work will do.
fn harvesting_all(run: &Run, arm: Arm) -> [Goal; 3] {
    let work_of_coarse = Goal {
        description: "BE work / BE work under coarse",
        arm,
        measured: run.ratio(arm, Arm::Coarse, Figure::SignsPerS),
        bound: Bound::AtLeast(2.5),
    };
    [work_of_unbound(run, arm, 0.55), work_of_coarse, p99_of_lc_only(run, arm, 2.0)]
}

fn work_of_unbound(run: &Run, arm: Arm, at_least: f64) -> Goal {
    Goal {
        description: "BE work / BE work under the kernel, unbound",
        arm,
        measured: run.ratio(arm, Arm::Unbound, Figure::SignsPerS),
        bound: Bound::AtLeast(at_least),
    }
}

fn p99_of_lc_only(run: &Run, arm: Arm, at_most: f64) -> Goal {
    Goal {
        description: "P99 / P99 of LC only",
        arm,
        measured: run.ratio(arm, Arm::LcOnly, Figure::LatencyP99),
        bound: Bound::AtMost(at_most),
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::tests::run;
    use super::*;

    fn verdicts(run: &Run) -> Vec<Option<bool>> {
        goals(run).iter().map(Goal::holds).collect()
    }

    #[test]
    fn a_goal_is_judged_by_its_median() {
        // P99 cost 1/4 and 1/8; the same work, utilisation and Gini as under rebalance.sh.
        let thesis = [Some(true), Some(false), Some(true), Some(true)];
        // The work of the unbound kernel; P99 is 1.25 and 1.75 times that of LC only.
        let harvesters = [Some(true), Some(true), Some(true), Some(false)];
        assert_eq!(verdicts(&run()), [&thesis[..], &thesis, &harvesters].concat());
    }

    #[test]
    fn for_unbounded_demand_auto_has_goals_of_its_own() {
        let mut run = run();
        run.setup.demand = Demand::All;
        let one = [Some(true), Some(false), Some(true)];
        assert_eq!(verdicts(&run), [one, one].concat());
    }
}
