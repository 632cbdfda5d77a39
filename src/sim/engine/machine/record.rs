//! What a machine tells its recorder.

use super::{Finished, Machine, INSTANT_S};
use crate::sim::engine::recording::{Grid, Interval, Started};

impl Finished {
    /// Record a task that finished, if the run is recorded.
    #[inline]
    pub(super) fn record(&mut self, rank: u32, start_s: f64, end_s: f64, work_done_s: f64) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Started { rank, start_s, end_s: Some(end_s), work_done_s });
        }
    }
}

impl Machine {
    /// Record that nothing changes until `to_s`.
    pub(super) fn record(&mut self, to_s: f64, capacity_cpus: f64) {
        let Some(mut recorder) = self.recorder.take() else { return };
        let mut from_s = self.now_s;
        // What changes at the instant at which an interval ends happened before it ended.
        while recorder.end_s() <= to_s - INSTANT_S {
            let end_s = recorder.end_s();
            recorder.add(end_s - from_s, self.load_cpus, capacity_cpus);
            recorder.end_interval(self.state(recorder.grid));
            from_s = end_s.max(from_s);
        }
        recorder.add(to_s - from_s, self.load_cpus, capacity_cpus);
        self.recorder = Some(recorder);
    }

    /// End the recorded interval that ends at `at_s`, which is now: a rebalance follows.
    pub(in crate::sim::engine) fn end_interval(&mut self, at_s: f64) {
        let Some(mut recorder) = self.recorder.take() else { return };
        if recorder.end_s() <= at_s {
            recorder.end_interval(self.state(recorder.grid));
        }
        self.recorder = Some(recorder);
    }

    /// The machine's intervals; none if it isn't recorded. `started` takes its tasks that have started but not finished.
    pub(in crate::sim::engine) fn close_recording(&mut self, started: &mut Vec<Started>) -> Vec<Interval> {
        let Some(recorder) = self.recorder.take() else { return Vec::new() };
        started.extend(self.running.iter().map(|&(rank, slot)| {
            let running = self.task(slot);
            let work_done_s = self.work() - running.origin;
            Started { rank, start_s: running.started_s, end_s: None, work_done_s }
        }));
        let state = self.state(recorder.grid);
        recorder.close(state)
    }

    /// What an interval that ends now says about the machine's tasks.
    fn state(&self, grid: Grid) -> Interval {
        let running = self.running.iter().map(|&(_, slot)| self.task(slot));
        let may_move = running.filter(|it| it.usage.cpu_max <= grid.max_cpu && it.priority < grid.priority_below);
        let (migratable, migratable_cpus) = may_move.fold((0, 0.0), |(count, cpus), it| (count + 1, cpus + it.cpus));
        Interval {
            load_cpus: self.load_cpus,
            reserved_cpus: self.reserved_cpus,
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32,
            migratable,
            migratable_cpus,
            ..Interval::default()
        }
    }
}
