//! The order of a table's rows in time, within a part and from part to part.

use super::csv::{RowError, Table};
use super::OddityKind;

/// The times of a part's first and last rows, or of several consecutive parts'. Trace time, microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowTimes {
    first_us: Option<i64>,
    last_us: i64,
}

impl RowTimes {
    /// Add the next row. It is odd if its time is before that of the row above.
    pub(super) fn add(&mut self, time_us: i64, name: &str) -> Option<RowError> {
        self.first_us.get_or_insert(time_us);
        let before_us = std::mem::replace(&mut self.last_us, time_us);
        (time_us < before_us).then(|| RowError {
            kind: OddityKind::TimeBackwards,
            what: format!("field 1 ({name}) goes back from {before_us} to {time_us}"),
        })
    }

    /// Go on with the next part. It is odd if it begins before the part above ends, unless both begin at the same time:
    /// tables may also be divided by job, and then each part has the whole time.
    pub(super) fn go_on(&mut self, next: RowTimes, table: Table) -> Option<RowError> {
        let first_us = next.first_us?;
        let above = std::mem::replace(self, next);
        let is_odd = above.first_us.is_some_and(|above_us| above_us != first_us) && first_us < above.last_us;
        is_odd.then(|| RowError {
            kind: OddityKind::TimeBackwards,
            what: format!(
                "its first row's time {first_us} is before that of the last row above, {}, in the order of the parts of {}",
                above.last_us, table.name
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table { name: "task_events", min_fields: 13, max_fields: 13 };

    fn part(times_us: &[i64]) -> RowTimes {
        let mut times = RowTimes::default();
        times_us.iter().for_each(|&time_us| {
            times.add(time_us, "time");
        });
        times
    }

    /// Whether each part is odd after those before it.
    fn odd(parts: &[&[i64]]) -> Vec<bool> {
        let mut times = RowTimes::default();
        parts.iter().map(|times_us| times.go_on(part(times_us), TABLE).is_some()).collect()
    }

    #[test]
    fn a_part_that_begins_before_the_one_above_ends_is_odd() {
        assert_eq!(odd(&[&[0, 5], &[5, 9], &[9]]), [false, false, false]);
        assert_eq!(odd(&[&[6, 9], &[0, 5]]), [false, true]);
        assert_eq!(odd(&[&[0, 5], &[4, 9], &[9, 10]]), [false, true, false]);
    }

    #[test]
    fn a_part_without_rows_is_passed_over() {
        assert_eq!(odd(&[&[], &[6, 9], &[], &[0, 5]]), [false, false, false, true]);
    }

    #[test]
    fn parts_by_job_that_all_have_the_whole_time_are_in_order() {
        assert_eq!(odd(&[&[0, 9], &[0, 8], &[0, 9]]), [false, false, false]);
    }
}
