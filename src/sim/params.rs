//! The parameters of a simulation, as stored in its result.

use super::error::SimError;
use super::models::{Models, Shapes};
use super::placement::{Cells, Placement};
use super::tasks::{seconds, Horizon};
use super::trace::Trace;
use crate::policy::{Order, Policy, PolicyName, PolicySettings};

/// Maximum number of machines: each takes memory, and no real cluster is larger.
const MAX_MACHINES: u32 = 10_000_000;
/// Maximum overcommitment ratio, and capacity in the trace's largest machines: far beyond any use, and up to here sums of
/// reservations are exact.
const MAX_RATIO: f64 = 1000.0;
/// Maximum memory of a machine, bytes: a month of moves in a large cluster must fit into 64 bits.
const MAX_MACHINE_MEMORY_BYTES: u64 = 16 << 40;
/// Maximum number of rebalances in a run: the data kept for each must fit into memory.
const MAX_ROUNDS: f64 = 1e7;
/// Maximum simulated time span, seconds: in a longer one an `f64` can't distinguish two instants.
const MAX_SPAN_S: f64 = 1e8;

/// Everything besides the trace that the figures of a run depend on.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Params {
    /// The policy that runs.
    pub policy: PolicyName,
    /// The order in which `fine` picks tasks; `None` for other policies.
    pub order: Option<Order>,
    /// Number of machines in the cluster.
    pub machines: u32,
    /// CPU of each machine, as a share of the trace's largest machine.
    pub capacity: f64,
    /// Number of machines in a cell; of the largest one, if the shapes have cells of their own.
    pub cell: u32,
    /// Time between rebalances, seconds.
    pub interval_s: f64,
    /// r: the share of a task's request that is reserved.
    pub overcommit: f64,
    /// Tasks below this priority are migratable.
    pub priority_below: u32,
    /// Tasks whose maximum CPU is above this are not migratable.
    pub max_cpu: f64,
    /// `coarse`: a machine's work stays if it makes up more than this share of its load.
    pub useful: f64,
    /// No destination is loaded beyond this share of its capacity.
    pub warning: f64,
    /// `fine`: what was picked for a destination moves only if it uses more CPU than this.
    pub min_gain: f64,
    /// `coarse` and `fine`: the number of a cell's machines to which work moves; as in the thesis, 1 and 2, if `None`.
    #[serde(default)]
    pub destinations: Option<u32>,
    /// `auto`: balancing moves a task if CPU² · seconds per byte exceed this.
    #[serde(default = "default_price")]
    pub price: f64,
    /// Memory of each machine, bytes; converts the trace's shares.
    pub machine_memory_bytes: u64,
    /// Seed of the placement.
    pub seed: u64,
    /// t0 in seconds of trace time; the trace's own start if `None`.
    pub start_s: Option<f64>,
    /// t1 in seconds of trace time; the trace's own end if `None`.
    pub end_s: Option<f64>,
    /// What is simulated besides the thesis's model; nothing by default.
    #[serde(default, skip_serializing_if = "Models::is_off")]
    pub models: Models,
}

/// On trace A the lowest price at which `auto` moves a tenth of `coarse`'s bytes.
fn default_price() -> f64 {
    1e-8
}

impl Default for Params {
    fn default() -> Self {
        Params {
            policy: PolicyName::FINE,
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
            destinations: None,
            price: default_price(),
            machine_memory_bytes: 128 << 30,
            seed: 1,
            start_s: None,
            end_s: None,
            models: Models::default(),
        }
    }
}

impl Params {
    /// The same parameters with another policy.
    pub fn with_policy(&self, policy: PolicyName, order: Option<Order>) -> Params {
        Params { policy, order, ..self.clone() }
    }

    /// The policy; `None` if nothing moves.
    pub fn policy(&self) -> Option<Box<dyn Policy>> {
        (self.policy != PolicyName::NONE).then(|| self.policy.make(&self.policy_settings()))
    }

    /// The settings of the policies that are part of the parameters.
    pub fn policy_settings(&self) -> PolicySettings {
        PolicySettings {
            useful_share: self.useful,
            warning_share: self.warning,
            min_gain_cpus: self.min_gain,
            order: self.order.unwrap_or_default(),
            destinations: self.destinations.map(|destinations| destinations as usize),
            round_s: self.interval_s,
            others_grain_cpus: self.max_cpu,
            balance_price: Some(self.price),
            ..PolicySettings::default()
        }
    }

    /// The policy's name in figures: "none", "coarse", "fine memory".
    pub fn policy_label(&self) -> String {
        match (self.policy.has_orders(), self.order.unwrap_or_default()) {
            // "fine none" would look like the policy `none`.
            (true, Order::Unsorted) => format!("{} unsorted", self.policy),
            (true, order) => format!("{} {order}", self.policy),
            (false, _) => self.policy.to_string(),
        }
    }

    /// The CPU of each machine from `first` on, endlessly if the machines are identical.
    pub fn capacities_from(&self, first: u32) -> Box<dyn Iterator<Item = f64> + '_> {
        match &self.models.shapes {
            Some(shapes) => Box::new(shapes.from(first).map(|shape| shape.cpu)),
            None => Box::new(std::iter::repeat(self.capacity)),
        }
    }

    /// The memory of each machine from `first` on, as a share of the largest machine's; `None` if it is no limit. Endlessly if the
    /// machines are identical.
    pub fn memories_from(&self, first: u32) -> Box<dyn Iterator<Item = Option<f64>> + '_> {
        match (self.models.memory, &self.models.shapes) {
            (Some(memory), Some(shapes)) => {
                Box::new(shapes.from(first).map(move |shape| Some(shape.memory.unwrap_or(memory.capacity))))
            }
            (memory, _) => Box::new(std::iter::repeat(memory.map(|memory| memory.capacity))),
        }
    }

    /// Bytes that a move takes along of a task with all of the largest machine's memory.
    pub fn moved_bytes(&self) -> f64 {
        self.machine_memory_bytes as f64 * self.models.working_set.unwrap_or(1.0)
    }

    /// The machines at which tasks arrive.
    pub fn placement(&self) -> Placement {
        let firsts = self.models.shapes.as_ref().and_then(Shapes::firsts);
        let cells = firsts.map_or(Cells::Of(self.cell), Cells::From);
        Placement { seed: self.seed, machines: self.machines, cells }
    }

    /// The simulated time span.
    pub fn horizon(&self, trace: &Trace) -> Horizon {
        let us = |s: f64| (s * 1e6).round() as i64;
        Horizon { start_us: self.start_s.map_or(trace.first_us, us), end_us: self.end_s.map_or(trace.last_us, us) }
    }

    /// Number of rebalances: at `interval`, `2 interval`, … after t0, before t1.
    pub fn rounds(&self, horizon: Horizon) -> usize {
        match self.policy == PolicyName::NONE {
            true => 0,
            false => self.intervals(horizon),
        }
    }

    /// Number of multiples of the interval after t0 and before t1.
    pub(super) fn intervals(&self, horizon: Horizon) -> usize {
        let length_s = horizon.length_s();
        let mut rounds = (length_s / self.interval_s) as usize;
        while rounds > 0 && rounds as f64 * self.interval_s >= length_s {
            rounds -= 1;
        }
        rounds
    }

    /// Check the parameters on their own.
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
        for (option, value) in [("--capacity", self.capacity), ("--overcommit", self.overcommit)] {
            if value > MAX_RATIO {
                return Err(SimError::Parameters(format!("{option} {value}: must be at most {MAX_RATIO}")));
            }
        }
        let counts =
            [("--machines", self.machines), ("--cell", self.cell), ("--destinations", self.destinations.unwrap_or(1))];
        for (option, value) in counts {
            if value == 0 {
                return Err(SimError::Parameters(format!("{option} 0: must be at least 1")));
            }
        }
        if self.machines > MAX_MACHINES {
            return Err(SimError::Parameters(format!("--machines {}: must be at most {MAX_MACHINES}", self.machines)));
        }
        if self.machine_memory_bytes == 0 && self.order == Some(Order::Memory) {
            let refused = "--machine-memory 0: `fine` in the order `memory` would take all tasks for equal; give the \
                           machines memory, or another --order";
            return Err(SimError::Parameters(refused.to_owned()));
        }
        if self.machine_memory_bytes > MAX_MACHINE_MEMORY_BYTES {
            return Err(SimError::Parameters("--machine-memory: must be at most 16TiB".to_owned()));
        }
        self.models.check(self.machines)
    }

    /// Why a span that isn't empty can't be simulated; `None` if it can be.
    pub fn refused_span(&self, horizon: Horizon) -> Option<String> {
        if horizon.length_s() > MAX_SPAN_S {
            return Some(format!("there are more than {MAX_SPAN_S:.0} s, the longest span that can be simulated,"));
        }
        let is_too_many = horizon.length_s() / self.interval_s > MAX_ROUNDS;
        is_too_many.then(|| format!("--interval {} s gives more than {MAX_ROUNDS:.0} rebalances", self.interval_s))
    }

    /// Check the parameters together with a trace.
    pub fn check_horizon(&self, trace: &Trace) -> Result<(), SimError> {
        if self.models.memory.is_some() && trace.lacks_memory_requests {
            let refused = "--memory: the trace has no memory requests, since an earlier release prepared it; create it again with \
                           `prepare`";
            return Err(SimError::Parameters(refused.to_owned()));
        }
        let horizon = self.horizon(trace);
        let refused = |what: &str| {
            Err(SimError::Parameters(format!(
                "{what} between {} s and {} s: the trace's usage windows span {} s to {} s; change --start or --end",
                seconds(horizon.start_us),
                seconds(horizon.end_us),
                seconds(trace.first_us),
                seconds(trace.last_us),
            )))
        };
        if horizon.end_us <= horizon.start_us {
            return refused("there is no time to simulate");
        }
        match self.refused_span(horizon) {
            Some(what) => refused(&what),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_by_memory_needs_machines_with_memory() {
        let with = |order, machine_memory_bytes| Params { order, machine_memory_bytes, ..Params::default() }.check();
        assert!(with(Some(Order::Memory), 0).unwrap_err().to_string().contains("--machine-memory 0"));
        assert!(with(Some(Order::Memory), 1).is_ok() && with(Some(Order::Cpu), 0).is_ok());
        assert!(Params { machine_memory_bytes: 0, ..Params::default() }
            .with_policy(PolicyName::COARSE, None)
            .check()
            .is_ok());
    }
}
