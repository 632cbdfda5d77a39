//! The constants of [`Auto`](super::Auto). Times are in rounds: the policy has no clock.

/// The constants of [`Auto`](super::Auto). Shares are of a node's capacity, 0..=1, unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct AutoOptions {
    /// Half-life of the mean and the deviation of others' use (5 s).
    pub level_half_life_rounds: f64,
    /// Half-life of the largest use seen (30 s): recent use may come back.
    pub burst_half_life_rounds: f64,
    /// Use by others below this share is noise: timer ticks, kernel threads, a monitoring agent.
    pub calm_share: f64,
    /// Slack κ of the CUSUM test for a jump of others' use: smaller jumps are handled by the mean.
    pub jump_slack_share: f64,
    /// The CUSUM test fires at this much stolen time beyond the slack, CPU · rounds per CPU of the node (20 ms).
    pub jump_rounds: f64,
    /// After a jump a node counts as hit for this long (1 s): its work may leave at once.
    pub hit_rounds: f64,
    /// A hit node counts as calm again after it was calm for this long (0.5 s). The time is doubled each time that work was sent
    /// there and the calm had lasted less than twice this time, or less than `stretch_min_rounds`.
    pub wait_min_rounds: f64,
    /// Calm stretches shorter than this are left to others (4 s): work leaves within 50 ms of a hit, which is more than one in a
    /// hundred of others' requests if it comes back sooner.
    pub stretch_min_rounds: f64,
    /// Upper bound of the time that a hit node has to be calm (60 s).
    pub wait_max_rounds: f64,
    /// A node is no destination while others take this share of it, deviations included…
    pub closed_share: f64,
    /// …until they take no more than this.
    pub open_share: f64,
    /// CPU that one thread of the others takes while it runs, in the view's unit: sets how far their use strays from its mean
    /// within a round.
    pub others_grain_cpus: f64,
    /// Share of the CPU that others leave on average, which work may hold even if bursts need all of it. The limit is replenished
    /// every 10 ms, so at 0.2 a burst is delayed by 2 ms in every 10 ms.
    pub courtesy_share: f64,
    /// Least CPU of a limit, in the view's unit.
    pub limit_min_cpus: f64,
    /// Least CPU of a limit for each task on the node, so that every task gets a turn before the kernel's watchdog fires (30 s): a
    /// task's slice is 4 ms at HZ 250, and a tenth of the CPU time of 10 s gives each of 250 tasks a turn.
    pub limit_min_cpus_per_task: f64,
    /// A limit grows by at most this much per round.
    pub limit_growth_cpus_per_round: f64,
    /// Half-life with which a group's demand rises to its use (0.5 s).
    pub want_rise_half_life_rounds: f64,
    /// Half-life with which a group's demand falls to its use (10 s).
    pub want_fall_half_life_rounds: f64,
    /// A node whose work uses this share of the CPU that it could have is short of CPU, so that demand includes waiting time.
    pub saturated_share: f64,
    /// Groups younger than this don't move (1 s): most processes exit earlier.
    pub young_rounds: f64,
    /// A group is expected to live as long again as it has lived, at least this (2 s)…
    pub horizon_min_rounds: f64,
    /// …and at most this (300 s).
    pub horizon_max_rounds: f64,
    /// A group that was moved stays for this long (10 s), and a group that left a hit node doesn't go back for this long. A group
    /// may always leave a hit node.
    pub hold_rounds: f64,
    /// For this long (60 s), a move back to a group's previous node needs [`value_ratio_back`](Self::value_ratio_back).
    pub back_rounds: f64,
    /// λ: weight of a CPU second taken where others need it, relative to one that work gets.
    pub harm_weight: f64,
    /// Weight of a CPU second that one group gets and another loses, relative to one that is gained.
    pub fairness_weight: f64,
    /// For fairness a group moves only to a node where it gets this many times as much CPU.
    pub fairness_ratio: f64,
    /// Work moves to a node that others also use only if it gets this many times as much CPU there.
    pub shared_ratio: f64,
    /// θ: a move's value must be this many times its cost…
    pub value_ratio: f64,
    /// …this many times to go back…
    pub value_ratio_back: f64,
    /// …but only this many times out of a hit node.
    pub value_ratio_hit: f64,
    /// Stall for each page of 4096 bytes that moves with a group (10 µs: GiantVM over RDMA).
    pub page_cost_rounds: f64,
    /// Cost of a move without memory (1 ms).
    pub move_cost_rounds: f64,
    /// Share of a group's pages that its previous node still has immediately after a move…
    pub standby_share: f64,
    /// …with this half-life (60 s).
    pub standby_half_life_rounds: f64,
    /// A move is judged after this long (2 s).
    pub trial_rounds: f64,
    /// Bytes that moves may transfer per round: a tenth of a 10 Gbit/s link. Moves out of a hit node are exempt.
    pub bytes_per_round: f64,
    /// Unused bytes accumulate for this long (60 s).
    pub bytes_kept_rounds: f64,
    /// Nodes are chosen to supply this many times the demand.
    pub supply_margin: f64,
    /// With one node fewer, work may take this share of the supply…
    pub consolidate_share: f64,
    /// …for this long, before a node is given up (60 s).
    pub consolidate_rounds: f64,
    /// Value of running on fewer nodes, as a share of a group's CPU: fewer shared pages bounce.
    pub locality_share: f64,
    /// Feeding and balancing load a node to at most this share.
    pub feed_load_share: f64,
    /// Half-life of a node's mean load, by which feeding and balancing choose destinations (6 h).
    pub load_half_life_rounds: f64,
    /// Balancing moves a group when CPU² · rounds per byte exceed this.
    pub balance_price: f64,
    /// Least number of nodes whose readings are kept fresh.
    pub watch_min_nodes: usize,
}

/// Bytes of a page.
pub(super) const PAGE_BYTES: f64 = 4096.0;

impl AutoOptions {
    /// The defaults for rounds of this length, in seconds.
    pub fn with_interval(interval_s: f64) -> Self {
        let rounds = |seconds: f64| seconds / interval_s;
        AutoOptions {
            level_half_life_rounds: rounds(5.0),
            burst_half_life_rounds: rounds(30.0),
            calm_share: 0.05,
            jump_slack_share: 0.10,
            jump_rounds: rounds(0.020),
            hit_rounds: rounds(1.0),
            wait_min_rounds: rounds(0.5),
            stretch_min_rounds: rounds(4.0),
            wait_max_rounds: rounds(60.0),
            closed_share: 0.85,
            open_share: 0.80,
            others_grain_cpus: 1.0,
            courtesy_share: 0.2,
            limit_min_cpus: 0.05,
            limit_min_cpus_per_task: 0.0004,
            limit_growth_cpus_per_round: 1.0 / 3.0,
            want_rise_half_life_rounds: rounds(0.5),
            want_fall_half_life_rounds: rounds(10.0),
            saturated_share: 0.9,
            young_rounds: rounds(1.0),
            horizon_min_rounds: rounds(2.0),
            horizon_max_rounds: rounds(300.0),
            hold_rounds: rounds(10.0),
            back_rounds: rounds(60.0),
            harm_weight: 4.0,
            fairness_weight: 0.5,
            fairness_ratio: 1.25,
            shared_ratio: 2.0,
            value_ratio: 2.0,
            value_ratio_back: 4.0,
            value_ratio_hit: 1.0,
            page_cost_rounds: rounds(10e-6),
            move_cost_rounds: rounds(1e-3),
            standby_share: 0.5,
            standby_half_life_rounds: rounds(60.0),
            trial_rounds: rounds(2.0),
            bytes_per_round: 0.1 * 1.25e9 * interval_s,
            bytes_kept_rounds: rounds(60.0),
            supply_margin: 1.1,
            consolidate_share: 0.7,
            consolidate_rounds: rounds(60.0),
            locality_share: 0.05,
            feed_load_share: 0.9,
            load_half_life_rounds: rounds(6.0 * 3600.0),
            balance_price: 1e-8 / interval_s,
            watch_min_nodes: 8,
        }
    }
}

impl Default for AutoOptions {
    /// For the daemon's default interval, 500 ms.
    fn default() -> Self {
        AutoOptions::with_interval(0.5)
    }
}

/// The share of a decaying quantity that is left after `rounds`.
pub(super) fn decay(rounds: f64, half_life_rounds: f64) -> f64 {
    (-rounds / half_life_rounds).exp2()
}
