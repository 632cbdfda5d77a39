//! `vnuma-sim replay`

use std::io::{BufReader, Read, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::table::aligned;
use crate::cell::{Moved, NodeId, Plan};
use crate::decision_log::{Header, LogReader};
use crate::policy::{Decider, GuardOptions, Order, PolicyName, PolicySettings, World};
use crate::sim::replay::{replay, Replayed};
use crate::sim::trace;
use crate::sim::what_if::{what_if, WhatIf};

/// Options of `replay`.
#[derive(Args)]
pub struct Replay {
    /// Decision log of the daemon, written with --log; plain or .gz
    log: PathBuf,
    /// Policy to replay the log with
    #[arg(long, value_parser = PolicyName::value_parser(World::Simulated), default_value = "fine")]
    policy: PolicyName,
    /// Order in which `fine` picks groups: 0 none, 1 request, 2 cpu, 3 memory, 4 cpu-desc, 5 mai
    #[arg(long, default_value = "memory")]
    order: Order,
    /// coarse: act on steal as the live policy does, if others take at least this many CPUs of a node
    #[arg(long, value_name = "CPUS")]
    trigger: Option<f64>,
    /// coarse: a node's work stays if it is more than this share of its load
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    useful: f64,
    /// No destination is loaded beyond this share of its capacity
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    warning: f64,
    /// fine: what was picked for a destination moves only if it uses more CPU than this
    #[arg(long, value_name = "CPUS", default_value_t = 0.0)]
    min_gain: f64,
    /// Carry the policy's plans out and show where they lead. The log provides what others take and what the work wants
    #[arg(long)]
    follow: bool,
    /// Guards: rounds between two moves, as with the daemon's --cool-down [default: as in the log]
    #[arg(long, value_name = "ROUNDS")]
    cool_down_rounds: Option<u32>,
    /// Guards: consecutive bad rounds before work leaves a node, as with the daemon's --bad-rounds [default: as in the
    /// log]
    #[arg(long, value_name = "ROUNDS")]
    bad_rounds: Option<u32>,
    /// Decide without guards
    #[arg(long)]
    no_guards: bool,
    /// Print JSON lines: one per round, with both plans; with --follow, a single one
    #[arg(long)]
    json: bool,
}

type Log = Box<dyn Read + Send>;

impl Replay {
    pub fn run(self) -> anyhow::Result<()> {
        let log = BufReader::new(trace::open(&self.log)?);
        let log = LogReader::new(log).with_context(|| self.log.display().to_string())?;
        let decider = self.decider(&log.header);
        if self.follow {
            return self.what_if(log, decider);
        }
        self.replay(log, decider)
    }

    fn replay(&self, log: LogReader<BufReader<Log>>, mut decider: Option<Decider>) -> anyhow::Result<()> {
        let logged_policy = log.header.policy.clone();
        let mut stdout = std::io::stdout().lock();
        let mut rounds = Vec::new();
        for round in log {
            let round = round.with_context(|| self.log.display().to_string())?;
            let replayed = replay(round, decider.as_mut());
            if self.json {
                writeln!(stdout, "{}", serde_json::to_string(&replayed)?)?;
            } else {
                rounds.push(replayed);
            }
        }
        if !self.json {
            stdout.write_all(text(&logged_policy, self.policy.as_str(), &rounds).as_bytes())?;
        }
        Ok(stdout.flush()?)
    }

    fn what_if(&self, log: LogReader<BufReader<Log>>, decider: Option<Decider>) -> anyhow::Result<()> {
        let rounds = log.collect::<Result<Vec<_>, _>>().with_context(|| self.log.display().to_string())?;
        let outcome = what_if(rounds, decider);
        let text = if self.json { serde_json::to_string(&outcome)? + "\n" } else { what_if_text(&outcome) };
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }

    /// The policy under the log's guards and with the length of its rounds, with the changes that the options ask for.
    fn decider(&self, header: &Header) -> Option<Decider> {
        /// The interval of logs that don't name it.
        const INTERVAL_S: f64 = 2.0;
        /// The daemon's default cool-down, in rounds of that.
        const COOL_DOWN_ROUNDS: u32 = 3;

        let mut guards = header.guards.unwrap_or(GuardOptions::with_cool_down(COOL_DOWN_ROUNDS));
        guards.cool_down_rounds = self.cool_down_rounds.unwrap_or(guards.cool_down_rounds);
        guards.bad_rounds = self.bad_rounds.unwrap_or(guards.bad_rounds);
        let settings = PolicySettings {
            trigger_cpus: self.trigger,
            useful_share: self.useful,
            warning_share: self.warning,
            min_gain_cpus: self.min_gain,
            order: self.order,
            round_s: header.interval_s.unwrap_or(INTERVAL_S),
            byte_budget: header.byte_budget,
            ..PolicySettings::default()
        };
        let policy = (self.policy != PolicyName::NONE).then(|| self.policy.make(&settings))?;
        Some(Decider::new(policy, (!self.no_guards).then_some(guards)))
    }
}

fn what_if_text(outcome: &WhatIf) -> String {
    let node = |(node, share): (&NodeId, &f64)| format!("node {node}: {:.1} % busy\n", 100.0 * share);
    let nodes: String = outcome.utilisation.iter().map(node).collect();
    format!(
        "{} rounds, {} moves of {} groups; the work got {:.3} CPUs\n{nodes}",
        outcome.rounds, outcome.moves, outcome.moved_groups, outcome.work_cpus
    )
}

fn text(logged: &str, replayed: &str, rounds: &[Replayed]) -> String {
    let head = ["round", logged, "", replayed, "", "differ"].map(ToOwned::to_owned).to_vec();
    let rows = rounds.iter().map(|round| {
        vec![
            round.round.to_string(),
            destinations(&round.logged_plan),
            moved(&round.logged),
            destinations(&round.replayed_plan),
            moved(&round.replayed),
            if round.same { "" } else { "yes" }.to_owned(),
        ]
    });
    let table = aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    let differ = rounds.iter().filter(|round| !round.same).count();
    let total = |of: fn(&Replayed) -> Moved| rounds.iter().map(of).fold(Moved::default(), Moved::and);
    format!(
        "{table}{} rounds, {differ} differ; {logged}: {}; {replayed}: {}\n",
        rounds.len(),
        moved(&total(|round| round.logged)),
        moved(&total(|round| round.replayed))
    )
}

/// The destinations of a plan, or "stay".
fn destinations(plan: &Plan) -> String {
    let mut to: Vec<NodeId> = plan.moves.iter().map(|step| step.to).collect();
    to.sort_unstable();
    to.dedup();
    match to.is_empty() {
        true => "stay".to_owned(),
        false => to.iter().map(|node| format!("-> {node}")).collect::<Vec<_>>().join(" "),
    }
}

fn moved(moved: &Moved) -> String {
    format!("{} groups, {:.3} CPUs, {:.3e} B", moved.groups, moved.cpus, moved.bytes)
}
