//! `vnuma-sim replay`

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::options::PolicyName;
use super::table::aligned;
use crate::cell::{Moved, NodeId, Plan};
use crate::decision_log::LogReader;
use crate::policy::{Coarse, Fine, GuardOptions, Guards, Order, Policy};
use crate::sim::follow::{follow, Followed};
use crate::sim::replay::{replay, Replayed};
use crate::sim::SimError;

/// Ask another policy.
#[derive(Args)]
pub struct Replay {
    /// A decision log of the daemon
    log: PathBuf,
    /// The policy to ask
    #[arg(long, value_enum, default_value = "fine")]
    policy: PolicyName,
    /// The order in which `fine` picks: 0 none, 1 request, 2 cpu, 3 memory, 4 cpu-desc, 5 mai
    #[arg(long, default_value = "memory")]
    order: Order,
    /// coarse: act on steal as the live policy does, when others take at least this many CPUs of a node
    #[arg(long, value_name = "CPUS")]
    trigger: Option<f64>,
    /// coarse: work above this share of its node's load stays
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    useful: f64,
    /// No destination is loaded past this share of its capacity
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    warning: f64,
    /// fine: picks go when their CPU is above this
    #[arg(long, value_name = "CPUS", default_value_t = 0.0)]
    min_gain: f64,
    /// Carry its plans out too, and say where they lead: the log gives what others take and what the work wants
    #[arg(long)]
    follow: bool,
    /// With --follow: after a move, so many rounds pass before the next, as with the daemon's --cool-down [default: as in
    /// the log]
    #[arg(long, value_name = "ROUNDS")]
    cool_down_rounds: Option<u32>,
    /// With --follow: a node is left after so many bad rounds in a row, as with the daemon's --bad-rounds [default: as in the
    /// log]
    #[arg(long, value_name = "ROUNDS")]
    bad_rounds: Option<u32>,
    /// With --follow: every plan is carried out at once
    #[arg(long)]
    no_guards: bool,
    /// Print JSON lines: one a round, with both plans; with --follow one in all
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub fn run(self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.policy != PolicyName::Auto,
            "--policy auto: it goes by what it remembers of earlier rounds"
        );
        let policy = self.policy();
        let file = File::open(&self.log).map_err(SimError::file(&self.log))?;
        let log = LogReader::new(BufReader::new(file)).with_context(|| self.log.display().to_string())?;
        if self.follow {
            return self.follow(log, policy.as_deref());
        }
        let logged_policy = log.header.policy.clone();
        let mut stdout = std::io::stdout().lock();
        let mut rounds = Vec::new();
        for round in log {
            let round = round.with_context(|| self.log.display().to_string())?;
            let replayed = replay(round, policy.as_deref());
            if self.json {
                writeln!(stdout, "{}", serde_json::to_string(&replayed)?)?;
            } else {
                rounds.push(replayed);
            }
        }
        if !self.json {
            let name = policy.as_deref().map_or("none", Policy::name);
            stdout.write_all(text(&logged_policy, name, &rounds).as_bytes())?;
        }
        Ok(stdout.flush()?)
    }

    fn follow(&self, log: LogReader<BufReader<File>>, policy: Option<&dyn Policy>) -> anyhow::Result<()> {
        /// The daemon's, in rounds of 2 s.
        const COOL_DOWN_ROUNDS: u32 = 3;

        let mut options = log.header.guards.unwrap_or(GuardOptions::with_cool_down(COOL_DOWN_ROUNDS));
        options.cool_down_rounds = self.cool_down_rounds.unwrap_or(options.cool_down_rounds);
        options.bad_rounds = self.bad_rounds.unwrap_or(options.bad_rounds);
        let rounds = log.collect::<Result<Vec<_>, _>>().with_context(|| self.log.display().to_string())?;
        let guards = (!self.no_guards).then(|| Guards::new(options));
        let followed = follow(rounds, policy, guards);
        let text = if self.json { serde_json::to_string(&followed)? + "\n" } else { followed_text(&followed) };
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn policy(&self) -> Option<Box<dyn Policy>> {
        match (self.policy, self.trigger) {
            (PolicyName::None | PolicyName::Auto, _) => None,
            (PolicyName::Coarse, Some(trigger_cpus)) => Some(Box::new(Coarse::on_steal(trigger_cpus))),
            (PolicyName::Coarse, None) => Some(Box::new(Coarse::on_load(self.useful, self.warning))),
            (PolicyName::Fine, _) => Some(Box::new(Fine {
                order: self.order,
                warning_share: self.warning,
                min_gain_cpus: self.min_gain,
                avoid_share: f64::INFINITY,
            })),
        }
    }
}

fn followed_text(followed: &Followed) -> String {
    let node = |(node, share): (&NodeId, &f64)| format!("node {node}: {:.1} % busy\n", 100.0 * share);
    let nodes: String = followed.utilisation.iter().map(node).collect();
    format!(
        "{} rounds, {} moves of {} groups; the work got {:.3} CPUs\n{nodes}",
        followed.rounds, followed.moves, followed.moved_groups, followed.work_cpus
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

/// Where work goes, if any does.
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
