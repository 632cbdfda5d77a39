//! Asks the running daemon: --monitor, status, explain, links and top.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use anyhow::{anyhow, Context, Result};
use scx_stats::prelude::*;
use serde::de::DeserializeOwned;

use super::server::{DECISIONS, DECISION_REPORTS, LINKS, NR, STATUS};
use super::{print, LinksReport, Metrics, StatusReport};

/// There is no daemon to ask.
#[derive(Debug, thiserror::Error)]
#[error("no scx_vnuma is running, so {0}")]
pub struct NotRunning(&'static str);

/// Print the running daemon's metrics every `interval` until `stopped` returns true.
pub fn monitor(interval: Duration, stopped: impl Fn() -> bool) -> Result<()> {
    scx_utils::monitor_stats::<Metrics>(&[], interval, stopped, |metrics| {
        let mut text = Vec::new();
        metrics.format(&mut text)?;
        Ok(print(&mut io::stdout().lock(), text)?)
    })
}

/// Print the last `nr` decisions of the running daemon, newest last: in text, or as one line of JSON.
pub fn explain(nr: usize, json: bool, out: &mut impl Write) -> Result<()> {
    let question = Question {
        command: "explain",
        target: if json { DECISION_REPORTS } else { DECISIONS },
        args: &[(NR, nr.to_string())],
        none: "there are no decisions to explain; past ones are only in --log files",
        what: "decisions",
    };
    if json {
        let reports: serde_json::Value = ask(&question)?;
        return Ok(print(out, format!("{reports}\n"))?);
    }
    let entries: Vec<String> = ask(&question)?;
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

/// Ask the running daemon for its status. The error is [`NotRunning`] if there is none.
pub fn status() -> Result<StatusReport> {
    ask(&Question {
        command: "status",
        target: STATUS,
        args: &[],
        none: "every task is in the fair class",
        what: "status",
    })
}

/// Ask the running daemon to do something; the answer says what was done. The error is [`NotRunning`] if there is none.
pub fn control(command: &str, target: &str, none: &'static str) -> Result<String> {
    let answer: Result<String, String> =
        ask(&Question { command, target, args: &[], none, what: "way to be told anything" })?;
    answer.map_err(|reason| anyhow!("{reason}"))
}

/// A question to the running daemon, and what to say where there is no answer.
struct Question<'a> {
    /// The subcommand that asks.
    command: &'a str,
    target: &'a str,
    args: &'a [(&'a str, String)],
    /// What follows from no daemon running.
    none: &'static str,
    /// What another scheduler doesn't report.
    what: &'a str,
}

fn ask<T: DeserializeOwned>(question: &Question<'_>) -> Result<T> {
    Connection::open(question.command, question.none)?.ask(question.target, question.args, question.what)
}

/// A connection to the running daemon.
pub(super) struct Connection(StatsClient);

impl Connection {
    /// Connect for a subcommand. `none` is what follows from no daemon running; the error is then [`NotRunning`].
    pub(super) fn open(command: &str, none: &'static str) -> Result<Self> {
        const PATIENCE_MS: u64 = 5000;

        StatsClient::new().connect(Some(PATIENCE_MS)).map(Connection).map_err(|err| {
            match err.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => NotRunning(none).into(),
                Some(ErrorKind::PermissionDenied) => anyhow!("{command} must run as root; try sudo"),
                _ => anyhow!("can't connect to the running scx_vnuma: {err:#}"),
            }
        })
    }

    /// Ask for a target. `what` is what another scheduler doesn't report.
    pub(super) fn ask<T: DeserializeOwned>(&mut self, target: &str, args: &[(&str, String)], what: &str) -> Result<T> {
        let target = [("target", target.to_string())];
        let args = target.iter().chain(args.iter()).map(|(key, value)| ((*key).to_string(), value.clone())).collect();
        let answer = self.0.request("stats", args);
        answer.with_context(|| format!("the running scheduler reports no {what}; is it scx_vnuma?"))
    }
}
