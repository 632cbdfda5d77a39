//! `scx_vnuma report`: a decision log as one HTML page that shows where the work ran, and why.
//!
//! The page loads nothing from elsewhere. Its chart is drawn without scripts; a small one adds the values under the pointer.
//! However long the run, the page has at most a thousand points in time.

mod chart;
mod page;
mod points;
mod text;
mod timeline;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;

use self::text::Clock;
use self::timeline::Timeline;
use crate::decision_log::{Header, LogError, LogReader};

/// No page can be made of a log. The source says why.
#[derive(Debug, thiserror::Error)]
pub enum RunPageError {
    /// The log can't be opened.
    #[error("the log {path} can't be opened")]
    Open {
        /// The log.
        path: PathBuf,
        /// The error that the system reported.
        source: io::Error,
    },
    /// The log is none, or broken. The source names the line.
    #[error("{path}")]
    Log {
        /// The log.
        path: PathBuf,
        /// What is wrong, and in which line.
        source: LogError,
    },
    /// The log has a header and no round.
    #[error("{path}: line 2: the log has no rounds, so there is nothing to show")]
    NoRounds {
        /// The log.
        path: PathBuf,
    },
    /// The page can't be written.
    #[error("the page {path} can't be written")]
    Write {
        /// The page.
        path: PathBuf,
        /// The error that the system reported.
        source: io::Error,
    },
}

/// A page about a run.
#[derive(Debug)]
pub struct RunPage {
    /// The page.
    pub html: String,
    /// Number of the log's last line, from 1, if it was cut short and left out.
    pub torn_line: Option<u64>,
}

/// Make the page of a log. `interval` is the length of a round, for logs that don't record it.
pub fn run_page(path: &Path, interval: Option<Duration>) -> Result<RunPage, RunPageError> {
    let file = File::open(path).map_err(|source| RunPageError::Open { path: path.to_owned(), source })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let page = decompressed(file).map_err(|source| LogError::Read { line: 1, source });
    let page = page.and_then(|log| page_of(log, &name, interval));
    let page = page.map_err(|source| RunPageError::Log { path: path.to_owned(), source })?;
    page.ok_or_else(|| RunPageError::NoRounds { path: path.to_owned() })
}

/// A reader of a log, which may be compressed.
fn decompressed(file: File) -> io::Result<Box<dyn BufRead>> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];

    let mut file = BufReader::new(file);
    let is_gzip = file.fill_buf()?.starts_with(&GZIP);
    Ok(if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) })
}

/// Make the page of a log and write it. Returns the number of the log's last line if it was cut short and left out.
pub fn write_run_page(log: &Path, out: &Path, interval: Option<Duration>) -> Result<Option<u64>, RunPageError> {
    let page = run_page(log, interval)?;
    std::fs::write(out, page.html).map_err(|source| RunPageError::Write { path: out.to_owned(), source })?;
    Ok(page.torn_line)
}

/// The page of a log that is called `name`; `None` if it has no rounds.
pub(crate) fn page_of(log: impl BufRead, name: &str, interval: Option<Duration>) -> Result<Option<RunPage>, LogError> {
    let log = LogReader::new(log)?;
    let header = log.header.clone();
    let mut rounds = log.whole_rounds();
    let mut timeline = Timeline::new();
    for round in &mut rounds {
        timeline.add(round?);
    }
    if timeline.totals.rounds == 0 {
        return Ok(None);
    }
    let torn_line = rounds.torn_line;
    let clock = Clock { interval_s: interval_s(&header, interval) };
    let html = page::html(&page::Run { name, header: &header, timeline: &timeline, clock, torn_line });
    Ok(Some(RunPage { html, torn_line }))
}

/// The length of a round: the log's, if it has a usable one.
fn interval_s(header: &Header, otherwise: Option<Duration>) -> Option<f64> {
    let logged = header.interval_s.filter(|interval_s| (1e-3..=1e6).contains(interval_s));
    logged.or(otherwise.map(|interval| interval.as_secs_f64()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cell::{CellView, JudgedMove, Move, NodeId, Outcome, Payoff, Plan, Verdict};
    use crate::decision_log::{LogWriter, LoggedRound};
    use crate::policy::test_cell::{cell, group, node};

    /// A round in which others take half of node 0 and work uses .4 of it.
    pub(in crate::report::run) fn logged(round: u64) -> LoggedRound {
        let view = cell(vec![node(0, 1.0, 0.5), node(1, 1.0, 0.0)], vec![group(7, 0, 0.4)]);
        let calm = Outcome::BelowTrigger { pressure_cpus: 0.5, trigger_cpus: 0.6 };
        let verdicts = vec![Verdict { node: NodeId(0), outcome: calm }];
        LoggedRound { round, view, plan: Plan { first: Some(NodeId(1)), verdicts, ..Plan::default() }, observed: None }
    }

    /// A round that moves the work.
    pub(in crate::report::run) fn moving(round: u64) -> LoggedRound {
        let mut logged = logged(round);
        let view: &CellView = &logged.view;
        let group = view.groups[0].id;
        logged.plan.moves = vec![Move { group, from: NodeId(0), to: NodeId(1) }];
        logged.plan.verdicts[0].outcome = Outcome::Moves { moved_cpus: 0.4 };
        logged
    }

    /// The log of these rounds.
    fn log(header: &Header, rounds: impl IntoIterator<Item = LoggedRound>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut log = LogWriter::new(&mut bytes, header).unwrap();
        for round in rounds {
            log.append(round.round, &round.view, &round.plan, None).unwrap();
        }
        bytes
    }

    fn page(bytes: &[u8]) -> RunPage {
        page_of(bytes, "log.jsonl", None).unwrap().unwrap()
    }

    #[test]
    fn the_page_says_what_ran_where_and_what_moved_why_and_loads_nothing() {
        let header = Header { interval_s: Some(0.5), ..Header::new("coarse", None) };
        let page = page(&log(&header, [logged(1), moving(2), logged(3)]));
        let html = &page.html;
        for part in
            ["coarse", "1.50 s", "node 0", "node 1", "0 → 1: 1 group, 0.40 CPU", "others take 0.50 CPU of node 0"]
        {
            assert!(html.contains(part), "no {part} in\n{html}");
        }
        for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert_eq!(page.torn_line, None);
    }

    #[test]
    fn the_page_says_how_many_moves_paid() {
        let mut judging = logged(3);
        let it = |used_cpus, payoff| JudgedMove {
            group: judging.view.groups[0].id,
            from: NodeId(0),
            to: NodeId(1),
            age_rounds: 4.0,
            used_cpus,
            instead_cpus: 0.4,
            payoff,
        };
        judging.plan.judged = vec![it(0.9, Payoff::Gained), it(0.1, Payoff::Lost)];
        let html = page(&log(&Header::new("auto", None), [logged(1), moving(2), judging])).html;
        let tile =
            "<dt>moves that paid</dt><dd>1 of 2</dd><dd class=\"about\">of the moves that were judged; 0 made no \
                    difference, 1 lost; +0.20 CPU in all</dd>";
        assert!(html.contains(tile), "{html}");
        assert!(!page(&log(&Header::new("auto", None), [moving(1)])).html.contains("moves that paid"));
    }

    #[test]
    fn a_torn_last_line_is_told_and_left_out() {
        let mut bytes = log(&Header::new("fine", None), (1..=3).map(logged));
        bytes.truncate(bytes.len() - 9);
        let page = page(&bytes);
        assert_eq!(page.torn_line, Some(4));
        assert!(page.html.contains("Line 4 of the log is cut short"), "{}", page.html);
    }

    #[test]
    fn an_hour_on_64_nodes_is_a_page_of_a_few_megabytes() {
        let busy = |round: u64| {
            let nodes = (0..64).map(|id| node(id, 1.0, ((round * 7 + u64::from(id) * 13) % 97) as f64 / 100.0));
            let groups = (0..64).map(|id| group(id, id as u32, ((round * 5 + id * 11) % 89) as f64 / 100.0));
            let view = cell(nodes.collect(), groups.collect());
            let moves = (0..8).map(|at| Move {
                group: view.groups[at].id,
                from: NodeId(at as u32),
                to: NodeId(63 - at as u32),
            });
            let plan = Plan { moves: moves.collect(), ..Plan::default() };
            LoggedRound { round, view, plan, observed: None }
        };
        let html = page(&log(&Header::new("fine", None), (1..=7200).map(busy))).html;
        assert!(html.len() < 8 << 20, "{} bytes", html.len());
    }

    #[test]
    fn a_compressed_log_gives_the_same_page() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = log(&Header::new("fine", None), [logged(1), moving(2)]);
        let page_of_file = |bytes: &[u8]| {
            let path = folder.path().join("it.jsonl");
            std::fs::write(&path, bytes).unwrap();
            run_page(&path, None).unwrap().html
        };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &bytes).unwrap();
        assert_eq!(page_of_file(&gzip.finish().unwrap()), page_of_file(&bytes));
    }

    #[test]
    fn a_log_without_a_round_and_a_broken_one_are_errors_that_name_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let message = |bytes: &[u8]| {
            let path = folder.path().join("it.jsonl");
            std::fs::write(&path, bytes).unwrap();
            format!("{:#}", anyhow::Error::from(run_page(&path, None).unwrap_err()))
        };
        let whole = log(&Header::new("fine", None), [logged(1)]);
        let header = &whole[..=whole.iter().position(|&byte| byte == b'\n').unwrap()];
        let broken = [header, b"{\"round\": 1, \"view\": 7}\n", &whole[header.len()..]].concat();
        for (bytes, line) in [(&b""[..], "line 1: "), (header, "line 2: "), (&broken, "line 2: ")] {
            let message = message(bytes);
            assert!(message.contains(&format!("it.jsonl: {line}")), "{message}");
        }
        let missing = run_page(&folder.path().join("none.jsonl"), None).unwrap_err().to_string();
        assert!(missing.contains("none.jsonl can't be opened"), "{missing}");
    }

    #[test]
    fn a_policys_name_from_a_log_is_no_markup() {
        let header = Header::new("</script><script>alert(1)</script>", None);
        assert!(!page(&log(&header, [logged(1)])).html.contains("<script>alert"));
    }
}
