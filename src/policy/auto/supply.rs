//! Supply: how much CPU of a node migratable work may take, by what others took of it so far.
//!
//! Others' use is a mean and a deviation between rounds, and within a round it comes in bursts: on a host with one CPU that is
//! busy a fifth of the time there is no CPU at all to be had in that fifth. With n threads that run a share p of the time the
//! busy CPUs have deviation √(n·p·(1−p)), so the headroom kept is the square-root staffing rule's: two such deviations. A
//! quarter of the idle CPU, as a fixed rule, is too little on small hosts and too much on large ones.

use super::demand::NodeUse;
use super::memory::NodeMemory;
use super::options::{decay, AutoOptions};
use super::others::{wanted_share, Reading, DEVIATIONS};
use crate::cell::{Node, Sample};

/// A mean this much below a whole number of CPUs still leaves that many.
const WHOLE_WITHIN: f64 = 0.1;

/// Whatever others do needs all of a host's CPU.
fn has_one_cpu(options: &AutoOptions, node: &Node) -> bool {
    node.capacity_cpus < 2.0 * options.others_grain_cpus
}

/// Work may hold all of a node as long as others don't need it.
fn may_give_way(options: &AutoOptions, node: &Node) -> bool {
    node.can_give_way && has_one_cpu(options, node)
}

/// What a node can give.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Supply {
    /// CPU that others leave, their bursts included.
    pub(super) free_cpus: f64,
    /// The same, or the share that work may hold whatever others want.
    pub(super) cpus: f64,
}

impl NodeMemory {
    /// Take in what a round saw of the node, and of the work on it.
    pub(super) fn observe(&mut self, options: &AutoOptions, node: &Node, work: NodeUse, now: f64, window_rounds: f64) {
        self.wanted_cpus = work.wanted_cpus;
        let is_used = work.wanted_cpus > options.limit_min_cpus;
        self.used_since = if is_used { self.used_since.or(Some(now - window_rounds)) } else { None };
        self.observe_load(options, node, window_rounds);
        if let Some(share) = node.pressure.share().filter(|_| node.capacity_cpus > 0.0) {
            let fixed_cpus = (node.load_cpus - share * node.capacity_cpus - work.used_cpus).max(0.0);
            let left = if self.known_at.is_some() { decay(window_rounds, options.level_half_life_rounds) } else { 0.0 };
            self.fixed_cpus = self.fixed_cpus * left + fixed_cpus * (1.0 - left);
            let busy_share = (work.used_cpus + fixed_cpus) / node.capacity_cpus;
            // On a host of several CPUs others may have had CPUs of their own.
            let has_one_cpu = has_one_cpu(options, node);
            // Where work gave way, they had what they wanted.
            let shares_equally = has_one_cpu && !self.gives_way;
            let wanted_share = if shares_equally { wanted_share(share, busy_share, options) } else { share };
            let sample = match node.sample {
                // On a host of several CPUs, steal is no sample of what others take of the rest.
                Some(_) if !has_one_cpu => None,
                // Where others are known to be, their mean is what counts; elsewhere the worst.
                Some(Sample { rounds, .. }) if self.limit_cpus.is_none() => {
                    Some(Sample { share: wanted_share, rounds })
                }
                sample => sample,
            };
            let reading = Reading { share, wanted_share, sample, alarm: node.alarm, now, window_rounds };
            self.observe_others(options, &reading);
        } else if node.alarm && node.capacity_cpus > 0.0 {
            self.observe_alarm(options, now);
        }
        self.observe_contention(options, node, work.used_cpus, now);
        self.observe_missed(options, work, window_rounds);
        let supply = self.supply(options, node);
        self.supply_cpus = supply.cpus;
        self.limit_cpus = self.next_limit(options, node, supply, work.nr_tasks, window_rounds);
        self.gives_way = may_give_way(options, node);
    }

    fn observe_load(&mut self, options: &AutoOptions, node: &Node, window_rounds: f64) {
        let left = decay(window_rounds, options.load_half_life_rounds);
        self.load_sum = self.load_sum * left + node.load_cpus * window_rounds;
        self.load_weight = self.load_weight * left + window_rounds;
    }

    /// Let work try more than the headroom rule leaves it: that assumes that others' threads come and go on their own, and a steady
    /// one needs no headroom. What is stolen from work tells, and is remembered, as a trial delays others for up to a round. On
    /// a host of one CPU there is nothing to try: whatever others do needs all of it.
    fn observe_contention(&mut self, options: &AutoOptions, node: &Node, used_cpus: f64, now: f64) {
        self.is_on_trial = false;
        if has_one_cpu(options, node) {
            return;
        }
        if !self.is_shared(options) || self.is_closed {
            (self.granted_cpus, self.contended_at, self.trial_wait_rounds) = (0.0, None, 0.0);
            return;
        }
        self.trial_wait_rounds = self.trial_wait_rounds.max(options.trial_wait_min_rounds);
        // Without a measure of what a trial costs there is none.
        let is_measured = node.stolen_share.is_some() || used_cpus < options.limit_min_cpus;
        self.is_on_trial = is_measured && self.contended_at.is_none_or(|at| now - at >= self.trial_wait_rounds);
        if node.stolen_share.is_some_and(|share| share >= options.contended_share) {
            let ruled_cpus = self.ruled_cpus(options, node).0;
            self.granted_cpus = (used_cpus - options.limit_growth_cpus_per_round - ruled_cpus).max(0.0);
            if self.is_on_trial && self.contended_at.is_some() {
                self.trial_wait_rounds = (2.0 * self.trial_wait_rounds).min(options.trial_wait_max_rounds);
            }
            (self.contended_at, self.is_on_trial) = (Some(now), false);
        }
    }

    /// Compare what work got with what it may hold: a host may give less than others' use lets expect.
    fn observe_missed(&mut self, options: &AutoOptions, work: NodeUse, window_rounds: f64) {
        let may_hold_cpus = self.limit_cpus.map_or(self.supply_cpus, |limit| limit.min(self.supply_cpus));
        let is_short = self.limit_cpus.is_some() && work.wanted_cpus > may_hold_cpus && may_hold_cpus > 0.0;
        let left = decay(
            window_rounds,
            match is_short {
                true => options.missed_half_life_rounds,
                // Nobody tries it: forgotten with time.
                false => options.burst_half_life_rounds,
            },
        );
        let missed_share = if is_short { (1.0 - work.used_cpus / may_hold_cpus).clamp(0.0, 1.0) } else { 0.0 };
        self.missed_share = self.missed_share * left + missed_share * (1.0 - left);
        if !self.is_shared(options) {
            self.missed_share = 0.0;
        }
    }

    /// Return true if others take more than noise, or did so too recently.
    pub(super) fn is_shared(&self, options: &AutoOptions) -> bool {
        self.is_pressed || self.mean_share > options.calm_share
    }

    /// What the node can give by all that is known, and by the room that latency objectives leave.
    pub(super) fn supply(&self, options: &AutoOptions, node: &Node) -> Supply {
        let Supply { free_cpus, cpus } = self.supply_beside_others(options, node);
        Supply { free_cpus: node.room_share * free_cpus, cpus: node.room_share * cpus }
    }

    fn supply_beside_others(&self, options: &AutoOptions, node: &Node) -> Supply {
        let left_cpus = (node.capacity_cpus - self.fixed_cpus).max(0.0);
        if !self.is_shared(options) {
            return Supply { free_cpus: left_cpus, cpus: left_cpus };
        }
        if self.is_closed {
            return Supply::default();
        }
        let (ruled_cpus, idle_cpus) = self.ruled_cpus(options, node);
        if may_give_way(options, node) {
            return Supply { free_cpus: idle_cpus, cpus: idle_cpus };
        }
        let grain_cpus = options.others_grain_cpus;
        let tried_cpus =
            if self.is_on_trial { (idle_cpus / grain_cpus + WHOLE_WITHIN).floor() * grain_cpus } else { 0.0 };
        let free_cpus = (ruled_cpus + self.granted_cpus).max(tried_cpus).min(idle_cpus);
        Supply { free_cpus, cpus: free_cpus.max(self.courtesy_share(options) * idle_cpus) }
    }

    /// The share of what others leave on average that work may hold whatever they need: they are delayed while both want to run.
    fn courtesy_share(&self, options: &AutoOptions) -> f64 {
        (options.meeting_share / self.mean_share).min(options.courtesy_max_share).max(options.courtesy_share)
    }

    /// What the headroom rule leaves of a shared node, and what others leave on average.
    fn ruled_cpus(&self, options: &AutoOptions, node: &Node) -> (f64, f64) {
        let left_cpus = (node.capacity_cpus - self.fixed_cpus).max(0.0);
        let others_cpus = self.mean_share * node.capacity_cpus;
        // What is hardly more than noise may not cost a small node half of its CPU.
        let ramp = ((self.mean_share - options.calm_share) / options.calm_share).clamp(0.0, 1.0);
        let within_rounds = ramp * (options.others_grain_cpus * others_cpus * (1.0 - self.mean_share)).sqrt();
        let between_rounds = self.variance.sqrt() * node.capacity_cpus;
        let idle_cpus = (left_cpus - others_cpus).max(0.0);
        let burst_cpus = (self.burst_share - self.mean_share).max(0.0) * node.capacity_cpus;
        let headroom_cpus = (DEVIATIONS * within_rounds.max(between_rounds)).max(burst_cpus.min(idle_cpus / 4.0));
        ((idle_cpus - headroom_cpus).max(0.0), idle_cpus)
    }

    /// What work may hold from now on: less at once, more step by step, all of it when the node is calm.
    fn next_limit(
        &self,
        options: &AutoOptions,
        node: &Node,
        supply: Supply,
        nr_tasks: u32,
        window_rounds: f64,
    ) -> Option<f64> {
        let is_free = self.known_at.is_none() || !self.is_shared(options);
        if is_free && node.room_share >= 1.0 {
            return None;
        }
        if may_give_way(options, node) && !self.is_closed && node.room_share >= 1.0 {
            return Some(node.capacity_cpus);
        }
        let least_cpus = options.limit_min_cpus.max(options.limit_min_cpus_per_task * f64::from(nr_tasks));
        let before_cpus = self.limit_cpus.unwrap_or(node.capacity_cpus);
        let most_cpus = before_cpus + options.limit_growth_cpus_per_round * window_rounds;
        Some(supply.cpus.min(most_cpus).max(least_cpus).min(node.capacity_cpus))
    }

    /// What others are expected to take, when the last reading is old: what was there is forgotten with time, so that a node
    /// which was busy long ago is looked at again.
    pub(super) fn expected_share(&self, options: &AutoOptions, now: f64) -> f64 {
        let age_rounds = self.known_at.map_or(f64::INFINITY, |at| now - at);
        self.mean_share * decay(age_rounds, options.wait_max_rounds)
    }
}
