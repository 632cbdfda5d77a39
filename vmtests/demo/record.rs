//! The record of a phase of the demo: a line of JSON a second.

use std::fmt;
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
    /// Units of work done by the fixed task.
    pub fixed_work: u64,
    /// By node.
    pub nodes: Vec<NodeSecond>,
}

/// A node and its host within a second. A host has one CPU for each vCPU of the node; the values in CPUs divide them up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeSecond {
    /// Units of work done by the migratable tasks.
    pub work: u64,
    /// CPU time of the migratable tasks, without what was stolen from them, CPUs.
    pub work_cpus: f64,
    /// CPU time of the rest of the guest, above all the fixed task, CPUs.
    pub other_cpus: f64,
    /// Time that vCPUs were ready to run while their host ran something else, CPUs.
    pub stolen_cpus: f64,
    /// The host was asked to run a hog.
    pub has_hog: bool,
    /// CPU time of the hog as its host measured it, CPUs.
    pub hog_cpus: f64,
    /// Time that the hog waited for its CPU, CPUs.
    pub hog_waited_cpus: f64,
}

impl Second {
    pub fn lasted_s(&self) -> f64 {
        self.to_s - self.from_s
    }
}

impl fmt::Display for Second {
    /// The line that is shown while the demo runs.
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let percents = |cpus: fn(&NodeSecond) -> f64| {
            let percents: Vec<String> = self.nodes.iter().map(|node| format!("{:3.0}", 100.0 * cpus(node))).collect();
            percents.join(" ")
        };
        write!(
            formatter,
            "{:4.0} s  CPU of each node's host, %:  work {}   hogs {}   stolen {}",
            self.to_s,
            percents(|node| node.work_cpus),
            percents(|node| node.hog_cpus),
            percents(|node| node.stolen_cpus),
        )
    }
}

/// Consecutive seconds in which a host had a hog.
#[derive(Debug, PartialEq)]
pub struct Stretch {
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
        let nr_nodes = second.nodes.len();
        ensure!(nr_nodes > 0, "it has no nodes");
        if let Some(first) = self.seconds.first() {
            let expected = first.nodes.len();
            ensure!(nr_nodes == expected, "it has {nr_nodes} nodes, and line 1 has {expected}");
        }
        self.seconds.push(second);
        Ok(())
    }

    pub fn nr_nodes(&self) -> usize {
        self.seconds.first().map_or(0, |second| second.nodes.len())
    }

    pub fn lasted_s(&self) -> f64 {
        self.seconds.last().map_or(0.0, |last| last.to_s)
    }

    /// The stretches of time in which a node's host had a hog.
    pub fn hogged(&self, node: usize) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        for second in self.seconds.iter().filter(|second| second.nodes[node].has_hog) {
            match stretches.last_mut() {
                Some(last) if last.to_s == second.from_s => last.to_s = second.to_s,
                _ => stretches.push(Stretch { from_s: second.from_s, to_s: second.to_s }),
            }
        }
        stretches
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A phase of nodes with a CPU each, second by second. The hog gets what the work leaves.
    pub fn phase(seconds: &[&[NodeSecond]]) -> Phase {
        let line = |(index, nodes): (usize, &&[NodeSecond])| {
            serde_json::json!({ "at_s": index + 1, "fixed_work": 10, "nodes": nodes }).to_string()
        };
        let lines: Vec<String> = seconds.iter().enumerate().map(line).collect();
        Phase::parse("made up", "made-up.jsonl", &lines.join("\n")).unwrap()
    }

    /// A node whose host has nothing else to do.
    pub fn calm(work_cpus: f64) -> NodeSecond {
        NodeSecond { work: (100.0 * work_cpus) as u64, work_cpus, ..NodeSecond::default() }
    }

    /// A node whose host has a hog, which waits while the work runs.
    pub fn hogged(work_cpus: f64, stolen_cpus: f64) -> NodeSecond {
        let hog_cpus = 1.0 - work_cpus;
        NodeSecond { stolen_cpus, has_hog: true, hog_cpus, hog_waited_cpus: work_cpus, ..calm(work_cpus) }
    }

    #[test]
    fn a_hog_that_comes_back_makes_two_stretches() {
        let (with, without) = ([calm(1.0), hogged(0.5, 0.5)], [calm(1.0), calm(1.0)]);
        let phase = phase(&[&with, &with, &without, &with]);
        let stretch = |from_s, to_s| Stretch { from_s, to_s };
        assert_eq!(phase.hogged(1), [stretch(0.0, 2.0), stretch(3.0, 4.0)]);
        assert_eq!(phase.hogged(0), []);
    }

    #[test]
    fn a_bad_line_is_named_with_what_helps() {
        let good = |at_s: f64, nr_nodes: usize| {
            let nodes = vec![calm(1.0); nr_nodes];
            serde_json::json!({ "at_s": at_s, "fixed_work": 1, "nodes": nodes }).to_string()
        };
        for (bad, complaint) in [
            (r#"{"at_s":2.0,"fix"#, "EOF"),
            (&good(1.0, 1), "not after"),
            (&good(2.0, 2), "it has 2 nodes, and line 1 has 1"),
            (&good(2.0, 0), "no nodes"),
        ] {
            let text = format!("{}\n{bad}", good(1.0, 1));
            let err = format!("{:#}", Phase::parse("made up", "with.jsonl", &text).unwrap_err());
            assert!(err.starts_with("with.jsonl:2: ") && err.ends_with(REMEDY), "{err}");
            assert!(err.contains(complaint), "{err}");
        }
    }
}
