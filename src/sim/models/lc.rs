//! Latency-critical work: bursts that share a machine's CPUs with the vCPUs of the guest.
//!
//! The model is that of the co-location experiment (docs/experiment.md). On each machine the latency-critical tasks are one
//! server with a thread for each CPU. It gets a burst of work in each period, on average what the trace says that these tasks
//! use, at times that are normally distributed around the period's (a quarter of it as standard deviation). Bursts are served
//! one after another. All other tasks run in the guest, which has a vCPU for each CPU. While a burst is served, m of K vCPUs
//! have work, and the server gets the share K·W / (K·W + m) of the machine, by generalised processor sharing with weights W
//! and 1: a burst takes (1 + m / (K·W)) times as long. Without bursts, the vCPUs have what is left, so each is busy for the
//! share q = B / (C - L) of the time, 1 at most; m is binomially distributed, B(K, q), and drawn anew for each burst. Bursts of a
//! state are alike, or their work is lognormally distributed.
//!
//! Generalised processor sharing: Parekh and Gallager, IEEE/ACM Transactions on Networking 1(3), 1993. The wait for earlier
//! bursts is Lindley's recursion, Proc. Cambridge Phil. Soc. 48, 1952. Periods cancel out: slowdowns have no unit.

use crate::sim::error::SimError;
use crate::sim::random::Random;

/// Number of bursts that stand for a state. A state in which bursts outrun their service lasts for as many.
const BURSTS: usize = 512;
/// Standard deviation of the time between bursts, in periods: 5 of 20 ms in the experiment.
const JITTER: f64 = 0.25;
/// Steps of a latency-critical load of 1 that states tell apart.
const LOAD_STEPS: f64 = 32.0;
/// Steps of a busy vCPU that states tell apart: finer, since slowdowns are in proportion to it.
const BUSY_STEPS: f64 = 256.0;
/// States with more latency-critical load than this are not told apart.
const MOST_LOAD: f64 = 2.0;
/// Maximum number of CPUs of a machine.
const MAX_CPUS: u32 = 1024;
/// Maximum variation of the bursts' work: of 512 with more, hardly any has work.
const MAX_VARIATION: f64 = 10.0;
/// Bits of a float's mantissa that tell slowdowns apart: a bin is at most 1/64 wider than its lower end.
const MANTISSA_BITS: u32 = 6;
const DROPPED_BITS: u32 = f64::MANTISSA_DIGITS - 1 - MANTISSA_BITS;
/// The bin of 1.0.
const FIRST: u64 = 1.0f64.to_bits() >> DROPPED_BITS;
/// Number of bins: no burst is slowed down by 2^20, since it waits for fewer than [`BURSTS`] others.
pub(in crate::sim) const BINS: u32 = 20 << MANTISSA_BITS;

/// Settings of the latency-critical work.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LcModel {
    /// Tasks from this priority on are latency-critical; if `None`, those that are not migratable.
    pub from_priority: Option<u32>,
    /// K: number of CPUs of a machine, and so of the server's threads and the guest's vCPUs.
    pub cpus: u32,
    /// W: weight of a thread of the server, where that of a vCPU is 1.
    pub weight: f64,
    /// Coefficient of variation of the bursts' work, which is lognormally distributed; 0 if all bursts of a state are alike.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub variation: f64,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl LcModel {
    /// Check the settings. The error names the option.
    pub fn check(&self) -> Result<(), SimError> {
        if !(1..=MAX_CPUS).contains(&self.cpus) {
            return Err(SimError::Parameters(format!("--lc-cpus {}: must be 1 to {MAX_CPUS}", self.cpus)));
        }
        if !(0.0..=MAX_VARIATION).contains(&self.variation) {
            return Err(SimError::Parameters(format!("--lc-cv {}: must be 0 to {MAX_VARIATION}", self.variation)));
        }
        // Up to 1024, slowdowns are in a histogram's range; the kernel's weights are within these bounds too.
        match (1e-3..=1e3).contains(&self.weight) {
            true => Ok(()),
            false => Err(SimError::Parameters(format!("--lc-weight {}: must be 0.001 to 1000", self.weight))),
        }
    }
}

/// The load of a machine, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::sim) struct State {
    /// L / C in steps, rounded down.
    load: u16,
    /// q in steps, rounded to the nearest.
    busy: u16,
}

impl State {
    /// The number of states.
    pub(in crate::sim) const COUNT: usize = (MOST_LOAD * LOAD_STEPS) as usize * Self::BUSY + Self::BUSY;
    /// The number of states with the same load.
    const BUSY: usize = BUSY_STEPS as usize + 1;

    /// The state's number, below [`State::COUNT`].
    pub(in crate::sim) fn index(self) -> usize {
        usize::from(self.load) * Self::BUSY + usize::from(self.busy)
    }

    /// The state of a machine of this capacity, with this latency-critical load, and this load of other tasks.
    pub(in crate::sim) fn of(lc_cpus: f64, other_cpus: f64, capacity_cpus: f64) -> State {
        let free_cpus = capacity_cpus - lc_cpus;
        let busy = match free_cpus > 0.0 {
            true => (other_cpus / free_cpus).clamp(0.0, 1.0),
            false => f64::from(u8::from(other_cpus > 0.0)),
        };
        let load = (lc_cpus / capacity_cpus).min(MOST_LOAD);
        State { load: (load * LOAD_STEPS) as u16, busy: (busy * BUSY_STEPS).round() as u16 }
    }
}

/// The slowdowns of bursts in a state, all equally likely.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Bursts {
    pub(in crate::sim) mean: f64,
    /// Bins with their shares of the bursts.
    pub(in crate::sim) bins: Vec<(u32, f64)>,
}

/// The random numbers of the bursts. All states and policies share them, so that differences are not noise.
#[derive(Debug)]
pub(in crate::sim) struct Draws {
    model: LcModel,
    draws: Vec<Draw>,
}

/// What chance decides about a burst.
#[derive(Debug)]
struct Draw {
    /// Periods since the burst before.
    gap: f64,
    /// A number in [0, 1) that says how many vCPUs have work.
    share: f64,
    /// Its work, divided by the mean; 1 on average over all bursts.
    work: f64,
}

impl Draws {
    pub(in crate::sim) fn new(model: LcModel, seed: u64) -> Draws {
        Draws::of(model, seed, BURSTS)
    }

    fn of(model: LcModel, seed: u64, bursts: usize) -> Draws {
        let stream = |part| Random::of(seed, u64::from_be_bytes(*b"lcbursts"), part);
        let (mut random, mut of_work) = (stream(0), stream(1));
        // A lognormal distribution with mean 1.
        let variance = model.variation.powi(2).ln_1p();
        let mut draw = || Draw {
            gap: (1.0 + JITTER * random.normal()).max(0.0),
            share: random.share(),
            work: (variance.sqrt() * of_work.normal() - variance / 2.0).exp(),
        };
        let mut draws: Vec<Draw> = (0..bursts).map(|_| draw()).collect();
        if model.variation > 0.0 {
            // So few numbers have another mean, which would be another load.
            let mean = draws.iter().map(|draw| draw.work).sum::<f64>() / bursts as f64;
            draws.iter_mut().for_each(|draw| draw.work /= mean);
        }
        Draws { model, draws }
    }

    /// The response to each burst in a state, and what it would be without other tasks, in periods.
    fn responses(&self, state: State) -> impl Iterator<Item = (f64, f64)> + '_ {
        let work = (f64::from(state.load) + 0.5) / LOAD_STEPS;
        let below = binomial(self.model.cpus, f64::from(state.busy) / BUSY_STEPS);
        let step = 1.0 / (f64::from(self.model.cpus) * self.model.weight);
        let (mut wait, mut wait_alone) = (0.0f64, 0.0f64);
        self.draws.iter().map(move |draw| {
            let vcpus = below.partition_point(|&below| below <= draw.share);
            let work = work * draw.work;
            wait = (wait - draw.gap).max(0.0) + work * (1.0 + vcpus as f64 * step);
            wait_alone = (wait_alone - draw.gap).max(0.0) + work;
            (wait, wait_alone)
        })
    }

    /// The slowdowns of bursts in a state.
    pub(in crate::sim) fn bursts(&self, state: State) -> Bursts {
        let mut sum = 0.0;
        let mut bins = vec![0u32; 0];
        for (wait, wait_alone) in self.responses(state) {
            let slowdown = (wait / wait_alone).max(1.0);
            sum += slowdown;
            let bin = bin(slowdown);
            bins.resize(bins.len().max(bin as usize + 1), 0);
            bins[bin as usize] += 1;
        }
        let share = |count: u32| f64::from(count) / BURSTS as f64;
        let bins = bins.into_iter().zip(0..).filter(|&(count, _)| count > 0);
        Bursts { mean: sum / BURSTS as f64, bins: bins.map(|(count, bin)| (bin, share(count))).collect() }
    }
}

fn bin(slowdown: f64) -> u32 {
    ((slowdown.to_bits() >> DROPPED_BITS) - FIRST).min(u64::from(BINS) - 1) as u32
}

/// The lower end of a bin.
pub(in crate::sim) fn slowdown_of(bin: u32) -> f64 {
    f64::from_bits((FIRST + u64::from(bin)) << DROPPED_BITS)
}

/// Probabilities that at most 0, 1, … n - 1 of n are busy, each with probability q.
fn binomial(n: u32, q: f64) -> Vec<f64> {
    if q >= 1.0 {
        return vec![0.0; n as usize];
    }
    // In logarithms, since (1 - q)^n may be too small for a float.
    let odds = (q / (1.0 - q)).ln();
    let mut log_p = f64::from(n) * (1.0 - q).ln();
    let mut sum = 0.0;
    let mut below = Vec::with_capacity(n as usize);
    for busy in 0..n {
        sum += log_p.exp();
        below.push(sum);
        log_p += (f64::from(n - busy) / f64::from(busy + 1)).ln() + odds;
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_CPU: LcModel = LcModel { from_priority: None, cpus: 1, weight: 1.0, variation: 0.0 };

    fn bursts(model: LcModel, lc: f64, others: f64) -> Bursts {
        Draws::new(model, 1).bursts(State::of(lc, others, 1.0))
    }

    fn percentile(bursts: &Bursts, share: f64) -> f64 {
        let mut seen = 0.0;
        let it = bursts.bins.iter().find(|(_, of_bin)| {
            seen += of_bin;
            seen >= share
        });
        slowdown_of(it.unwrap().0)
    }

    #[test]
    fn states_have_numbers_of_their_own() {
        let states = [(0.0, 0.0), (0.0, 1.0), (0.5, 0.25), (1.0, 0.0), (1.0, 3.0), (9.0, 0.0), (9.0, 9.0)];
        let numbers: std::collections::BTreeSet<usize> =
            states.iter().map(|&(lc, others)| State::of(lc, others, 1.0).index()).collect();
        assert_eq!((numbers.len(), numbers.last()), (states.len(), Some(&(State::COUNT - 1))));
    }

    #[test]
    fn alone_nothing_is_slowed_down() {
        for lc in [0.01, 0.5, 1.5] {
            let alone = bursts(ONE_CPU, lc, 0.0);
            assert_eq!((alone.mean, alone.bins.as_slice()), (1.0, [(0, 1.0)].as_slice()));
        }
    }

    #[test]
    fn beside_a_busy_vcpu_of_equal_weight_a_burst_takes_twice_as_long() {
        let beside = bursts(ONE_CPU, 0.2, 0.8);
        assert_eq!((percentile(&beside, 0.5), percentile(&beside, 0.01)), (2.0, 2.0));
        // A server of three times the weight gets three quarters of the CPU.
        let heavier = bursts(LcModel { weight: 3.0, ..ONE_CPU }, 0.2, 0.8);
        assert!((percentile(&heavier, 0.5) / (4.0 / 3.0) - 1.0).abs() < 1.0 / 64.0);
    }

    #[test]
    fn the_mean_is_that_of_the_share_of_time_in_which_vcpus_are_busy() {
        for (cpus, busy) in [(1, 0.25), (8, 0.25), (8, 0.75)] {
            let beside = bursts(LcModel { cpus, ..ONE_CPU }, 0.1, busy * 0.9);
            // The standard error of 512 draws of 0 or 1 is 0.02.
            assert!((beside.mean - (1.0 + busy)).abs() < 0.06, "{cpus} CPUs, {busy}: {}", beside.mean);
        }
        // With more CPUs, less depends on chance.
        let p99 = |cpus| percentile(&bursts(LcModel { cpus, ..ONE_CPU }, 0.1, 0.225), 0.99);
        assert!(p99(1) == 2.0 && p99(8) < 1.8 && p99(64) < 1.45, "{} {} {}", p99(1), p99(8), p99(64));
    }

    #[test]
    fn bursts_that_outrun_their_service_wait_for_each_other() {
        let beside = bursts(ONE_CPU, 0.7, 0.3);
        assert!(percentile(&beside, 0.5) > 10.0, "{beside:?}");
    }

    #[test]
    fn the_binomial_distribution_is_right_where_its_terms_are_tiny() {
        let some = binomial(4, 0.5);
        for (found, wanted) in some.iter().zip([1.0, 5.0, 11.0, 15.0]) {
            assert!((found - wanted / 16.0).abs() < 1e-12);
        }
        let many = binomial(1024, 31.0 / 32.0);
        assert!((many[1023] - (1.0 - (31.0f64 / 32.0).powi(1024))).abs() < 1e-9);
        assert_eq!(binomial(3, 0.0), [1.0; 3]);
        assert_eq!(binomial(2, 1.0), [0.0; 2]);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for (model, said) in [
            (LcModel { cpus: 0, ..ONE_CPU }, "--lc-cpus 0"),
            (LcModel { weight: f64::NAN, ..ONE_CPU }, "--lc-weight"),
            (LcModel { variation: -1.0, ..ONE_CPU }, "--lc-cv -1"),
        ] {
            assert!(model.check().unwrap_err().to_string().contains(said));
        }
    }

    /// Mean slowdown over four hosts of one CPU, of which two are a fifth busy, one a fortieth and one idle, when the guest's
    /// work takes these shares of what each leaves.
    fn mean_in_the_experiment(busy: [f64; 4]) -> f64 {
        let draws = Draws::new(ONE_CPU, 1);
        let loads = [0.2, 0.2, 0.025, 0.0];
        let slowed = |(load, busy): (f64, f64)| load * draws.bursts(State::of(load, busy * (1.0 - load), 1.0)).mean;
        loads.into_iter().zip(busy).map(slowed).sum::<f64>() / loads.iter().sum::<f64>()
    }

    #[test]
    fn arms_of_the_colocation_experiment_are_in_the_order_of_the_work_beside_busy_hosts() {
        let unbound = mean_in_the_experiment([1.0; 4]);
        // Which host a bound guest is on changes with each phase.
        let bound =
            (0..4).map(|host| mean_in_the_experiment(std::array::from_fn(|at| f64::from(u8::from(at == host)))));
        let bound = bound.sum::<f64>() / 4.0;
        let held = mean_in_the_experiment([0.2, 0.2, 0.75, 1.0]);
        let on_the_idle_host = mean_in_the_experiment([0.0, 0.0, 0.0, 1.0]);
        assert!((unbound - 2.0).abs() < 0.01 && on_the_idle_host == 1.0, "{unbound} {on_the_idle_host}");
        assert!((bound - 1.25).abs() < 0.01 && (held - 1.23).abs() < 0.02, "{bound} {held}");
    }

    /// P99 of the responses on the experiment's hosts in periods, with and without the guest's work, which takes these shares of what
    /// each host leaves in each phase. Each host counts with its requests.
    fn p99_in_the_experiment(model: LcModel, phases: &[[f64; 4]]) -> (f64, f64) {
        let draws = Draws::of(model, 1, 20_000);
        let (mut with, mut alone) = (Vec::new(), Vec::new());
        for (busy, load) in phases.iter().flat_map(|busy| busy.iter().zip([0.2, 0.2, 0.025])) {
            let state = State::of(load, busy * (1.0 - load), 1.0);
            for ((response, response_alone), draw) in draws.responses(state).zip(&draws.draws) {
                with.push((response, load * draw.work));
                alone.push((response_alone, load * draw.work));
            }
        }
        let p99 = |mut responses: Vec<(f64, f64)>| {
            responses.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut left = 0.99 * responses.iter().map(|(_, requests)| requests).sum::<f64>();
            let at = responses.iter().position(|(_, requests)| {
                left -= requests;
                left <= 0.0
            });
            responses[at.unwrap()].0
        };
        (p99(with), p99(alone))
    }

    #[test]
    fn bursts_that_vary_tell_the_experiments_arms_apart_by_their_tails() {
        let bound = [0, 1, 2, 3].map(|host| std::array::from_fn(|at| f64::from(u8::from(at == host))));
        let arms = [[[1.0; 4]; 4], bound, [[0.2, 0.2, 0.75, 1.0]; 4]];
        let ratios = |variation, weight| {
            arms.map(|phases| {
                let (with, alone) = p99_in_the_experiment(LcModel { variation, weight, ..ONE_CPU }, &phases);
                with / alone
            })
        };
        // Equal bursts take twice as long beside work, in each arm.
        assert!(ratios(0.0, 1.0).iter().all(|ratio| (ratio - 2.0).abs() < 0.05));
        // Those of docs/simulation.md. There a burst beside work takes as much time as its share, and half of that more.
        for (weight, wanted) in [(1.0, [2.16f64, 1.49, 1.36]), (0.5, [3.68, 2.39, 1.96])] {
            let found: [f64; 3] = ratios(1.0, weight);
            assert!(found.iter().zip(wanted).all(|(&found, wanted)| (found - wanted).abs() < 0.02), "{found:?}");
        }
        // As long as those that were recorded: 16 to 56 ms.
        let alone_ms = 20.0 * p99_in_the_experiment(LcModel { variation: 1.0, ..ONE_CPU }, &[[0.0; 4]]).1;
        assert!((30.0..50.0).contains(&alone_ms), "{alone_ms}");
    }
}
