//! How many tasks were slowed down by how much: a histogram that can be added, so that shards merge exactly.

use std::collections::BTreeMap;

/// Bits of a float's mantissa that tell bins apart: a bin is at most 1/128 wider than its lower end.
const MANTISSA_BITS: u32 = 7;
/// Bits of a float below those.
const DROPPED_BITS: u32 = f64::MANTISSA_DIGITS - 1 - MANTISSA_BITS;
/// The bin of 1.0, the least slowdown.
const FIRST: u64 = 1.0f64.to_bits() >> DROPPED_BITS;
/// No task is slowed down by 2^60: that is longer than any span divided by a microsecond of work.
const BINS: u32 = 60 << MANTISSA_BITS;

/// Number of tasks by slowdown: the time from submission to end, divided by the task's work. A task that has not finished
/// counts with the least that it can have, as if nothing held it up after t1.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Slowdowns {
    /// Bins that have tasks, with their number. Bins are as in a floating-point number, 128 between two powers of 2.
    bins: BTreeMap<u32, u64>,
}

impl Slowdowns {
    /// Count a task. A slowdown that is below 1 by rounding counts as 1.
    pub(super) fn count(&mut self, slowdown: f64) {
        let bin = (slowdown.max(1.0).to_bits() >> DROPPED_BITS) - FIRST;
        *self.bins.entry(bin.min(u64::from(BINS) - 1) as u32).or_default() += 1;
    }

    /// Add the tasks of another part of the cluster.
    pub fn add(&mut self, other: &Slowdowns) {
        for (&bin, tasks) in &other.bins {
            *self.bins.entry(bin).or_default() += tasks;
        }
    }

    /// Number of tasks; `None` if there are more than fit into 64 bits, or in a bin that no task can be in.
    pub fn tasks(&self) -> Option<u64> {
        let known = self.bins.keys().all(|&bin| bin < BINS);
        known.then(|| self.bins.values().try_fold(0u64, |sum, &tasks| sum.checked_add(tasks)))?
    }

    /// The least slowdown that at least a share of the tasks do not exceed, rounded down by less than 1/128; `None` without
    /// tasks.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let tasks = self.tasks().filter(|&tasks| tasks > 0)?;
        let rank = ((tasks as f64 * share).ceil() as u64).clamp(1, tasks);
        let mut seen = 0;
        let bin = self.bins.iter().find(|(_, in_bin)| {
            seen += **in_bin;
            seen >= rank
        });
        bin.map(|(&bin, _)| f64::from_bits((FIRST + u64::from(bin)) << DROPPED_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(slowdowns: &[f64]) -> Slowdowns {
        let mut all = Slowdowns::default();
        slowdowns.iter().for_each(|&slowdown| all.count(slowdown));
        all
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values_less_one_part_in_128() {
        let values: Vec<f64> = (0..1000).map(|at| 1.0 + f64::from(at) * 0.37).collect();
        let all = of(&values);
        for (share, wanted) in [(0.5, values[499]), (0.9, values[899]), (0.99, values[989]), (1.0, values[999])] {
            let found = all.percentile(share).unwrap();
            assert!(found <= wanted && wanted < found * (1.0 + 1.0 / 128.0), "{share}: {found}, not {wanted}");
        }
    }

    #[test]
    fn a_task_that_nothing_held_up_has_a_slowdown_of_one() {
        assert_eq!(of(&[1.0 - 1e-12, 1.0, 1e30]).percentile(0.5), Some(1.0));
        assert_eq!(of(&[]).percentile(0.5), None);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let mut sum = of(&[1.0, 3.0]);
        sum.add(&of(&[3.0, 8.0]));
        assert_eq!(sum, of(&[1.0, 3.0, 3.0, 8.0]));
        assert_eq!(sum.tasks(), Some(4));
    }

    #[test]
    fn impossible_bins_and_counts_are_noticed() {
        let parsed = |text: &str| serde_json::from_str::<Slowdowns>(text).unwrap();
        assert_eq!(parsed(r#"{"0":2}"#).tasks(), Some(2));
        assert_eq!(parsed(r#"{"4000000000":2}"#).percentile(0.5), None);
        assert_eq!(parsed(&format!(r#"{{"0":{0},"1":{0}}}"#, u64::MAX)).tasks(), None);
    }
}
