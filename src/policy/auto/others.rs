//! What others take of a node: a mean and a deviation for what is steady, a CUSUM test for jumps, and after a jump a wait that
//! grows while coming back turns out to be too soon.

use super::memory::NodeMemory;
use super::options::{decay, AutoOptions};
use crate::cell::Sample;

/// Deviations of others' use that are kept free for them.
pub(super) const DEVIATIONS: f64 = 2.0;

/// An alarm means that others take this share at least, 0..=1: a window of which little came after the jump understates it.
const ALARM_SHARE: f64 = 0.25;

/// What a jump itself counts for in the mean that begins with it (0.5 s).
const JUMP_COUNTS_ROUNDS: f64 = 1.0;

/// Of a burst, the share that one in the last half minute must have had to be another of the same kind, and what the readings
/// before it count for then (2 s).
const KNOWN_FROM: f64 = 0.5;
const KNOWN_COUNTS_ROUNDS: f64 = 4.0;

/// A node of one CPU is calm from a reading of this part of others' mean on: what a hog leaves behind, such as the kernel threads of
/// its host, may take more than noise. Work may then hold more, and steal from it tells more than probes do.
const LEFT_BEHIND: f64 = 0.25;

/// One round's reading of a node. Shares are of its capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// What others took.
    pub(super) share: f64,
    /// What they would have taken had the guest left them all.
    pub(super) wanted_share: f64,
    /// What it adds to earlier ones; `None` if it is what others wanted, for all of the window. Then a jump's share persists like
    /// any other.
    pub(super) sample: Option<Sample>,
    pub(super) alarm: bool,
    pub(super) now: f64,
    pub(super) window_rounds: f64,
}

/// What others would take if we didn't. Where all of a CPU was busy they had to share with us as equals, so they may want as much
/// for each part of it that we got as they got: half each may be one hog of theirs.
pub(super) fn wanted_share(share: f64, busy_share: f64, options: &AutoOptions) -> f64 {
    if busy_share > 0.0 && share + busy_share >= options.saturated_share {
        share.max((share / busy_share).min(1.0))
    } else {
        share
    }
}

/// The weight that the last `rounds` have in a mean.
fn weight_of(options: &AutoOptions, rounds: f64) -> f64 {
    1.0 - decay(rounds, options.level_half_life_rounds)
}

impl NodeMemory {
    /// Take in a reading.
    pub(super) fn observe_others(&mut self, options: &AutoOptions, reading: &Reading) {
        let Reading { share, wanted_share, sample, alarm, now, window_rounds } = *reading;
        let is_sampled = sample.is_some();
        let sample = sample.unwrap_or(Sample { share: wanted_share, rounds: window_rounds });
        let is_first = self.known_at.is_none();
        self.known_at = Some(now);
        if is_first {
            self.mean_share = wanted_share;
            self.wait_rounds = options.wait_min_rounds;
        }
        let known_share = self.burst_share * decay(window_rounds, options.burst_half_life_rounds);
        self.burst_share = wanted_share.max(known_share);

        // Others who take less than that are given way to.
        let slack_share = match self.gives_way {
            true => options.jump_giving_way_share,
            false => options.jump_slack_share * (1.0 - share),
        };
        // What they took of the time that they left to work tells more there than what they took of the round.
        let taken_share = if self.gives_way { share.max(sample.share) } else { share };
        let wanted_share = if self.gives_way { wanted_share.max(sample.share) } else { wanted_share };
        let base_share = if is_first { 0.0 } else { self.mean_share };
        self.jump_rounds = (self.jump_rounds + (taken_share - base_share - slack_share) * sample.rounds).max(0.0);
        if alarm || self.jump_rounds >= options.jump_rounds {
            let least_share = if alarm { ALARM_SHARE } else { 0.0 };
            // A burst like one seen of late says little about the mean, but others may have come to stay.
            let is_known = is_sampled && !alarm && self.is_pressed && known_share >= KNOWN_FROM * wanted_share;
            if is_known {
                self.level_weight = self.level_weight.min(weight_of(options, KNOWN_COUNTS_ROUNDS));
                self.follow(options, sample);
                self.variance = 0.0;
            }
            let least_mean_share = if is_known { 0.0 } else { wanted_share.max(least_share) };
            self.hit(options, least_mean_share, now);
        } else {
            if self.calm_rounds == 0.0 {
                let left_share = if is_sampled { LEFT_BEHIND * self.mean_share } else { 0.0 };
                self.calm_below_share = options.calm_share.max(left_share);
            }
            if !is_sampled {
                self.level_weight = 1.0;
            }
            self.follow(options, sample);
            self.calm_rounds = if share <= self.calm_below_share { self.calm_rounds + window_rounds } else { 0.0 };
        }
        // Others that came without a jump, or to a node without work, leave as those do that came with one.
        if self.is_shared(options) && self.calm_rounds >= self.wait_rounds {
            self.is_pressed = false;
            self.opened_at = Some(now);
            (self.mean_share, self.variance) = (wanted_share, 0.0);
            (self.level_weight, self.calm_rounds) = (0.0, 0.0);
            self.forget_trials();
        }
        self.close_or_open(options, now);
    }

    /// The node closes to work if others take most of it. Where work gave way, that may be what they wanted beside it: alone they take
    /// less, and the node would open again, close again, and delay them each time. So it opens when others leave, or for a trial
    /// after a wait that grows.
    fn close_or_open(&mut self, options: &AutoOptions, now: f64) {
        let level_share = self.mean_share + DEVIATIONS * self.variance.sqrt();
        if self.is_closed {
            let waits = self.gives_way && self.contended_at.is_some_and(|at| now - at < self.trial_wait_rounds);
            self.is_closed = waits || level_share > options.open_share;
        } else if level_share >= options.closed_share {
            self.is_closed = true;
            if self.gives_way {
                let wait_rounds = 2.0 * self.trial_wait_rounds;
                self.trial_wait_rounds =
                    wait_rounds.clamp(options.trial_wait_min_rounds, options.trial_wait_max_rounds);
                self.contended_at = Some(now);
            }
        }
    }

    /// Others have left: what trials of the node showed where work gave way is out of date.
    fn forget_trials(&mut self) {
        if self.gives_way {
            (self.contended_at, self.trial_wait_rounds) = (None, 0.0);
        }
    }

    /// The kernel side saw others' use jump on a node whose sources have failed.
    pub(super) fn observe_alarm(&mut self, options: &AutoOptions, now: f64) {
        if self.known_at.replace(now).is_none() {
            self.wait_rounds = options.wait_min_rounds;
        }
        self.hit(options, ALARM_SHARE, now);
    }

    /// Work flees to the node although it has not been calm for long: it counts as calm from now on.
    pub(super) fn reopen_if_calm(&mut self, options: &AutoOptions, share: f64, now: f64) {
        if self.is_pressed && share <= options.calm_share {
            self.is_pressed = false;
            self.is_closed = false;
            self.opened_at = Some(now);
            (self.mean_share, self.variance, self.burst_share) = (share, 0.0, share);
            self.limit_cpus = None;
            self.forget_trials();
        }
    }

    /// Others' use jumped; their mean is `least_mean_share` at least from now on.
    fn hit(&mut self, options: &AutoOptions, least_mean_share: f64, now: f64) {
        /// A calm stretch is worth the wait if it is this many times as long.
        const PAID_BACK: f64 = 2.0;

        // How long work could stay says whether coming back was worth it. An empty node that comes and goes costs nobody anything.
        if let (false, Some(opened_at), Some(used_since)) = (self.is_pressed, self.opened_at, self.used_since) {
            let stretch_rounds = now - opened_at.max(used_since) + self.wait_rounds;
            let is_long = stretch_rounds >= options.stretch_min_rounds.max(PAID_BACK * self.wait_rounds);
            let factor = if is_long { 0.5 } else { 2.0 };
            self.wait_rounds = (self.wait_rounds * factor).clamp(options.wait_min_rounds, options.wait_max_rounds);
        }
        self.is_pressed = true;
        self.hit_at = Some(now);
        // Of a window that the jump ended early most was calm.
        self.calm_rounds = 0.0;
        self.jump_rounds = 0.0;
        if least_mean_share > self.mean_share {
            (self.mean_share, self.variance) = (least_mean_share, 0.0);
            self.level_weight = weight_of(options, JUMP_COUNTS_ROUNDS);
        }
    }

    /// Mean and variance follow the samples exponentially, the mean as a plain average while there are few readings.
    fn follow(&mut self, options: &AutoOptions, sample: Sample) {
        let new_weight = weight_of(options, sample.rounds);
        self.level_weight += (1.0 - self.level_weight) * new_weight;
        let weight = if new_weight > 0.0 { new_weight / self.level_weight } else { 0.0 };
        let difference = sample.share - self.mean_share;
        self.mean_share += weight * difference;
        // Only what was above the mean needs headroom: a host that becomes idle doesn't.
        let excess = difference.max(0.0);
        self.variance = (1.0 - new_weight) * (self.variance + new_weight * excess * excess);
    }
}
