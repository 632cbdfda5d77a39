//! Metrics and decisions over scx_stats, as in other scx schedulers: the server, and the clients of --monitor and
//! explain.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use scx_stats::prelude::*;
use serde::de::DeserializeOwned;

use super::{print, DecisionHistory, HistoryEntry, LinksReport, Metrics, NodeMetrics, SourceMetrics};

/// The target of `explain`. The metrics' target is scx_stats' default, `top`.
const DECISIONS: &str = "decisions";
/// The target of `links`.
const LINKS: &str = "links";
/// The argument for the number of decisions.
const NR: &str = "n";

/// Answers from the history, in its own threads. Dropping it stops the server.
pub struct StatsServer {
    _server: scx_stats::prelude::StatsServer<(), ()>,
}

impl StatsServer {
    /// Start the server.
    pub fn launch(history: Arc<DecisionHistory>) -> Result<Self> {
        Ok(StatsServer { _server: scx_stats::prelude::StatsServer::new(data(history)).launch()? })
    }
}

fn data(history: Arc<DecisionHistory>) -> StatsServerData<(), ()> {
    let (for_decisions, for_links) = (history.clone(), history.clone());
    StatsServerData::new()
        .add_meta(Metrics::meta())
        .add_meta(NodeMetrics::meta())
        .add_meta(SourceMetrics::meta())
        .add_stats("top", Box::new(move |_args, _channels| history.metrics().to_json()))
        .add_stats(LINKS, Box::new(move |_args, _channels| Ok(serde_json::to_value(&*for_links.links())?)))
        .add_stats(
            DECISIONS,
            Box::new(move |args, _channels| {
                let nr = args.get(NR).map(|nr| nr.parse()).transpose().context("n takes a number")?;
                let entries = for_decisions.decisions(nr.unwrap_or(usize::MAX));
                Ok(serde_json::to_value(entries.iter().map(entry_text).collect::<Vec<_>>())?)
            }),
        )
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

/// Print the running daemon's metrics every `interval` until `stopped` returns true.
pub fn monitor(interval: Duration, stopped: impl Fn() -> bool) -> Result<()> {
    scx_utils::monitor_stats::<Metrics>(&[], interval, stopped, |metrics| {
        let mut text = Vec::new();
        metrics.format(&mut text)?;
        Ok(print(&mut io::stdout().lock(), text)?)
    })
}

/// Print the last `nr` decisions of the running daemon, newest last.
pub fn explain(nr: usize, out: &mut impl Write) -> Result<()> {
    let entries: Vec<String> = ask(&Question {
        command: "explain",
        target: DECISIONS,
        args: &[(NR, nr.to_string())],
        none: "there are no decisions to explain; past ones are only in --log files",
        what: "decisions",
    })?;
    let text = if entries.is_empty() { "no round has completed yet\n".to_string() } else { entries.join("\n") };
    Ok(print(out, text)?)
}

/// Print which processes share memory as the running daemon knows it: in text, or as one line of JSON.
pub fn links(json: bool, out: &mut impl Write) -> Result<()> {
    let report: LinksReport = ask(&Question {
        command: "links",
        target: LINKS,
        args: &[],
        none: "nobody looks for processes that share memory",
        what: "links",
    })?;
    let text = if json { serde_json::to_string(&report)? + "\n" } else { report.text() };
    Ok(print(out, text)?)
}

/// A question to the running daemon, and what to say where there is no answer.
struct Question<'a> {
    /// The subcommand that asks.
    command: &'a str,
    target: &'a str,
    args: &'a [(&'a str, String)],
    /// What follows from no daemon running.
    none: &'a str,
    /// What another scheduler doesn't report.
    what: &'a str,
}

fn ask<T: DeserializeOwned>(question: &Question<'_>) -> Result<T> {
    const PATIENCE_MS: u64 = 5000;

    let Question { command, target, args, none, what } = question;
    let client = StatsClient::new().connect(Some(PATIENCE_MS));
    let mut client = match client {
        Ok(client) => client,
        Err(err) => bail!(match err.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                format!("no scx_vnuma is running, so {none}")
            }
            Some(ErrorKind::PermissionDenied) => format!("{command} must run as root; try sudo"),
            _ => format!("can't connect to the running scx_vnuma: {err:#}"),
        }),
    };
    let target = [("target", (*target).to_string())];
    let args = target.iter().chain(args.iter()).map(|(key, value)| ((*key).to_string(), value.clone())).collect();
    let answer = client.request("stats", args);
    answer.with_context(|| format!("the running scheduler reports no {what}; is it scx_vnuma?"))
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
