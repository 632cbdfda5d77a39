//! How much room a latency objective leaves migratable work: the outer loop around a policy's limits.
//!
//! It follows the top-level controller of Heracles (Lo et al., ISCA 2015, algorithm 1): by the slack of the latency that matters,
//! best-effort work loses room, keeps it, or gains some. Heracles stops best-effort work for minutes when the objective is missed;
//! here its room is halved instead, step by step, as the plan's limits hold it in the meantime. It reads no clock.

/// Time between two steps, in seconds: a latency is a mean or a quantile over some time, and shows a step that late.
const STEP_S: f64 = 5.0;
/// After a miss, room doesn't grow for this long, in seconds.
const HOLD_S: f64 = 30.0;
/// Below this slack room shrinks gently; Heracles takes cores away there.
pub const SLO_SHRINK_SLACK: f64 = 0.05;
/// From this slack on room grows; below it, it is held. Heracles disallows growth there.
const GROW_SLACK: f64 = 0.10;
/// What is left of the room at each step while the objective is missed.
const CUT: f64 = 0.5;
/// The same while it is nearly missed.
const SHRINK: f64 = 0.8;
/// Growth at each step.
const GROWTH: f64 = 0.05;
/// Room never falls below this: work that got nothing would hold locks and memory for ever.
const ROOM_MIN: f64 = 1.0 / 16.0;
/// The most room while the latency is not known.
const ROOM_BLIND: f64 = 0.25;

/// What became of the room at the last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SloState {
    /// No answer yet, and none is overdue.
    #[default]
    Waits,
    /// The objective is met, and work has all of its room.
    Met,
    /// It is met with slack: room grows.
    Grows,
    /// It is met, but not by enough or for long enough: room stays as it is.
    Holds,
    /// It is nearly missed: room shrinks.
    Shrinks,
    /// It is missed: room is cut.
    Missed,
    /// The latency is not known: room is little.
    Blind,
}

/// What is known of the latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SloReading {
    /// There has been no answer yet, but none is overdue.
    Pending,
    /// A recent answer, as a share of the objective: above 1 it is missed.
    Known(f64),
    /// An answer is missing or too old.
    Unknown,
}

/// The loop of one objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SloController {
    room_share: f64,
    state: SloState,
    since_step_s: f64,
    since_miss_s: f64,
}

impl Default for SloController {
    /// All room, and a step may be taken at once.
    fn default() -> Self {
        SloController { room_share: 1.0, state: SloState::Waits, since_step_s: STEP_S, since_miss_s: HOLD_S }
    }
}

impl SloController {
    /// Share of what work may otherwise take that it may take now, 1/16..=1.
    pub fn room_share(&self) -> f64 {
        self.room_share
    }

    /// What became of the room at the last step.
    pub fn state(&self) -> SloState {
        self.state
    }

    /// Take in what is known `passed_s` seconds after the last call.
    pub fn note(&mut self, reading: SloReading, passed_s: f64) {
        self.since_step_s += passed_s;
        self.since_miss_s += passed_s;
        let ratio = match reading {
            SloReading::Pending => return,
            SloReading::Unknown => {
                // At once: what isn't known can't be kept.
                self.room_share = self.room_share.min(ROOM_BLIND);
                (self.state, self.since_step_s, self.since_miss_s) = (SloState::Blind, 0.0, 0.0);
                return;
            }
            SloReading::Known(ratio) => ratio,
        };
        // A miss that has just begun doesn't wait for the next step.
        let has_begun = ratio > 1.0 && self.state != SloState::Missed;
        if self.since_step_s < STEP_S && !has_begun {
            return;
        }
        self.since_step_s = 0.0;
        let slack = 1.0 - ratio;
        let (room_share, state) = if slack < 0.0 {
            self.since_miss_s = 0.0;
            (self.room_share * CUT, SloState::Missed)
        } else if slack < SLO_SHRINK_SLACK {
            (self.room_share * SHRINK, SloState::Shrinks)
        } else if self.room_share >= 1.0 {
            (1.0, SloState::Met)
        } else if slack < GROW_SLACK || self.since_miss_s < HOLD_S {
            (self.room_share, SloState::Holds)
        } else {
            (self.room_share + GROWTH, SloState::Grows)
        };
        (self.room_share, self.state) = (room_share.clamp(ROOM_MIN, 1.0), state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The room and the state after `seconds` of rounds of half a second in which the latency is this share of the objective.
    fn after(controller: &mut SloController, ratio: f64, seconds: f64) -> (f64, SloState) {
        for _ in 0..(2.0 * seconds) as usize {
            controller.note(SloReading::Known(ratio), 0.5);
        }
        (controller.room_share(), controller.state())
    }

    #[test]
    fn a_miss_cuts_room_at_once_and_again_at_each_step_down_to_the_least() {
        let mut controller = SloController::default();
        assert_eq!(after(&mut controller, 0.5, 10.0), (1.0, SloState::Met));
        assert_eq!(after(&mut controller, 1.4, 0.5), (0.5, SloState::Missed));
        assert_eq!(after(&mut controller, 1.4, 4.5), (0.5, SloState::Missed));
        assert_eq!(after(&mut controller, 1.4, 0.5), (0.25, SloState::Missed));
        assert_eq!(after(&mut controller, 1.4, 60.0), (ROOM_MIN, SloState::Missed));
    }

    #[test]
    fn room_grows_only_with_slack_and_only_some_time_after_a_miss() {
        let mut controller = SloController::default();
        after(&mut controller, 1.4, 0.5);
        assert_eq!(after(&mut controller, 0.5, 29.0), (0.5, SloState::Holds));
        assert_eq!(after(&mut controller, 0.5, 5.0), (0.55, SloState::Grows));
        assert_eq!(after(&mut controller, 0.92, 60.0), (0.55, SloState::Holds));
        let (room_share, state) = after(&mut controller, 0.97, 5.0);
        assert!((room_share - 0.44).abs() < 1e-9 && state == SloState::Shrinks, "{room_share} {state:?}");
        assert_eq!(after(&mut controller, 0.5, 120.0), (1.0, SloState::Met));
    }

    #[test]
    fn what_is_not_known_takes_room_away_at_once_and_gives_none() {
        let mut controller = SloController::default();
        controller.note(SloReading::Pending, 0.5);
        assert_eq!((controller.room_share(), controller.state()), (1.0, SloState::Waits));
        controller.note(SloReading::Unknown, 0.5);
        assert_eq!((controller.room_share(), controller.state()), (ROOM_BLIND, SloState::Blind));
        // After a miss there is less already.
        let mut missed = SloController::default();
        after(&mut missed, 2.0, 12.0);
        missed.note(SloReading::Unknown, 0.5);
        assert_eq!(missed.room_share(), 0.125);
        assert_eq!(after(&mut controller, 0.5, 29.0), (ROOM_BLIND, SloState::Holds));
        assert_eq!(after(&mut controller, 0.5, 6.0).1, SloState::Grows);
    }

    #[test]
    fn around_a_latency_that_rises_with_the_work_the_loop_settles_below_the_objective() {
        // Met with up to 0.6 of the room; the latency shows the room of 3 s ago.
        let mut controller = SloController::default();
        let mut past = vec![1.0; 6];
        let mut missed_s = 0.0;
        let mut rooms = Vec::new();
        for round in 0..2400 {
            past.push(controller.room_share());
            let ratio = 0.4 + past[past.len() - 7];
            controller.note(SloReading::Known(ratio), 0.5);
            if round >= 240 {
                rooms.push(controller.room_share());
                missed_s += if ratio > 1.0 { 0.5 } else { 0.0 };
            }
        }
        let mean = rooms.iter().sum::<f64>() / rooms.len() as f64;
        assert!(missed_s == 0.0 && (0.45..0.6).contains(&mean), "missed for {missed_s} s, mean room {mean}");
    }
}
