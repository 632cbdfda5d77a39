//! The parameters of a simulation, as they stand in a result.

use super::error::SimError;
use super::placement::Placement;
use super::tasks::{seconds, Horizon};
use super::trace::Trace;
use crate::policy::{Auto, AutoOptions, Coarse, Fine, Order, Policy};

/// Most machines of a cluster: each takes memory, and no cluster is larger.
const MAX_MACHINES: u32 = 10_000_000;
/// Largest overcommitment ratio: far past any use, and reservations stay numbers that add up.
const MAX_OVERCOMMIT: f64 = 1000.0;
/// Most memory of a machine: a month of moves of a large cluster must fit 64 bits of bytes.
const MAX_MACHINE_MEMORY_BYTES: u64 = 16 << 40;
/// Most rebalances of a run: what is kept of each must fit memory.
const MAX_ROUNDS: f64 = 1e7;
/// Longest span that is simulated, seconds: in a longer one a double no longer tells two instants apart.
const MAX_SPAN_S: f64 = 1e8;

/// Which scheduler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// Nothing moves.
    None,
    /// Algorithm 4-1.
    Coarse,
    /// Algorithms 4-2 and 4-3.
    Fine,
    /// Feed waiting tasks and balance, at a price.
    Auto,
}

/// Everything that a run's figures depend on besides the trace.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Params {
    /// Which scheduler runs.
    pub policy: PolicyKind,
    /// In which order `fine` picks tasks; the others have none.
    pub order: Option<Order>,
    /// Machines in the cluster.
    pub machines: u32,
    /// CPU of each machine.
    pub capacity: f64,
    /// Machines in a cell.
    pub cell: u32,
    /// Seconds between rebalances.
    pub interval_s: f64,
    /// r: how much of a request is reserved.
    pub overcommit: f64,
    /// Tasks below this priority may move.
    pub priority_below: u32,
    /// Tasks whose largest CPU is above this stay.
    pub max_cpu: f64,
    /// `coarse`: work above this share of its machine's load stays.
    pub useful: f64,
    /// No destination is loaded past this share of its capacity.
    pub warning: f64,
    /// `fine`: picks move when their CPU is above this.
    pub min_gain: f64,
    /// `auto`: evening loads out moves a task when CPU² · seconds for each byte exceed this.
    #[serde(default = "default_price")]
    pub price: f64,
    /// Memory of each machine: turns the trace's shares into bytes.
    pub machine_memory_bytes: u64,
    /// Seed of the placement.
    pub seed: u64,
    /// t0 in trace seconds; the trace's own when not set.
    pub start_s: Option<f64>,
    /// t1 in trace seconds; the trace's own when not set.
    pub end_s: Option<f64>,
}

/// On trace A the lowest price at which `auto` moves a tenth of `coarse`'s bytes.
fn default_price() -> f64 {
    1e-8
}

impl Default for Params {
    fn default() -> Self {
        Params {
            policy: PolicyKind::Fine,
            order: Some(Order::Memory),
            machines: 800,
            capacity: 0.5,
            cell: 4,
            interval_s: 60.0,
            overcommit: 1.0,
            priority_below: 2,
            max_cpu: 0.025,
            useful: 0.8,
            warning: 1.0,
            min_gain: 0.0,
            price: default_price(),
            machine_memory_bytes: 128 << 30,
            seed: 1,
            start_s: None,
            end_s: None,
        }
    }
}

impl Params {
    /// The same with another policy.
    pub fn with_policy(&self, policy: PolicyKind, order: Option<Order>) -> Params {
        Params { policy, order, ..self.clone() }
    }

    /// `auto`, when it is the scheduler: it remembers, so it is no [`Policy`].
    pub fn auto(&self) -> Option<Auto> {
        let options = AutoOptions {
            others_grain_cpus: self.max_cpu,
            balance_price: self.price / self.interval_s,
            ..AutoOptions::with_interval(self.interval_s)
        };
        (self.policy == PolicyKind::Auto).then_some(Auto { options })
    }

    /// The scheduler, ready to decide; none when nothing moves, and when it is `auto`.
    pub fn policy(&self) -> Option<Box<dyn Policy>> {
        match self.policy {
            PolicyKind::None | PolicyKind::Auto => None,
            PolicyKind::Coarse => Some(Box::new(Coarse::on_load(self.useful, self.warning))),
            PolicyKind::Fine => Some(Box::new(Fine {
                order: self.order.unwrap_or_default(),
                warning_share: self.warning,
                min_gain_cpus: self.min_gain,
                avoid_share: f64::INFINITY,
            })),
        }
    }

    /// "none", "coarse", "auto" or "fine …": what figures call the policy.
    pub fn policy_label(&self) -> String {
        match self.policy {
            PolicyKind::None => "none".to_owned(),
            PolicyKind::Coarse => "coarse".to_owned(),
            PolicyKind::Auto => "auto".to_owned(),
            PolicyKind::Fine => format!("fine {}", self.order.unwrap_or_default()),
        }
    }

    /// Where tasks arrive.
    pub fn placement(&self) -> Placement {
        Placement { seed: self.seed, machines: self.machines, cell_size: self.cell }
    }

    /// The span simulated.
    pub fn horizon(&self, trace: &Trace) -> Horizon {
        let us = |s: f64| (s * 1e6).round() as i64;
        Horizon { start_us: self.start_s.map_or(trace.first_us, us), end_us: self.end_s.map_or(trace.last_us, us) }
    }

    /// How many rebalances there are: at `interval`, `2 interval`, … after t0, before t1.
    pub fn rounds(&self, horizon: Horizon) -> usize {
        if self.policy == PolicyKind::None {
            return 0;
        }
        let length_s = horizon.length_s();
        let mut rounds = (length_s / self.interval_s) as usize;
        while rounds > 0 && rounds as f64 * self.interval_s >= length_s {
            rounds -= 1;
        }
        rounds
    }

    /// Say what can't be simulated.
    pub fn check(&self) -> Result<(), SimError> {
        let positive = [("--capacity", self.capacity), ("--interval", self.interval_s)];
        for (option, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(SimError::Parameters(format!("{option} {value}: must be above 0")));
            }
        }
        let amounts = [
            ("--overcommit", self.overcommit),
            ("--max-cpu", self.max_cpu),
            ("--useful", self.useful),
            ("--warning", self.warning),
            ("--min-gain", self.min_gain),
            ("--price", self.price),
        ];
        for (option, value) in amounts {
            if value.is_nan() || value < 0.0 {
                return Err(SimError::Parameters(format!("{option} {value}: must be at least 0")));
            }
        }
        if self.overcommit > MAX_OVERCOMMIT {
            let refused = format!("--overcommit {}: must be at most {MAX_OVERCOMMIT}", self.overcommit);
            return Err(SimError::Parameters(refused));
        }
        for (option, value) in [("--machines", self.machines), ("--cell", self.cell)] {
            if value == 0 {
                return Err(SimError::Parameters(format!("{option} 0: must be at least 1")));
            }
        }
        if self.machines > MAX_MACHINES {
            return Err(SimError::Parameters(format!("--machines {}: must be at most {MAX_MACHINES}", self.machines)));
        }
        if self.machine_memory_bytes > MAX_MACHINE_MEMORY_BYTES {
            return Err(SimError::Parameters("--machine-memory: must be at most 16TiB".to_owned()));
        }
        Ok(())
    }

    /// Say what can't be simulated with this trace.
    pub fn check_horizon(&self, trace: &Trace) -> Result<(), SimError> {
        let horizon = self.horizon(trace);
        let refused = |what: &str| {
            Err(SimError::Parameters(format!(
                "{what} between {} s and {} s: the trace's usage windows span {} s to {} s; see --start, --end",
                seconds(horizon.start_us),
                seconds(horizon.end_us),
                seconds(trace.first_us),
                seconds(trace.last_us),
            )))
        };
        if horizon.end_us <= horizon.start_us {
            return refused("there is no time to simulate");
        }
        if horizon.length_s() > MAX_SPAN_S {
            return refused(&format!("there are more than the {MAX_SPAN_S:.0} s that can be simulated"));
        }
        if horizon.length_s() / self.interval_s > MAX_ROUNDS {
            return refused(&format!("--interval {} s makes more than {MAX_ROUNDS:.0} rebalances", self.interval_s));
        }
        Ok(())
    }
}
