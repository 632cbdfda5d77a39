//! The simulator's prediction from a turn's decision log, compared with the lab's measurement.

use std::fs::File;
use std::io::BufReader;

use anyhow::{Context, Result};
use scx_vnuma::decision_log::{LogReader, LoggedRound};
use scx_vnuma::policy::{Decider, PolicyName, PolicySettings};
use scx_vnuma::sim::what_if::{what_if, WhatIf};

use super::data::{Figure, Run, Turn};
use crate::experiments::colocation::record::Arm;

/// The prediction and the measurement of one turn.
pub struct Prediction {
    pub arm: Arm,
    pub round: u32,
    pub simulated_moves: u64,
    pub measured_moves: u64,
    /// %.
    pub simulated_utilisation: f64,
    pub measured_utilisation: f64,
    /// The part of the simulated utilisation that was not migratable work, as the daemon saw it, %.
    pub simulated_lc: f64,
    /// The hosts' utilisation in the same round without a guest, %.
    pub measured_lc: f64,
}

impl Prediction {
    /// The difference of the simulated utilisation from the measured one, % of the measured one.
    pub fn off_by(&self) -> f64 {
        100.0 * (self.simulated_utilisation / self.measured_utilisation - 1.0)
    }
}

/// The predictions for all turns of `coarse` and `fine`. The simulation of a log carries out a plan's moves but not its
/// limits and fallbacks, which are most of what `auto` does here.
pub fn predictions(run: &Run) -> Result<Vec<Prediction>> {
    let turns = [Arm::Coarse, Arm::Fine].into_iter().flat_map(|arm| run.turns(arm));
    turns.filter(|turn| turn.decisions.is_some()).map(|turn| predict(run, turn)).collect()
}

fn predict(run: &Run, turn: &Turn) -> Result<Prediction> {
    let path = turn.decisions.as_deref().context("BUG: a turn without decisions")?;
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let log = LogReader::new(BufReader::new(file)).with_context(|| path.display().to_string())?;
    let guard_options =
        log.header.guards.with_context(|| format!("{}: the log's header has no guards", path.display()))?;
    let log_policy = log.header.policy.clone();
    let rounds = log.collect::<Result<Vec<LoggedRound>, _>>().with_context(|| path.display().to_string())?;
    let interval_ms = turn.guest.interval_ms.context("BUG: a turn of a daemon without an interval")?;
    // The daemon starts before the load does, and the log ends with the load.
    let nr_under_load = (turn.hosts.lasted_s * 1e3 / interval_ms as f64).round() as usize;
    let under_load = rounds[rounds.len().saturating_sub(nr_under_load)..].to_vec();
    let settings = PolicySettings {
        trigger_cpus: Some(f64::MIN_POSITIVE),
        avoid_share: guard_options.enter_share,
        ..PolicySettings::default()
    };
    let name: PolicyName = log_policy.parse().with_context(|| path.display().to_string())?;
    let decider = Decider::new(name.make(&settings), Some(guard_options));
    let WhatIf { moves, utilisation, work_cpus, .. } = what_if(under_load, Some(decider));
    let alone = run.turns(Arm::LcOnly).iter().find(|alone| alone.hosts.round == turn.hosts.round);
    let alone = alone.context("BUG: a round without LC only")?;
    let nr_nodes = utilisation.len().max(1) as f64;
    let simulated_utilisation = 100.0 * utilisation.values().sum::<f64>() / nr_nodes;
    let work_share = work_cpus / (nr_nodes * run.setup.cpus_per_host as f64);
    Ok(Prediction {
        arm: turn.hosts.arm,
        round: turn.hosts.round,
        simulated_moves: moves,
        measured_moves: turn.guest.moves,
        simulated_utilisation,
        measured_utilisation: turn.figure(Figure::Utilisation),
        simulated_lc: simulated_utilisation - 100.0 * work_share,
        measured_lc: alone.figure(Figure::Utilisation),
    })
}
