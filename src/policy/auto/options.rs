//! The constants of [`Auto`](super::Auto). Times are in rounds: the policy has no clock.

use crate::cell::CellView;

/// What [`Auto`](super::Auto) goes by. Shares are of a node's capacity, 0..=1, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct AutoOptions {
    /// Half-life of the mean and the deviation of others' use (5 s).
    pub level_half_life_rounds: f64,
    /// Half-life of the largest use seen (30 s): what was there of late may come back.
    pub burst_half_life_rounds: f64,
    /// Others that take less than this are noise: timer ticks, kernel threads, a monitoring agent.
    pub calm_share: f64,
    /// Slack κ of the CUSUM test for a jump of others' use: jumps of less are left to the mean.
    pub jump_slack_share: f64,
    /// The same where work gives way: others who take no more than that of a CPU have it when they want it.
    pub jump_giving_way_share: f64,
    /// The CUSUM test fires at this much stolen time beyond the slack, CPU · rounds per CPU of the node (20 ms).
    pub jump_rounds: f64,
    /// After a jump a node counts as hit for this long (1 s): its work may leave at once.
    pub hit_rounds: f64,
    /// Work that stays on a hit node makes the policy ask for fresher readings of other nodes for this long (5 s).
    pub stuck_rounds: f64,
    /// A hit node is calm again after it was calm for this long (0.5 s). Doubled each time that work was sent there and the calm
    /// had lasted less than twice that, or than `stretch_min_rounds`.
    pub wait_min_rounds: f64,
    /// Calm stretches shorter than this are left to others (4 s): work leaves within 50 ms of a hit, which is more than one in a
    /// hundred of others' requests if it comes back sooner.
    pub stretch_min_rounds: f64,
    /// Most of that (60 s).
    pub wait_max_rounds: f64,
    /// A node of which others take this share, with deviations, is no destination…
    pub closed_share: f64,
    /// …until they take no more than this.
    pub open_share: f64,
    /// CPU that one thread of the others takes while it runs, in the view's unit: sets how far their use strays from its mean
    /// within a round.
    pub others_grain_cpus: f64,
    /// Of what others leave of a node on average, work may hold this share even if bursts need all of it. The limit is
    /// replenished every 10 ms, so at .2 a burst is delayed by 2 ms in each 10.
    pub courtesy_share: f64,
    /// Where others are rarely there, it may hold more: as much as keeps this product of its share and theirs, by which it
    /// meets them…
    pub meeting_share: f64,
    /// …but at most this share of what they leave on average.
    pub courtesy_max_share: f64,
    /// With a half-life of this (2 s) work's use tells that a node gives less than it should.
    pub missed_half_life_rounds: f64,
    /// Least CPU of a limit, in the view's unit.
    pub limit_min_cpus: f64,
    /// Least CPU of a limit for each task on the node, so that a turn comes before the kernel's watchdog looks (30 s): a
    /// task's slice is 4 ms at HZ 250, and a tenth of the CPU time of 10 s gives each of 250 a turn.
    pub limit_min_cpus_per_task: f64,
    /// A limit grows by at most so much each round.
    pub limit_growth_cpus_per_round: f64,
    /// On a host of several CPUs work may try all whole CPUs that others leave on average, until this share of its time is
    /// stolen…
    pub contended_share: f64,
    /// …and again after this long (60 s). Doubled each time.
    pub trial_wait_min_rounds: f64,
    /// Most of that (1 h).
    pub trial_wait_max_rounds: f64,
    /// Half-life with which what a group wants follows its use up (0.5 s).
    pub want_rise_half_life_rounds: f64,
    /// Half-life with which it follows its use down (10 s).
    pub want_fall_half_life_rounds: f64,
    /// From this share on, of what work could use of a node, its waiting time counts as demand: tasks that come and go get in
    /// each other's way long before the CPU is full, and what they miss they may never make up for.
    pub busy_share: f64,
    /// A node on which work gets less than this share of what it wants is short of CPU.
    pub saturated_share: f64,
    /// Groups younger than this don't move (1 s): most processes end before.
    pub young_rounds: f64,
    /// A group is expected to live as long again as it has lived, at least this (2 s)…
    pub horizon_min_rounds: f64,
    /// …and at most this (300 s).
    pub horizon_max_rounds: f64,
    /// A group that was moved stays this long (10 s), and one that fled from a hit node doesn't go back for so long. Out of a
    /// hit node a group may always go.
    pub hold_rounds: f64,
    /// Going back to where a group came from takes [`value_ratio_back`](Self::value_ratio_back) for this long (60 s).
    pub back_rounds: f64,
    /// λ: what a CPU second taken where others need it counts, against one that work gets.
    pub harm_weight: f64,
    /// What a CPU second counts that one group gets and another loses, against one that is gained.
    pub fairness_weight: f64,
    /// Fairness moves a group only where it gets this many times as much.
    pub fairness_ratio: f64,
    /// Work goes to a node that others use too only where it gets this many times as much.
    pub shared_ratio: f64,
    /// θ: a move's value must be this many times its cost…
    pub value_ratio: f64,
    /// …this many times to go back…
    pub value_ratio_back: f64,
    /// …but only this many times out of a hit node.
    pub value_ratio_hit: f64,
    /// Stall for each page of 4096 bytes that follows a group, unless the view tells (10 µs: GiantVM over RDMA).
    pub page_cost_rounds: f64,
    /// Cost of a move without memory (1 ms).
    pub move_cost_rounds: f64,
    /// Share of a group's pages that the node it left still has at once…
    pub standby_share: f64,
    /// …with this half-life (60 s).
    pub standby_half_life_rounds: f64,
    /// A move is judged after this long (2 s).
    pub trial_rounds: f64,
    /// Bytes that moves may take each round: a tenth of a 10 Gbit/s link. Moves out of a hit node are free of it.
    pub bytes_per_round: f64,
    /// Unused bytes are kept for this long (60 s).
    pub bytes_kept_rounds: f64,
    /// Nodes are chosen to supply this many times what is wanted.
    pub supply_margin: f64,
    /// With one node fewer, work may take this share of the supply…
    pub consolidate_share: f64,
    /// …for this long, before a node is given up (60 s).
    pub consolidate_rounds: f64,
    /// What running on fewer nodes is worth, as a share of a group's CPU: fewer shared pages bounce.
    pub locality_share: f64,
    /// Groups move as one if a split would cost this share of the CPU that the smaller one of them wants…
    pub link_share: f64,
    /// …and until it would cost less than this.
    pub link_fade_share: f64,
    /// Clusters are looked for this often (10 s).
    pub cluster_rounds: f64,
    /// What a cluster's groups wanted while they were apart is remembered for this long (300 s).
    pub apart_rounds: f64,
    /// Feeding and balancing load a node to at most this share.
    pub feed_load_share: f64,
    /// Half-life of a node's mean load, by which feeding and balancing choose destinations (6 h).
    pub load_half_life_rounds: f64,
    /// Balancing moves a group when CPU² · rounds per byte exceed this.
    pub balance_price: f64,
    /// Nodes to keep fresh readings of, at least.
    pub watch_min_nodes: usize,
}

/// Stall for each page of 4096 bytes that travels, in seconds: GiantVM over RDMA.
pub const PAGE_COST_S: f64 = 10e-6;

/// Bytes of a page.
pub(super) const PAGE_BYTES: f64 = 4096.0;

impl AutoOptions {
    /// The defaults for rounds of so many seconds.
    pub fn with_interval(interval_s: f64) -> Self {
        let rounds = |seconds: f64| seconds / interval_s;
        AutoOptions {
            level_half_life_rounds: rounds(5.0),
            burst_half_life_rounds: rounds(30.0),
            calm_share: 0.05,
            jump_slack_share: 0.10,
            jump_giving_way_share: 0.5,
            jump_rounds: rounds(0.020),
            hit_rounds: rounds(1.0),
            stuck_rounds: rounds(5.0),
            wait_min_rounds: rounds(0.5),
            stretch_min_rounds: rounds(4.0),
            wait_max_rounds: rounds(60.0),
            closed_share: 0.85,
            open_share: 0.80,
            others_grain_cpus: 1.0,
            courtesy_share: 0.2,
            meeting_share: 0.04,
            courtesy_max_share: 0.75,
            missed_half_life_rounds: rounds(2.0),
            limit_min_cpus: 0.05,
            limit_min_cpus_per_task: 0.0004,
            limit_growth_cpus_per_round: 1.0 / 3.0,
            contended_share: 0.05,
            trial_wait_min_rounds: rounds(60.0),
            trial_wait_max_rounds: rounds(3600.0),
            want_rise_half_life_rounds: rounds(0.5),
            want_fall_half_life_rounds: rounds(10.0),
            busy_share: 0.65,
            saturated_share: 0.9,
            young_rounds: rounds(1.0),
            horizon_min_rounds: rounds(2.0),
            horizon_max_rounds: rounds(300.0),
            hold_rounds: rounds(10.0),
            back_rounds: rounds(60.0),
            harm_weight: 4.0,
            fairness_weight: 0.5,
            fairness_ratio: 1.25,
            shared_ratio: 1.5,
            value_ratio: 2.0,
            value_ratio_back: 4.0,
            value_ratio_hit: 1.0,
            page_cost_rounds: rounds(PAGE_COST_S),
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
            link_share: 0.05,
            link_fade_share: 0.025,
            cluster_rounds: rounds(10.0),
            apart_rounds: rounds(300.0),
            feed_load_share: 0.9,
            load_half_life_rounds: rounds(6.0 * 3600.0),
            balance_price: 1e-8 / interval_s,
            watch_min_nodes: 8,
        }
    }
}

impl AutoOptions {
    /// The same, with the cost of a page that a view's hosts have measured.
    pub(super) fn priced(&self, view: &CellView) -> Self {
        AutoOptions { page_cost_rounds: view.page_cost_rounds.unwrap_or(self.page_cost_rounds), ..*self }
    }
}

impl Default for AutoOptions {
    /// For the daemon's default interval, 500 ms.
    fn default() -> Self {
        AutoOptions::with_interval(0.5)
    }
}

/// How much of something is left after `rounds`.
pub(super) fn decay(rounds: f64, half_life_rounds: f64) -> f64 {
    (-rounds / half_life_rounds).exp2()
}
