//! The decision log: what a policy saw and decided, round by round. The daemon writes it; the simulator replays it
//! under other policies.
//!
//! The format is JSON lines. The first line is a [`Header`], each further line a [`LoggedRound`]. A reader refuses logs
//! of another version.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::cell::{check_nodes, CellView, Node, Plan};
use crate::policy::GuardOptions;

/// Identifies the file format.
pub const FORMAT: &str = "scx_vnuma decisions";
/// Incremented when a reader of older logs would misread newer ones.
pub const VERSION: u32 = 1;

/// The first line of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Equals [`FORMAT`].
    pub format: String,
    /// Equals [`VERSION`].
    pub version: u32,
    /// The policy that made the decisions, as in `--policy`.
    pub policy: String,
    /// The guards that held moves back; `None` without guards, and in older logs, which don't record them.
    #[serde(default)]
    pub guards: Option<GuardOptions>,
    /// Length of a round as configured, in seconds; `None` in older logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_s: Option<f64>,
    /// Bytes per second that moves were allowed; `None` for the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte_budget: Option<f64>,
}

impl Header {
    /// The header of a log of this policy's decisions under these guards, in rounds of unknown length.
    pub fn new(policy: &str, guards: Option<GuardOptions>) -> Self {
        Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            policy: policy.to_owned(),
            guards,
            interval_s: None,
            byte_budget: None,
        }
    }
}

/// One round of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedRound {
    /// Number of the round, from 1.
    pub round: u64,
    /// What the policy saw.
    pub view: CellView,
    /// What the policy decided.
    pub plan: Plan,
    /// The nodes as the policy observed them first, if fresher readings then confirmed or changed its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Vec<Node>>,
}

impl LoggedRound {
    /// The view as the policy observed it, before a confirmation.
    pub fn observed_view(&self) -> Cow<'_, CellView> {
        match &self.observed {
            Some(nodes) => Cow::Owned(CellView { nodes: nodes.clone(), ..self.view.clone() }),
            None => Cow::Borrowed(&self.view),
        }
    }
}

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file can't be read.
    #[error("line {line} can't be read")]
    Read {
        /// Line number, from 1.
        line: u64,
        /// The error that the system reported.
        source: io::Error,
    },
    /// A line doesn't parse.
    #[error("line {line}: not a valid {wanted} of a decision log; the file may be truncated")]
    Line {
        /// Line number, from 1.
        line: u64,
        /// What the line should contain: `header` or `round`.
        wanted: &'static str,
        /// The JSON error.
        source: serde_json::Error,
    },
    /// A round has a view that no daemon sees.
    #[error("line {line}: {what}; the file may have been edited")]
    View {
        /// Line number, from 1.
        line: u64,
        /// What is wrong with the view.
        what: String,
    },
    /// The file has another format or version.
    #[error(
        "line 1: the file is '{format}' version {version}, but this program reads '{FORMAT}' of version {VERSION}"
    )]
    Version {
        /// The format that the file names.
        format: String,
        /// The version that the file names.
        version: u32,
    },
    /// The file has no lines.
    #[error("line 1: the file is empty, so it is no decision log")]
    Empty,
}

/// Writes a log. Each round is a single write, so a log that was cut short loses at most its last line.
pub struct LogWriter<W> {
    writer: W,
    line: Vec<u8>,
}

impl<W: Write> LogWriter<W> {
    /// Start a log.
    pub fn new(writer: W, header: &Header) -> io::Result<Self> {
        let mut log = LogWriter { writer, line: Vec::new() };
        log.write(header)?;
        Ok(log)
    }

    /// Continue a log that already has its header.
    pub fn resume(writer: W) -> Self {
        LogWriter { writer, line: Vec::new() }
    }

    /// Append a round. `observed` is the nodes as they were before the plan was confirmed, if it was.
    pub fn append(&mut self, round: u64, view: &CellView, plan: &Plan, observed: Option<&[Node]>) -> io::Result<()> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            round: u64,
            view: &'a CellView,
            plan: &'a Plan,
            #[serde(skip_serializing_if = "Option::is_none")]
            observed: Option<&'a [Node]>,
        }
        self.write(&Borrowed { round, view, plan, observed })
    }

    fn write(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.writer.write_all(&self.line)?;
        self.writer.flush()
    }
}

/// Reads a log: an iterator over its rounds.
pub struct LogReader<R> {
    /// The first line.
    pub header: Header,
    lines: io::Lines<R>,
    line: u64,
}

impl<R: BufRead> LogReader<R> {
    /// Read the header and check its format and version.
    pub fn new(reader: R) -> Result<Self, LogError> {
        let mut lines = reader.lines();
        let first = lines.next().ok_or(LogError::Empty)?.map_err(|source| LogError::Read { line: 1, source })?;
        let header: Header =
            serde_json::from_str(&first).map_err(|source| LogError::Line { line: 1, wanted: "header", source })?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(LogError::Version { format: header.format, version: header.version });
        }
        Ok(LogReader { header, lines, line: 1 })
    }

    /// The rounds without the last one if its line is cut short, as a crash or a full disk leaves it.
    pub fn whole_rounds(self) -> WholeRounds<R> {
        WholeRounds { log: self, torn_line: None }
    }
}

impl<R: BufRead> Iterator for LogReader<R> {
    type Item = Result<LoggedRound, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.lines.next()?;
        self.line += 1;
        let line = self.line;
        Some(text.map_err(|source| LogError::Read { line, source }).and_then(|text| {
            let round: LoggedRound =
                serde_json::from_str(&text).map_err(|source| LogError::Line { line, wanted: "round", source })?;
            let observed = round.observed.as_deref().map_or(Ok(()), check_nodes);
            round.view.check().and(observed).map_err(|what| LogError::View { line, what })?;
            Ok(round)
        }))
    }
}

impl LogError {
    /// Return true if the text ends within a line's JSON.
    fn is_cut_short(&self) -> bool {
        matches!(self, LogError::Line { source, .. } if source.is_eof())
    }
}

/// Reads a log up to its last whole line: an iterator over its rounds. Any other error is one, as for [`LogReader`].
pub struct WholeRounds<R> {
    log: LogReader<R>,
    /// Number of the last line, from 1, if it was cut short and left out.
    pub torn_line: Option<u64>,
}

impl<R: BufRead> Iterator for WholeRounds<R> {
    type Item = Result<LoggedRound, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let round = self.log.next()?;
        if !round.as_ref().is_err_and(LogError::is_cut_short) {
            return Some(round);
        }
        let line = self.log.line;
        match self.log.next() {
            Some(_) => Some(round),
            None => {
                self.torn_line = Some(line);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Group, GroupId, Link, Move, Node, NodeId, Outcome, Pressure, Verdict};

    fn view() -> CellView {
        let node = |id, pressure| Node {
            id: NodeId(id),
            capacity_cpus: 8.0,
            pressure,
            load_cpus: 1.0 / 3.0,
            ..Node::default()
        };
        let stale = Pressure::Stale { share: 0.1, age_rounds: 3 };
        CellView {
            nodes: vec![node(0, Pressure::Fresh { share: 0.5 }), node(1, stale), node(2, Pressure::Unknown)],
            groups: vec![Group { id: GroupId(7), node: NodeId(0), nr_tasks: 2, ..Group::default() }],
            ..CellView::default()
        }
    }

    fn plan() -> Plan {
        Plan {
            first: Some(NodeId(0)),
            second: None,
            moves: vec![Move { group: GroupId(7), from: NodeId(0), to: NodeId(1) }],
            verdicts: vec![Verdict { node: NodeId(0), outcome: Outcome::Moves { moved_cpus: 0.1 } }],
            ..Plan::default()
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = Vec::new();
        let mut log =
            LogWriter::new(&mut bytes, &Header::new("coarse", Some(GuardOptions::with_cool_down(3)))).unwrap();
        log.append(1, &view(), &plan(), None).unwrap();
        log.append(2, &view(), &Plan::default(), Some(&view().nodes[..1])).unwrap();
        let log = LogReader::new(bytes.as_slice()).unwrap();
        assert_eq!((log.header.policy.as_str(), log.header.guards), ("coarse", Some(GuardOptions::with_cool_down(3))));
        let rounds: Vec<LoggedRound> = log.map(Result::unwrap).collect();
        assert_eq!(rounds[0], LoggedRound { round: 1, view: view(), plan: plan(), observed: None });
        assert_eq!((rounds.len(), rounds[1].round), (2, 2));
        assert_eq!(rounds[1].observed_view().nodes, view().nodes[..1]);
        assert_eq!(rounds[0].observed_view().nodes, view().nodes);
    }

    #[test]
    fn a_round_of_an_older_log_has_defaults_for_newer_fields() {
        let text = r#"{"round":1,"view":{"nodes":[{"id":0,"capacity_cpus":8.0,"pressure":{"fresh":{"share":0.5}},
            "load_cpus":1.0}],"groups":[{"id":7,"node":0,"nr_tasks":2,"demand":{"request_cpus":0.0,"usage_cpus":0.5,
            "memory_bytes":0.0,"accesses_per_instruction":0.0}}]},
            "plan":{"first":0,"second":null,"moves":[],"verdicts":[]}}"#;
        let round: LoggedRound = serde_json::from_str(text).unwrap();
        assert_eq!((round.view.window_rounds, round.view.nodes[0].speed), (1.0, 1.0));
        assert_eq!((round.view.groups[0].wanted_cpus, round.view.nodes[0].free_bytes), (None, None));
        assert!(round.plan.limits.is_empty() && round.plan.spread.is_empty() && round.view.links.is_empty());
        assert!(!serde_json::to_string(&round).unwrap().contains("speed"), "defaults are not written");
    }

    #[test]
    fn a_log_cut_short_gives_its_whole_rounds_and_then_names_the_line() {
        let mut bytes = Vec::new();
        let mut log = LogWriter::new(&mut bytes, &Header::new("fine", None)).unwrap();
        log.append(1, &view(), &plan(), None).unwrap();
        log.append(2, &view(), &plan(), None).unwrap();
        bytes.truncate(bytes.len() - 20);
        let rounds: Vec<_> = LogReader::new(bytes.as_slice()).unwrap().collect();
        assert!(rounds[0].is_ok());
        assert!(rounds[1].as_ref().unwrap_err().to_string().starts_with("line 3:"));
    }

    #[test]
    fn only_the_last_line_may_be_torn() {
        let mut bytes = Vec::new();
        let mut log = LogWriter::new(&mut bytes, &Header::new("fine", None)).unwrap();
        log.append(1, &view(), &plan(), None).unwrap();
        log.append(2, &view(), &plan(), None).unwrap();
        let whole = bytes.clone();
        let read = |bytes: &[u8]| {
            let mut rounds = LogReader::new(bytes).unwrap().whole_rounds();
            let numbers: Result<Vec<u64>, LogError> = rounds.by_ref().map(|round| Ok(round?.round)).collect();
            (numbers.map_err(|err| err.to_string()), rounds.torn_line)
        };
        assert_eq!(read(&whole), (Ok(vec![1, 2]), None));
        bytes.truncate(whole.len() - 20);
        assert_eq!(read(&bytes), (Ok(vec![1]), Some(3)));
        bytes.push(b'\n');
        bytes.extend(&whole[whole.iter().position(|&byte| byte == b'\n').unwrap() + 1..]);
        let (read, torn_line) = read(&bytes);
        assert!(read.unwrap_err().starts_with("line 3:") && torn_line.is_none());
    }

    fn link(a: u64, b: u64, pages_per_round: f64) -> Link {
        Link { a: GroupId(a), b: GroupId(b), pages_per_round }
    }

    #[test]
    fn links_are_in_the_log_only_if_there_are_some() {
        let linked = CellView { links: vec![link(7, 9, 1.0 / 3.0)], ..view() };
        let mut bytes = Vec::new();
        let mut log = LogWriter::new(&mut bytes, &Header::new("auto", None)).unwrap();
        log.append(1, &view(), &plan(), None).unwrap();
        log.append(2, &linked, &plan(), None).unwrap();
        assert_eq!(String::from_utf8(bytes.clone()).unwrap().matches("links").count(), 1);
        let rounds: Vec<LoggedRound> = LogReader::new(bytes.as_slice()).unwrap().map(Result::unwrap).collect();
        assert_eq!((&rounds[0].view, &rounds[1].view), (&view(), &linked));
    }

    #[test]
    fn a_view_that_no_daemon_sees_is_refused_with_its_line() {
        type Edit = fn(&mut CellView);
        let edits: [(Edit, &str); 11] = [
            (|view| view.nodes.swap(0, 1), "nodes are not in order"),
            (|view| view.nodes[1].id = NodeId(0), "nodes are not in order"),
            (|view| view.nodes[1].capacity_cpus = -8.0, "node 1 has an impossible number"),
            (|view| view.nodes[0].pressure = Pressure::Fresh { share: 1.5 }, "node 0 has an impossible number"),
            (|view| view.groups.push(view.groups[0]), "groups are not in order"),
            (|view| view.groups.push(Group { node: NodeId(1), ..view.groups[0] }), "twice"),
            (|view| view.groups[0].demand.usage_cpus = 1e300, "group 7 has an impossible number"),
            (|view| view.window_rounds = -1.0, "its window is -1 rounds"),
            (|view| view.links.push(link(8, 7, 1.0)), "link of groups 8 and 7 is not in order"),
            (|view| view.links.extend([link(7, 8, 1.0); 2]), "link of groups 7 and 8 is not in order"),
            (|view| view.links.push(link(7, 8, -1.0)), "link of groups 7 and 8 has an impossible number"),
        ];
        for (edit, what) in edits {
            let mut edited = view();
            edit(&mut edited);
            let mut bytes = Vec::new();
            LogWriter::new(&mut bytes, &Header::new("auto", None)).unwrap().append(1, &edited, &plan(), None).unwrap();
            let message = LogReader::new(bytes.as_slice()).unwrap().next().unwrap().unwrap_err().to_string();
            assert!(message.starts_with("line 2: ") && message.contains(what), "{message}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        let later = format!("{{\"format\":\"{FORMAT}\",\"version\":{},\"policy\":\"auto\"}}\n", VERSION + 1);
        assert!(matches!(LogReader::new(later.as_bytes()), Err(LogError::Version { .. })));
        assert!(matches!(LogReader::new(&b""[..]), Err(LogError::Empty)));
    }
}
