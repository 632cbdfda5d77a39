//! What a few runs with different seeds tell: a mean, and how far from it the mean over all seeds may be.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Probability with which an interval has the mean over all seeds.
pub const CONFIDENCE: f64 = 0.95;

/// The mean of a quantity over seeds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// The mean over the seeds that were run.
    pub mean: f64,
    /// Half the width of the interval around it, by Student's t; `None` for a single seed.
    pub half_interval: Option<f64>,
}

impl Spread {
    /// The spread of these values; `None` without values.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let half_interval = t(values.len()).map(|t| t * (squares / (n - 1.0) / n).sqrt());
        (!values.is_empty()).then_some(Spread { mean, half_interval })
    }

    /// The spread of the differences `values - others`, seed by seed; `None` if these are not values of the same seeds.
    pub fn of_differences(values: &[f64], others: &[f64]) -> Option<Spread> {
        let differences: Vec<f64> = values.iter().zip(others).map(|(value, other)| value - other).collect();
        (values.len() == others.len()).then(|| Spread::of(&differences))?
    }

    /// Return true if a difference may be 0: its interval has 0, or it has none.
    pub fn may_be_zero(&self) -> bool {
        self.half_interval.is_none_or(|half| self.mean.abs() <= half)
    }
}

/// Student's t for the interval of a mean over `n` values; `None` below 2.
fn t(n: usize) -> Option<f64> {
    let freedom = n.checked_sub(1).filter(|&freedom| freedom > 0)?;
    let distribution = StudentsT::new(0.0, 1.0, freedom as f64).ok()?;
    Some(distribution.inverse_cdf((1.0 + CONFIDENCE) / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_published_table_of_t() {
        for (n, wanted) in [(2, 12.706), (3, 4.303), (10, 2.262), (31, 2.042)] {
            let found = t(n).unwrap();
            assert!((found - wanted).abs() < 5e-4, "{n}: {found}, not {wanted}");
        }
        assert_eq!((t(0), t(1)), (None, None));
        let spread = Spread::of(&[1.0, 2.0, 3.0]).unwrap();
        // The standard error is 1 / sqrt(3).
        assert!((spread.half_interval.unwrap() - 4.303 / 3f64.sqrt()).abs() < 1e-3 && spread.mean == 2.0);
    }

    #[test]
    fn pairs_show_a_difference_that_is_small_against_the_spread() {
        let (values, others) = ([1.01, 5.02, 9.01, 3.02], [1.0, 5.0, 9.0, 3.0]);
        let difference = Spread::of_differences(&values, &others).unwrap();
        assert!(!difference.may_be_zero() && difference.half_interval.unwrap() < 0.01, "{difference:?}");
        assert!(Spread::of_differences(&[1.0, -1.0, 2.0], &[0.0; 3]).unwrap().may_be_zero());
        assert_eq!(Spread::of_differences(&values, &others[1..]), None);
    }

    #[test]
    fn one_value_has_no_interval_and_shows_no_difference() {
        let one = Spread::of(&[4.0]).unwrap();
        assert_eq!((one.mean, one.half_interval, one.may_be_zero()), (4.0, None, true));
        assert_eq!(Spread::of(&[]), None);
    }
}
