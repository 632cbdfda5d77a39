//! `scx_vnuma status`: what a daemon does now, in about ten lines.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::{Deserialize, Serialize};

use super::SloReport;

/// Nodes that have a line of their own: more would not be read at a glance.
const NODES_SHOWN: usize = 6;

/// How a daemon was set up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The policy's name.
    pub policy: String,
    /// It decides and reports, but changes nothing.
    pub dry_run: bool,
    /// The configuration file that was read, if any.
    pub config_file: Option<PathBuf>,
    /// What else places tasks, IRQs or pages in this guest, by name.
    #[serde(default)]
    pub neighbours: Vec<String>,
}

/// What a daemon does now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// True: a daemon that doesn't run has no other figures.
    pub running: bool,
    /// Release of the daemon.
    pub version: String,
    /// Its process id.
    pub process: u32,
    /// Seconds since it started.
    pub running_s: f64,
    /// How it was set up.
    #[serde(flatten)]
    pub setup: Setup,
    /// Migratable tasks, running or sleeping.
    pub nr_migratable: u64,
    /// CPU that migratable work wants; `None` if the policy doesn't estimate it.
    pub wanted_cpus: Option<f64>,
    /// CPU that the nodes can give it; `None` if the policy doesn't estimate it.
    pub supply_cpus: Option<f64>,
    /// CPU that it wants and doesn't get; `None` if the policy doesn't estimate it.
    pub short_cpus: Option<f64>,
    /// The nodes, in order of id.
    pub nodes: Vec<NodeStatus>,
    /// Latency objectives, and the room that they leave.
    #[serde(default)]
    pub slos: Vec<SloReport>,
    /// What was decided last, and why; `None` before the first decision.
    pub decision: Option<String>,
    /// Seconds since that decision.
    pub decided_s_ago: Option<f64>,
    /// Rounds that failed and left the plan unchanged.
    pub nr_failed_rounds: u64,
    /// Selectors that have matched no task for a minute.
    pub unmatched_selectors: Vec<String>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: u32,
    /// CPUs online.
    pub nr_cpus: u32,
    /// Share of its CPU that others take, 0..=1; `None` if unknown.
    pub pressure_share: Option<f64>,
    /// Work leaves it, and none comes.
    pub is_drained: bool,
    /// CPU that migratable tasks may use; `None` without a limit.
    pub limit_cpus: Option<f64>,
    /// Migratable tasks that wait in its queue.
    pub nr_queued: u32,
    /// Migratable work ran there in the last round, or is sent there.
    pub has_work: bool,
}

impl NodeStatus {
    fn text(&self) -> String {
        if self.nr_cpus == 0 {
            return "no CPU online".into();
        }
        if self.is_drained {
            let work = if self.has_work { "work is leaving" } else { "no work runs there" };
            return format!("drained: {work}");
        }
        let taken = match self.pressure_share {
            Some(share) => format!("others take {:.0} % of {}", 100.0 * share, counted(self.nr_cpus, "CPU")),
            None => format!("what others take of {} is unknown", counted(self.nr_cpus, "CPU")),
        };
        let limit = self.limit_cpus.map(|cpus| format!("work is limited to {cpus:.2} CPU"));
        let queued = (self.nr_queued > 0).then(|| format!("{} queued", counted(self.nr_queued, "task")));
        let work = self.has_work.then(|| "has work".to_string());
        [taken].into_iter().chain(work).chain(limit).chain(queued).collect::<Vec<_>>().join("; ")
    }

    /// Nodes that say something come first.
    fn is_plain(&self) -> bool {
        let is_calm = !self.is_drained && self.pressure_share.is_some_and(|share| share < 0.005);
        is_calm && !self.has_work && self.limit_cpus.is_none() && self.nr_queued == 0
    }

    fn style(&self) -> Style {
        match self.pressure_share {
            _ if self.nr_cpus == 0 || self.is_drained => YELLOW,
            None => YELLOW,
            Some(share) if share >= 0.25 => RED,
            Some(_) => Style::new(),
        }
    }
}

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();

fn counted(nr: u32, noun: &str) -> String {
    match nr {
        1 => format!("1 {noun}"),
        _ => format!("{nr} {noun}s"),
    }
}

/// `3h 20m`: the two largest units.
fn short_time(seconds: f64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds as u64)).to_string();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// The text in a style, as escape sequences.
fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

impl StatusReport {
    /// As text with colours. Writers that are no terminal must remove them.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let Setup { policy, dry_run, config_file, neighbours } = &self.setup;
        let dry_run = if *dry_run { ", dry run" } else { "" };
        let mut line = |heading: &str, value: &str| {
            // Writing to a String can't fail.
            let _ = writeln!(text, "{heading:<9} {value}");
        };
        let state = styled(GREEN, "running");
        let since = short_time(self.running_s);
        line("scx_vnuma", &format!("{state} for {since}, process {}, release {}", self.process, self.version));
        let from = config_file.as_ref().map(|file| format!("; configured by {}", file.display())).unwrap_or_default();
        line("policy", &format!("{policy}{dry_run}{from}"));
        line("work", &self.work());
        if !neighbours.is_empty() {
            line("beside", &neighbours.join(", "));
        }
        for (heading, node) in self.shown().map(|node| (format!("node {}", node.id), node)) {
            line(&heading, &styled(node.style(), &node.text()));
        }
        let nr_more = self.nodes.len().saturating_sub(NODES_SHOWN);
        if nr_more > 0 {
            line("", &format!("and {} more; --json has all", counted(nr_more as u32, "node")));
        }
        for slo in &self.slos {
            let style = if slo.room_share < 1.0 { YELLOW } else { Style::new() };
            line("latency", &styled(style, &slo.text()));
        }
        match (&self.decision, self.decided_s_ago) {
            (Some(decision), Some(ago_s)) => line("decision", &format!("{ago_s:.1} s ago: {decision}")),
            _ => line("decision", "none yet"),
        }
        if self.nr_failed_rounds > 0 {
            line("failures", &styled(RED, &format!("{} rounds failed; the log has the reason", self.nr_failed_rounds)));
        }
        for selector in &self.unmatched_selectors {
            line("selector", &styled(YELLOW, &format!("'{selector}' matches no task")));
        }
        text
    }

    fn work(&self) -> String {
        let (tasks, want) = match self.nr_migratable {
            1 => ("1 migratable task".to_string(), "it wants"),
            nr => (format!("{nr} migratable tasks"), "they want"),
        };
        let (Some(wanted_cpus), Some(supply_cpus)) = (self.wanted_cpus, self.supply_cpus) else { return tasks };
        let short = self.short_cpus.filter(|cpus| *cpus >= 0.05);
        let short = short.map(|cpus| styled(YELLOW, &format!(": short of {cpus:.2}"))).unwrap_or_default();
        format!("{tasks}; {want} {wanted_cpus:.2} CPU, and {supply_cpus:.2} can be supplied{short}")
    }

    /// The nodes with a line of their own, in order of id.
    fn shown(&self) -> impl Iterator<Item = &NodeStatus> {
        let mut by_news: Vec<&NodeStatus> = self.nodes.iter().collect();
        by_news.sort_by_key(|node| (node.is_plain(), node.id));
        by_news.truncate(NODES_SHOWN);
        by_news.sort_by_key(|node| node.id);
        by_news.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(report: &StatusReport) -> String {
        anstream::adapter::strip_str(&report.text()).to_string()
    }

    fn report(nr_nodes: u32) -> StatusReport {
        let node = |id| NodeStatus { id, nr_cpus: 4, pressure_share: Some(0.0), ..NodeStatus::default() };
        StatusReport {
            version: "0.1.0".into(),
            process: 123,
            running_s: 12_345.0,
            setup: Setup { policy: "auto".into(), ..Setup::default() },
            nr_migratable: 8,
            wanted_cpus: Some(2.95),
            supply_cpus: Some(2.0),
            short_cpus: Some(0.95),
            nodes: (0..nr_nodes).map(node).collect(),
            decision: Some("stay on node 0: it is calm".into()),
            decided_s_ago: Some(0.34),
            ..StatusReport::default()
        }
    }

    #[test]
    fn a_status_says_what_runs_what_it_lacks_and_how_the_nodes_are() {
        let mut report = report(2);
        report.nodes[0] = NodeStatus { limit_cpus: Some(1.2), pressure_share: Some(0.52), ..report.nodes[0].clone() };
        report.nodes[1] = NodeStatus { pressure_share: None, nr_queued: 1, ..report.nodes[1].clone() };
        report.nodes.push(NodeStatus { id: 2, nr_cpus: 4, is_drained: true, ..NodeStatus::default() });
        report.unmatched_selectors.push("comm=mkae".into());
        report.setup.neighbours = vec!["NUMA balancing".into(), "cpusets".into()];
        assert_eq!(
            plain(&report),
            "scx_vnuma running for 3h 25m, process 123, release 0.1.0\n\
             policy    auto\n\
             work      8 migratable tasks; they want 2.95 CPU, and 2.00 can be supplied: short of 0.95\n\
             beside    NUMA balancing, cpusets\n\
             node 0    others take 52 % of 4 CPUs; work is limited to 1.20 CPU\n\
             node 1    what others take of 4 CPUs is unknown; 1 task queued\n\
             node 2    drained: no work runs there\n\
             decision  0.3 s ago: stay on node 0: it is calm\n\
             selector  'comm=mkae' matches no task\n"
        );
    }

    #[test]
    fn of_many_nodes_those_that_say_something_are_shown() {
        let mut report = report(64);
        report.nodes[63].has_work = true;
        let text = plain(&report);
        assert!(text.contains("\nnode 63   others take 0 % of 4 CPUs; has work\n"), "{text}");
        assert!(text.contains("and 58 nodes more"), "{text}");
        assert!(text.lines().count() <= 11, "{text}");
    }

    #[test]
    fn json_has_the_setup_beside_the_rest() {
        let json = serde_json::to_value(report(1)).unwrap();
        assert_eq!((&json["policy"], &json["nodes"][0]["id"]), (&"auto".into(), &0.into()));
    }
}
