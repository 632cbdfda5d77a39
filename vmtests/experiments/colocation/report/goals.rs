//! The goals of the experiment, and whether they hold.

use super::data::{Figure, Run, Spread};
use crate::experiments::colocation::record::Arm;

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

/// The goals for both arms of scx_vnuma.
pub fn goals(run: &Run) -> Vec<Goal> {
    let of_arm = |arm| {
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
    };
    [Arm::Coarse, Arm::Fine].into_iter().flat_map(of_arm).collect()
}

#[cfg(test)]
mod tests {
    use super::super::data::tests::run;
    use super::*;

    #[test]
    fn a_goal_is_judged_by_its_median() {
        let goals = goals(&run());
        let holds: Vec<_> = goals.iter().map(Goal::holds).collect();
        // P99 cost 1/4 and 1/8; the same work, utilisation and Gini as under rebalance.sh.
        let expected = [Some(true), Some(false), Some(true), Some(true)];
        assert_eq!(holds, [expected, expected].concat());
    }
}
