//! The record of a phase of the demo: a line of JSON a second.

use std::path::Path;

use anyhow::{anyhow, ensure, Result};
use serde::{Deserialize, Serialize};

/// The remedy for an invalid record.
pub const REMEDY: &str = "record again with vmtests/demo/run";

/// About a second of a phase.
#[derive(Debug, Serialize, Deserialize)]
pub struct Second {
    /// When it began, seconds since the start of the phase. Not in the file: it equals the end of the previous second.
    #[serde(skip)]
    pub from_s: f64,
    /// When it ended, seconds since the start of the phase.
    #[serde(rename = "at_s")]
    pub to_s: f64,
    /// CPU time stolen from each node, CPUs.
    pub stolen_cpus: Vec<f64>,
    /// Units of work done by the migratable tasks, by node.
    pub migratable_work: Vec<u64>,
    /// Units of work done by the fixed task.
    pub fixed_work: u64,
    /// The node on whose host a hog runs.
    pub hogged: Option<u32>,
    /// The number of the plan in force at the end of the second.
    pub epoch: Option<u64>,
    /// The first destination of that plan.
    pub destination: Option<u32>,
}

impl Second {
    pub fn lasted_s(&self) -> f64 {
        self.to_s - self.from_s
    }

    /// The share of the migratable work done on each node, 0..1; `None` if no work was done.
    pub fn shares(&self) -> Option<Vec<f64>> {
        let total: u64 = self.migratable_work.iter().sum();
        (total > 0).then(|| self.migratable_work.iter().map(|&work| work as f64 / total as f64).collect())
    }

    /// The node where most of the migratable work was done.
    pub fn busiest_node(&self) -> Option<u32> {
        let (node, &work) = self.migratable_work.iter().enumerate().max_by_key(|(_, &work)| work)?;
        (work > 0).then_some(node as u32)
    }
}

/// A new plan that came into force.
#[derive(Debug, PartialEq)]
pub struct Decision {
    /// Index of the second in which it came into force.
    pub second: usize,
    /// The first destination before and after; the same when something else about the plan changed.
    pub from: u32,
    pub to: u32,
}

/// Consecutive seconds with the same value, such as the host with the hog, or the node with most of the work.
#[derive(Debug, PartialEq)]
pub struct Stretch {
    pub node: u32,
    pub from_s: f64,
    pub to_s: f64,
}

/// One run of the demo.
#[derive(Debug)]
pub struct Phase {
    pub title: &'static str,
    /// At least one. All have the same number of nodes, which is at least one, and each has a positive length.
    pub seconds: Vec<Second>,
}

impl Phase {
    /// Reads a record. Errors name the file, the line and the remedy.
    pub fn read(title: &'static str, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|err| anyhow!("{}: {err}; {REMEDY}", path.display()))?;
        Self::parse(title, &path.display().to_string(), &text)
    }

    fn parse(title: &'static str, file: &str, text: &str) -> Result<Self> {
        let mut phase = Phase { title, seconds: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            phase.push(line).map_err(|err| anyhow!("{file}:{}: {err}; {REMEDY}", index + 1))?;
        }
        ensure!(!phase.seconds.is_empty(), "{file}:1: the record is empty; {REMEDY}");
        Ok(phase)
    }

    fn push(&mut self, line: &str) -> Result<()> {
        let mut second: Second = serde_json::from_str(line)?;
        second.from_s = self.seconds.last().map_or(0.0, |last| last.to_s);
        let (from_s, to_s) = (second.from_s, second.to_s);
        ensure!(to_s > from_s, "at_s is {to_s}, which is not after {from_s}");
        let nr_nodes = second.stolen_cpus.len();
        ensure!(nr_nodes > 0, "stolen_cpus names no node");
        let nr_working = second.migratable_work.len();
        ensure!(nr_working == nr_nodes, "stolen_cpus has {nr_nodes} nodes and migratable_work {nr_working}");
        if let Some(first) = self.seconds.first() {
            let expected = first.stolen_cpus.len();
            ensure!(nr_nodes == expected, "it has {nr_nodes} nodes, and line 1 has {expected}");
        }
        if let Some(hogged) = second.hogged {
            ensure!((hogged as usize) < nr_nodes, "hogged is {hogged}, and there are only {nr_nodes} nodes");
        }
        self.seconds.push(second);
        Ok(())
    }

    pub fn nr_nodes(&self) -> usize {
        self.seconds.first().map_or(0, |second| second.stolen_cpus.len())
    }

    pub fn lasted_s(&self) -> f64 {
        self.seconds.last().map_or(0.0, |last| last.to_s)
    }

    /// The most that was stolen from a node in a second, CPUs.
    pub fn most_stolen_cpus(&self) -> f64 {
        self.seconds.iter().flat_map(|second| second.stolen_cpus.iter().copied()).fold(0.0, f64::max)
    }

    /// The plans that came into force after the first one.
    pub fn decisions(&self) -> Vec<Decision> {
        let pairs = self.seconds.iter().zip(self.seconds.iter().skip(1)).enumerate();
        let decision = |(index, (before, after)): (usize, (&Second, &Second))| {
            let changed = after.epoch.is_some() && before.epoch != after.epoch;
            let (from, to) = (before.destination?, after.destination?);
            changed.then_some(Decision { second: index + 1, from, to })
        };
        pairs.filter_map(decision).collect()
    }

    /// The stretches of time in which a hog ran on a host, with the host's node.
    pub fn hogged(&self) -> Vec<Stretch> {
        self.stretches(|second| second.hogged)
    }

    /// The stretches of time in which a node had most of the migratable work.
    pub fn busiest(&self) -> Vec<Stretch> {
        self.stretches(Second::busiest_node)
    }

    fn stretches(&self, node_of: impl Fn(&Second) -> Option<u32>) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        for second in &self.seconds {
            let Some(node) = node_of(second) else { continue };
            match stretches.last_mut() {
                Some(last) if last.node == node && last.to_s == second.from_s => last.to_s = second.to_s,
                _ => stretches.push(Stretch { node, from_s: second.from_s, to_s: second.to_s }),
            }
        }
        stretches
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A phase of two nodes: work on each and the hog, second by second; the plan follows the work.
    pub fn phase(seconds: &[(u64, u64, Option<u32>)]) -> Phase {
        let line = |(index, (on_0, on_1, hogged)): (usize, &(u64, u64, Option<u32>))| {
            let destination = u32::from(on_1 > on_0);
            serde_json::json!({
                "at_s": index + 1, "stolen_cpus": [0.5, 0.0], "migratable_work": [on_0, on_1], "fixed_work": 10,
                "hogged": hogged, "epoch": destination, "destination": destination,
            })
            .to_string()
        };
        let lines: Vec<String> = seconds.iter().enumerate().map(line).collect();
        Phase::parse("made up", "made-up.jsonl", &lines.join("\n")).unwrap()
    }

    #[test]
    fn a_changed_epoch_is_a_decision_within_its_second() {
        let phase = phase(&[(10, 0, None), (10, 0, Some(0)), (2, 8, Some(0)), (0, 10, Some(0))]);
        assert_eq!(phase.decisions(), [Decision { second: 2, from: 0, to: 1 }]);
    }

    #[test]
    fn a_hog_that_comes_back_makes_two_stretches() {
        let phase = phase(&[(1, 0, Some(0)), (1, 0, Some(0)), (1, 0, None), (1, 0, Some(0))]);
        let stretch = |from_s, to_s| Stretch { node: 0, from_s, to_s };
        assert_eq!(phase.hogged(), [stretch(0.0, 2.0), stretch(3.0, 4.0)]);
    }

    #[test]
    fn a_bad_line_is_named_with_what_helps() {
        let good = r#"{"at_s":1.0,"stolen_cpus":[0],"migratable_work":[5],"fixed_work":1,"hogged":null,"epoch":null,"destination":null}"#;
        for (bad, complaint) in [
            (r#"{"at_s":2.0,"stol"#, "EOF"),
            (good, "not after"),
            (&good.replace("1.0", "2.0").replace("[5]", "[5,6]"), "migratable_work 2"),
            (&good.replace("1.0", "2.0").replace(r#""hogged":null"#, r#""hogged":3"#), "hogged is 3"),
        ] {
            let err = format!("{:#}", Phase::parse("made up", "with.jsonl", &format!("{good}\n{bad}")).unwrap_err());
            assert!(err.starts_with("with.jsonl:2: ") && err.ends_with(REMEDY), "{err}");
            assert!(err.contains(complaint), "{err}");
        }
    }
}
