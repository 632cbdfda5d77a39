//! Tasks that finish in every one of several runs. Only over the same tasks are two mean durations of one thing: a policy that
//! lets more tasks finish averages over others, which are often longer.

/// The tasks that finished in every run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FinishedByAll {
    /// Number of these tasks.
    pub tasks: u64,
    /// For each run the sum of their times from submission to end, seconds.
    pub turnaround_s: Vec<f64>,
}

impl FinishedByAll {
    /// Those of a cell. `runs` has, for each run, rank and time of the tasks that finished, in any order.
    pub(super) fn of_cell(runs: &[&[(u32, f64)]]) -> FinishedByAll {
        let mut all = FinishedByAll { tasks: 0, turnaround_s: vec![0.0; runs.len()] };
        let by_run = |(run, tasks): (usize, &&[(u32, f64)])| {
            tasks.iter().map(move |&(rank, turnaround_s)| (rank, run, turnaround_s)).collect::<Vec<_>>()
        };
        let mut finished: Vec<(u32, usize, f64)> = runs.iter().enumerate().flat_map(by_run).collect();
        finished.sort_unstable_by_key(|&(rank, run, _)| (rank, run));
        for of_task in finished.chunk_by(|a, b| a.0 == b.0).filter(|of_task| of_task.len() == runs.len()) {
            all.tasks += 1;
            for &(_, run, turnaround_s) in of_task {
                all.turnaround_s[run] += turnaround_s;
            }
        }
        all
    }

    /// Those of several cells. The order of the cells decides how sums are rounded.
    pub(super) fn sum<'a>(cells: impl Iterator<Item = &'a FinishedByAll>, runs: usize) -> FinishedByAll {
        let empty = FinishedByAll { tasks: 0, turnaround_s: vec![0.0; runs] };
        cells.fold(empty, |mut sum, cell| {
            sum.tasks += cell.tasks;
            sum.turnaround_s.iter_mut().zip(&cell.turnaround_s).for_each(|(sum, value)| *sum += value);
            sum
        })
    }

    /// Mean time from submission to end of these tasks in a run, seconds; `None` if there are none.
    pub fn mean_s(&self, run: usize) -> Option<f64> {
        self.turnaround_s.get(run).filter(|_| self.tasks > 0).map(|sum| sum / self.tasks as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tasks_that_finished_in_every_run_count() {
        let all = FinishedByAll::of_cell(&[&[(3, 5.0), (1, 10.0)], &[(1, 30.0), (2, 1.0)]]);
        assert_eq!(all, FinishedByAll { tasks: 1, turnaround_s: vec![10.0, 30.0] });
        assert_eq!((all.mean_s(0), all.mean_s(1)), (Some(10.0), Some(30.0)));
        let none = FinishedByAll::of_cell(&[&[(3, 5.0)], &[]]);
        assert_eq!((none.tasks, none.mean_s(0)), (0, None));
    }
}
