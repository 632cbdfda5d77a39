//! Policies from best to worst, with a mark where two neighbours differ by less than the seeds tell apart.

use super::quantity::{Better, Quantity};
use super::sweep::Point;

/// A policy in a ranking.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Ranked {
    /// The policy's label.
    pub policy: String,
    /// True if seed by seed it differs from the policy before it by less than the interval: their order is noise.
    pub may_equal_previous: bool,
}

/// The policies by their means, best first. Empty if one has no value, or if there is one seed only.
pub fn ranking(points: &[&Point], quantity: &Quantity) -> Vec<Ranked> {
    let mean = |point: &&Point| point.spread(quantity).filter(|it| it.half_interval.is_some()).map(|it| it.mean);
    let Some(means) = points.iter().map(mean).collect::<Option<Vec<f64>>>() else { return Vec::new() };
    let mut ranked: Vec<(&Point, f64)> = points.iter().copied().zip(means).collect();
    ranked.sort_by(|(_, a), (_, b)| match quantity.better {
        Better::More => b.total_cmp(a),
        Better::Less => a.total_cmp(b),
    });
    let may_equal = |at: usize| {
        let before = at.checked_sub(1).map(|before| ranked[before].0);
        let difference = before.map(|before| ranked[at].0.difference(before, quantity));
        difference.is_some_and(|difference| difference.is_none_or(|it| it.may_be_zero()))
    };
    let with_mark = |at: usize| Ranked { policy: ranked[at].0.label(), may_equal_previous: may_equal(at) };
    (0..ranked.len()).map(with_mark).collect()
}

/// The ranking in one line, such as `auto > coarse ≈ fine memory > none`.
pub fn line(ranking: &[Ranked], better: Better) -> String {
    let sign = |ranked: &Ranked| match (ranked.may_equal_previous, better) {
        (true, _) => " ≈ ",
        (false, Better::More) => " > ",
        (false, Better::Less) => " < ",
    };
    let rest = ranking.iter().skip(1).map(|ranked| format!("{}{}", sign(ranked), ranked.policy));
    ranking.first().map(|first| first.policy.clone()).into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyName;
    use crate::sim::figures::Figures;
    use crate::sim::models::ModelFigures;
    use crate::sim::params::Params;
    use crate::sim::quantity::QUANTITIES;
    use crate::sim::repeat::Measured;

    fn point(policy: PolicyName, ginis: &[f64]) -> Point {
        let parameters = Params::default().with_policy(policy, None);
        let figures = |gini| Figures { gini, ..Figures::new(&[], &parameters, 1.0) };
        let run = |(&gini, seed)| Measured {
            seed,
            figures: figures(gini),
            finished_by_all: 0,
            duration_by_all_s: None,
            models: ModelFigures::default(),
        };
        Point { values: Vec::new(), runs: ginis.iter().zip(1..).map(run).collect(), parameters }
    }

    fn gini() -> &'static Quantity {
        QUANTITIES.iter().find(|quantity| quantity.name == "gini").unwrap()
    }

    #[test]
    fn neighbours_that_the_seeds_do_not_tell_apart_are_marked() {
        let none = point(PolicyName::NONE, &[0.3, 0.4, 0.5]);
        let coarse = point(PolicyName::COARSE, &[0.2, 0.3, 0.4]);
        let auto = point(PolicyName::AUTO, &[0.25, 0.26, 0.37]);
        let ranked = ranking(&[&none, &coarse, &auto], gini());
        assert_eq!(line(&ranked, Better::Less), "auto ≈ coarse < none");
    }

    #[test]
    fn one_seed_ranks_nothing() {
        let (none, coarse) = (point(PolicyName::NONE, &[0.3]), point(PolicyName::COARSE, &[0.2]));
        assert!(ranking(&[&none, &coarse], gini()).is_empty());
    }
}
