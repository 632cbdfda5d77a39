//! Time between rounds.

use std::time::{Duration, Instant};

/// After this many consecutive late rounds the interval counts as too short.
const LATE_ROUNDS: u32 = 20;

/// Longest pause for the bound's sake. Time that others steal from a round counts as its CPU time, so that rounds on a hogged
/// node seem dear just when the next one should move work.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Paces rounds: a steady interval, but no more than a fifth of a CPU as long as that leaves a round every two seconds.
///
/// The bound applies to what a round usually takes. A single long round, one that moves work, must not delay the next
/// one, which sees the effect of the move.
pub struct Pace {
    interval: Duration,
    due: Instant,
    /// CPU time of a round, as a moving average over about eight rounds.
    usual_cpu: Duration,
    late_rounds: u32,
}

impl Pace {
    /// Start rounds every `interval`, the first one now.
    pub fn new(interval: Duration) -> Self {
        Pace { interval, due: Instant::now(), usual_cpu: Duration::ZERO, late_rounds: 0 }
    }

    /// When the round after one that took `round_cpu` is due. A guest that was paused doesn't catch up on missed
    /// rounds.
    pub fn next_due(&mut self, round_cpu: Duration) -> Instant {
        let pause = self.pause_after(round_cpu);
        let is_late = self.usual_cpu + pause > self.interval;
        self.late_rounds = if is_late { self.late_rounds.saturating_add(1) } else { 0 };
        if self.late_rounds == LATE_ROUNDS {
            log::warn!(
                "a round takes {} ms of CPU time, too much for one every {} ms; set a longer --interval",
                self.usual_cpu.as_millis(),
                self.interval.as_millis()
            );
        }
        self.due = (self.due + self.interval).max(Instant::now() + pause);
        self.due
    }

    /// The pause after a round that took `round_cpu` of CPU time.
    fn pause_after(&mut self, round_cpu: Duration) -> Duration {
        self.usual_cpu = (self.usual_cpu * 7 + round_cpu) / 8;
        (self.usual_cpu * 4).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_use_at_most_a_fifth_of_a_cpu_and_a_long_one_hardly_delays_the_next() {
        let (round_cpu, mut pace) = (Duration::from_millis(30), Pace::new(Duration::from_millis(10)));
        let pauses = [(); 100].map(|()| pace.pause_after(round_cpu));
        let share = round_cpu.as_secs_f64() / (round_cpu + pauses[99]).as_secs_f64();
        assert!((share - 0.2).abs() < 0.001, "{share}");
        assert!(pace.pause_after(6 * round_cpu) < 2 * pauses[99]);
    }

    #[test]
    fn however_dear_rounds_are_the_pause_is_two_seconds_at_most() {
        let mut pace = Pace::new(Duration::from_millis(500));
        assert_eq!([(); 20].map(|()| pace.pause_after(Duration::from_secs(3)))[19], Duration::from_secs(2));
    }

    #[test]
    fn cheap_rounds_keep_the_interval() {
        let mut pace = Pace::new(Duration::from_secs(1));
        let first = pace.next_due(Duration::from_millis(1));
        assert_eq!(pace.next_due(Duration::from_millis(1)) - first, Duration::from_secs(1));
    }
}
