//! Time between rounds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// After this many consecutive late rounds the interval counts as too short.
const LATE_ROUNDS: u32 = 20;

/// Part of an interval after which the round that a hit caused is followed by the next one: its window was short, and what others take
/// since the hit decides what their node may hold.
const LOOK_AGAIN_DIVISOR: u32 = 4;

/// Longest pause for the bound's sake. Time that others steal from a round counts as its CPU time, so that rounds on a hogged
/// node seem dear just when the next one should move work.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why a round begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is due, or the settings changed.
    Due,
    /// A node was hit.
    Hit,
}

/// Paces rounds: a steady interval, but no more than a fifth of a CPU as long as that leaves a round every two seconds.
///
/// The bound applies to what a round usually takes, the median. A single long round, one that moves work, must not delay the next
/// one, which sees the effect of the move; nor must those in which the vCPU stood still for a while, as on a busy host, which count
/// that as CPU time.
pub struct Pace {
    interval: Duration,
    due: Instant,
    /// CPU times of the last rounds, the newest last.
    round_cpus: VecDeque<Duration>,
    /// Their median.
    usual_cpu: Duration,
    late_rounds: u32,
}

/// So many rounds are looked at for what a round usually takes.
const USUAL_OF: usize = 9;

impl Pace {
    /// Start rounds every `interval`, the first one now.
    pub fn new(interval: Duration) -> Self {
        Pace {
            interval,
            due: Instant::now(),
            round_cpus: VecDeque::with_capacity(USUAL_OF),
            usual_cpu: Duration::ZERO,
            late_rounds: 0,
        }
    }

    /// When the round after one that began for this cause, and took `round_cpu`, is due. A guest that was paused doesn't catch up on
    /// missed rounds.
    pub fn next_due(&mut self, cause: Cause, round_cpu: Duration) -> Instant {
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
        let now = Instant::now();
        self.due = match cause {
            Cause::Due => (self.due + self.interval).min(now + self.interval).max(now + pause),
            // The bound is for what rounds take on average, and hits are rare.
            Cause::Hit => now + (self.interval / LOOK_AGAIN_DIVISOR).max(self.usual_cpu),
        };
        self.due
    }

    /// The pause after a round that took `round_cpu` of CPU time.
    fn pause_after(&mut self, round_cpu: Duration) -> Duration {
        if self.round_cpus.len() == USUAL_OF {
            self.round_cpus.pop_front();
        }
        self.round_cpus.push_back(round_cpu);
        let mut sorted = Vec::from_iter(self.round_cpus.iter().copied());
        sorted.sort_unstable();
        self.usual_cpu = sorted[sorted.len() / 2];
        (self.usual_cpu * 4).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_use_at_most_a_fifth_of_a_cpu_and_long_ones_do_not_delay_the_next() {
        let (round_cpu, mut pace) = (Duration::from_millis(30), Pace::new(Duration::from_millis(10)));
        let pauses = [(); 100].map(|()| pace.pause_after(round_cpu));
        let share = round_cpu.as_secs_f64() / (round_cpu + pauses[99]).as_secs_f64();
        assert!((share - 0.2).abs() < 0.001, "{share}");
        let stood_still = [(); 4].map(|()| pace.pause_after(6 * round_cpu));
        assert_eq!(stood_still, [pauses[99]; 4], "four rounds of nine are not what rounds usually take");
        assert_eq!(pace.pause_after(6 * round_cpu), (24 * round_cpu).min(PAUSE_MAX));
    }

    #[test]
    fn however_dear_rounds_are_the_pause_is_two_seconds_at_most() {
        let mut pace = Pace::new(Duration::from_millis(500));
        assert_eq!([(); 20].map(|()| pace.pause_after(Duration::from_secs(3)))[19], Duration::from_secs(2));
    }

    #[test]
    fn cheap_rounds_keep_the_interval() {
        let mut pace = Pace::new(Duration::from_secs(1));
        let first = pace.next_due(Cause::Due, Duration::from_millis(1));
        // As if the round had begun then.
        pace.due = first - Duration::from_secs(1);
        assert_eq!(pace.next_due(Cause::Due, Duration::from_millis(1)), first);
    }

    #[test]
    fn hits_bring_the_next_round_forward_however_many_they_are() {
        let (interval, round_cpu) = (Duration::from_secs(1), Duration::from_millis(1));
        let mut pace = Pace::new(interval);
        for _ in 0..3 {
            let due = pace.next_due(Cause::Hit, round_cpu);
            assert!(due <= Instant::now() + interval / 4, "the round is due {:?} from now", due - Instant::now());
        }
        assert!(pace.next_due(Cause::Due, round_cpu) <= Instant::now() + interval, "then they are regular again");
    }
}
