//! Supply: the CPU of a node that migratable work may take, according to others' use of it so far.
//!
//! Others' use is a mean and a deviation between rounds, and within a round it comes in bursts: on a host with one CPU that is
//! busy a fifth of the time there is no CPU at all to be had in that fifth. With n threads that run a share p of the time the
//! busy CPUs have deviation √(n·p·(1−p)), so the headroom kept is the square-root staffing rule's: two such deviations. A
//! quarter of the idle CPU, as a fixed rule, is too little on small hosts and too much on large ones.

use super::demand::NodeUse;
use super::memory::NodeMemory;
use super::options::{decay, AutoOptions};
use crate::cell::Node;

/// Deviations of others' use that are kept free for them.
const DEVIATIONS: f64 = 2.0;

/// The CPU that a node can give.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Supply {
    /// CPU that others leave when they burst.
    pub(super) free_cpus: f64,
    /// The same, but at least the share that work may hold whatever others want.
    pub(super) cpus: f64,
}

impl NodeMemory {
    /// Updates the state with a round's observations of the node and of the work on it.
    pub(super) fn observe(&mut self, options: &AutoOptions, node: &Node, work: NodeUse, now: f64, window_rounds: f64) {
        self.wanted_cpus = work.wanted_cpus;
        self.observe_load(options, node, window_rounds);
        if let Some(share) = node.pressure.share().filter(|_| node.capacity_cpus > 0.0) {
            let fixed_cpus = (node.load_cpus - share * node.capacity_cpus - work.used_cpus).max(0.0);
            let left = if self.known_at.is_some() { decay(window_rounds, options.level_half_life_rounds) } else { 0.0 };
            self.fixed_cpus = self.fixed_cpus * left + fixed_cpus * (1.0 - left);
            let busy_share = (work.used_cpus + fixed_cpus) / node.capacity_cpus;
            self.observe_others(options, share, busy_share, node.alarm, now, window_rounds);
            self.known_at = Some(now);
        }
        let supply = self.supply(options, node);
        self.supply_cpus = supply.cpus;
        self.limit_cpus = self.next_limit(options, node, supply, work.nr_tasks, window_rounds);
    }

    fn observe_load(&mut self, options: &AutoOptions, node: &Node, window_rounds: f64) {
        let left = decay(window_rounds, options.load_half_life_rounds);
        self.load_sum = self.load_sum * left + node.load_cpus * window_rounds;
        self.load_weight = self.load_weight * left + window_rounds;
    }

    fn observe_others(
        &mut self,
        options: &AutoOptions,
        share: f64,
        busy_share: f64,
        alarm: bool,
        now: f64,
        window_rounds: f64,
    ) {
        let wanted_share = wanted_share(share, busy_share, options.saturated_share);
        let is_first = self.known_at.is_none();
        if is_first {
            self.mean_share = wanted_share;
            self.wait_rounds = options.wait_min_rounds;
        }
        self.burst_share = wanted_share.max(self.burst_share * decay(window_rounds, options.burst_half_life_rounds));

        let slack_share = options.jump_slack_share * (1.0 - share);
        let base_share = if is_first { 0.0 } else { self.mean_share };
        self.jump_rounds = (self.jump_rounds + (share - base_share - slack_share) * window_rounds).max(0.0);
        if alarm || self.jump_rounds >= options.jump_rounds {
            // A window that an alarm cut short, or of which only a small part is after the jump, understates the use.
            let least_share = if alarm { 2.5 * options.jump_slack_share } else { 0.0 };
            self.hit(options, wanted_share.max(least_share), now);
        } else {
            self.follow(options, wanted_share, window_rounds);
        }
        self.calm_rounds = if share <= options.calm_share { self.calm_rounds + window_rounds } else { 0.0 };
        if self.is_pressed && self.calm_rounds >= self.wait_rounds {
            self.is_pressed = false;
            self.opened_at = Some(now);
            (self.mean_share, self.variance) = (wanted_share, 0.0);
        }
        let level_share = self.mean_share + DEVIATIONS * self.variance.sqrt();
        self.is_closed = match self.is_closed {
            true => level_share > options.open_share,
            false => level_share >= options.closed_share,
        };
    }

    /// Others' use jumped to `share`.
    fn hit(&mut self, options: &AutoOptions, share: f64, now: f64) {
        /// A calm stretch is worth the wait if it is this many times as long as the wait.
        const PAID_BACK: f64 = 2.0;

        // If no work was on the node, its changes have cost nothing.
        if !self.is_pressed && self.wanted_cpus > options.limit_min_cpus {
            if let Some(opened_at) = self.opened_at {
                let stretch_rounds = now - opened_at + self.wait_rounds;
                let is_long = stretch_rounds >= options.stretch_min_rounds.max(PAID_BACK * self.wait_rounds);
                let factor = if is_long { 0.5 } else { 2.0 };
                self.wait_rounds = (self.wait_rounds * factor).clamp(options.wait_min_rounds, options.wait_max_rounds);
            }
        }
        self.is_pressed = true;
        self.hit_at = Some(now);
        self.jump_rounds = 0.0;
        if share > self.mean_share {
            (self.mean_share, self.variance) = (share, 0.0);
        }
    }

    /// Updates the exponential moving mean and variance with `share`.
    fn follow(&mut self, options: &AutoOptions, share: f64, window_rounds: f64) {
        let weight = 1.0 - decay(window_rounds, options.level_half_life_rounds);
        let difference = share - self.mean_share;
        self.mean_share += weight * difference;
        // Only deviations above the mean need headroom: a host that becomes idle doesn't.
        let excess = difference.max(0.0);
        self.variance = (1.0 - weight) * (self.variance + weight * excess * excess);
    }

    /// Returns true if others take more than noise, or did so too recently.
    pub(super) fn is_shared(&self, options: &AutoOptions) -> bool {
        self.is_pressed || self.mean_share > options.calm_share
    }

    /// The CPU that the node can give, by all observations so far.
    pub(super) fn supply(&self, options: &AutoOptions, node: &Node) -> Supply {
        let left_cpus = (node.capacity_cpus - self.fixed_cpus).max(0.0);
        if !self.is_shared(options) {
            return Supply { free_cpus: left_cpus, cpus: left_cpus };
        }
        if self.is_closed {
            return Supply::default();
        }
        let others_cpus = self.mean_share * node.capacity_cpus;
        // Use barely above noise must not cost a small node half of its CPU.
        let ramp = ((self.mean_share - options.calm_share) / options.calm_share).clamp(0.0, 1.0);
        let within_rounds = ramp * (options.others_grain_cpus * others_cpus * (1.0 - self.mean_share)).sqrt();
        let between_rounds = self.variance.sqrt() * node.capacity_cpus;
        let idle_cpus = (left_cpus - others_cpus).max(0.0);
        let burst_cpus = (self.burst_share - self.mean_share).max(0.0) * node.capacity_cpus;
        let headroom_cpus = (DEVIATIONS * within_rounds.max(between_rounds)).max(burst_cpus.min(idle_cpus / 4.0));
        let free_cpus = (idle_cpus - headroom_cpus).max(0.0);
        Supply { free_cpus, cpus: free_cpus.max(options.courtesy_share * idle_cpus) }
    }

    /// The limit of work from now on: it falls at once, rises step by step, and is lifted when the node is calm.
    fn next_limit(
        &self,
        options: &AutoOptions,
        node: &Node,
        supply: Supply,
        nr_tasks: u32,
        window_rounds: f64,
    ) -> Option<f64> {
        if self.known_at.is_none() || !self.is_shared(options) {
            return None;
        }
        let least_cpus = options.limit_min_cpus.max(options.limit_min_cpus_per_task * f64::from(nr_tasks));
        let before_cpus = self.limit_cpus.unwrap_or(node.capacity_cpus);
        let most_cpus = before_cpus + options.limit_growth_cpus_per_round * window_rounds;
        Some(supply.cpus.min(most_cpus).max(least_cpus).min(node.capacity_cpus))
    }

    /// The expected use by others when the last reading is old: it decays with time, so that a node that was busy long ago is
    /// watched again.
    pub(super) fn expected_share(&self, options: &AutoOptions, now: f64) -> f64 {
        let age_rounds = self.known_at.map_or(f64::INFINITY, |at| now - at);
        self.mean_share * decay(age_rounds, options.wait_max_rounds)
    }
}

/// The CPU that others would take if our work took none, as a share of the capacity. Where all of the CPU was busy they had to
/// share it with us as equals, so they may want our part as well: if each had half, the other half may be one hog that wants all.
fn wanted_share(share: f64, busy_share: f64, saturated_share: f64) -> f64 {
    if busy_share > 0.0 && share + busy_share >= saturated_share {
        share.max((share / busy_share).min(1.0))
    } else {
        share
    }
}
