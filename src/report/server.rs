//! Metrics and decisions over scx_stats, as in other scx schedulers: the server. `client` asks it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use scx_stats::prelude::*;

use super::{print, DecisionHistory, HistoryEntry, Metrics, NodeMetrics, SloMetrics, SourceMetrics};

/// The target of `explain`. The metrics' target is scx_stats' default, `top`.
pub(super) const DECISIONS: &str = "decisions";
/// The target of `explain --json`.
pub(super) const DECISION_REPORTS: &str = "decision-reports";
/// The target of `links`.
pub(super) const LINKS: &str = "links";
/// The target of `top` for the busiest groups.
pub(super) const GROUPS: &str = "groups";
/// The target of `status`.
pub(super) const STATUS: &str = "status";
/// The target of `reload`.
pub const RELOAD: &str = "reload";
/// The target of `drain` and `undrain`.
pub const DRAINED: &str = "drained";
/// The target that begins a dry run.
pub const DRY_RUN_BEGIN: &str = "dry-run-begin";
/// The target that ends a dry run.
pub const DRY_RUN_END: &str = "dry-run-end";
/// The argument for the number of decisions.
pub(super) const NR: &str = "n";

/// Does something, and returns what was done, or why nothing was.
pub type Control = Box<dyn Fn() -> Result<String, String> + Send>;

/// Answers from the history, in its own threads. Dropping it stops the server.
pub struct StatsServer {
    _server: scx_stats::prelude::StatsServer<(), ()>,
}

impl StatsServer {
    /// Start the server. `controls` are what it can be asked to do, by target.
    pub fn launch(history: Arc<DecisionHistory>, controls: Vec<(&'static str, Control)>) -> Result<Self> {
        let with_control = |data: StatsServerData<(), ()>, (target, control): (&str, Control)| {
            data.add_stats(target, Box::new(move |_args, _channels| Ok(serde_json::to_value(control())?)))
        };
        let data = controls.into_iter().fold(data(history), with_control);
        Ok(StatsServer { _server: scx_stats::prelude::StatsServer::new(data).launch()? })
    }
}

fn data(history: Arc<DecisionHistory>) -> StatsServerData<(), ()> {
    let [for_decisions, for_reports, for_links, for_status, for_groups] = [(); 5].map(|()| history.clone());
    StatsServerData::new()
        .add_meta(Metrics::meta())
        .add_meta(NodeMetrics::meta())
        .add_meta(SourceMetrics::meta())
        .add_meta(SloMetrics::meta())
        .add_stats("top", Box::new(move |_args, _channels| history.metrics().to_json()))
        .add_stats(LINKS, Box::new(move |_args, _channels| Ok(serde_json::to_value(&*for_links.links())?)))
        .add_stats(STATUS, Box::new(move |_args, _channels| Ok(serde_json::to_value(for_status.status())?)))
        .add_stats(GROUPS, Box::new(move |_args, _channels| Ok(serde_json::to_value(&*for_groups.groups())?)))
        .add_stats(
            DECISIONS,
            Box::new(move |args, _channels| {
                let entries = for_decisions.decisions(nr_of(args)?);
                Ok(serde_json::to_value(entries.iter().map(entry_text).collect::<Vec<_>>())?)
            }),
        )
        .add_stats(
            DECISION_REPORTS,
            Box::new(move |args, _channels| {
                let entries = for_reports.decisions(nr_of(args)?);
                let report = |entry: &HistoryEntry| entry.decision.report(entry.first_round, entry.ago.as_secs_f64());
                Ok(serde_json::to_value(entries.iter().map(report).collect::<Vec<_>>())?)
            }),
        )
}

/// The number of decisions asked for: all without the argument.
fn nr_of(args: &BTreeMap<String, String>) -> Result<usize> {
    let nr = args.get(NR).map(|nr| nr.parse()).transpose().context("n takes a number")?;
    Ok(nr.unwrap_or(usize::MAX))
}

fn entry_text(entry: &HistoryEntry) -> String {
    let HistoryEntry { first_round, ago, decision } = entry;
    let number = decision.number();
    let rounds = match number - first_round {
        0 => format!("round {number}"),
        more => format!("rounds {first_round} to {number} ({} alike, the last is shown)", more + 1),
    };
    format!("{rounds}, {:.1} s ago: {}\n{}", ago.as_secs_f64(), decision.what(), decision.explained())
}

/// Print a description of each metric.
pub fn describe_stats(out: &mut impl Write) -> Result<()> {
    let mut text = Vec::new();
    data(Arc::default()).describe_meta(&mut text, None)?;
    Ok(print(out, text)?)
}

#[cfg(test)]
mod tests {
    use super::super::decision::tests::{round, DONE, MOVES, STAYS};
    use super::super::{Decision, Round};
    use super::*;

    #[test]
    fn rounds_that_were_alike_are_printed_once() {
        let history = DecisionHistory::default();
        for number in 1..=5 {
            history.publish(Metrics::default(), Decision::of(&Round { number, ..round(STAYS, None) }));
        }
        history.publish(Metrics::default(), Decision::of(&Round { number: 6, ..round(MOVES, Some(DONE)) }));
        let entries: Vec<String> = history.decisions(2).iter().map(entry_text).collect();
        assert!(
            entries[0].starts_with("rounds 1 to 5 (5 alike, the last is shown), 0.0 s ago: stay on node 0\n"),
            "{entries:?}"
        );
        assert!(
            entries[0].contains("\n  stays    node 0: others take 0.10 CPU of it, below the trigger of 0.25\n"),
            "{entries:?}"
        );
        assert!(entries[1].starts_with("round 6, 0.0 s ago: epoch 3: move from node 0 to 1\n"), "{entries:?}");
    }
}
