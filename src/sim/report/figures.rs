//! Figures 5-6 and 5-8 of the thesis, for a set of runs.

use super::chart::{lines, Frame, Line, WIDE};
use super::DrawError;
use crate::policy::PolicyName;
use crate::sim::result::RunResult;

/// One figure: its drawings and its caption.
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) drawings: Vec<String>,
    pub(super) caption: String,
}

impl Figure {
    pub(super) fn new(title: &str, drawings: Vec<String>, caption: &str) -> Figure {
        Figure { title: title.to_owned(), drawings, caption: caption.to_owned() }
    }
}

/// The runs of policies that move work.
fn movers(runs: &[RunResult]) -> impl Iterator<Item = &RunResult> {
    runs.iter().filter(|run| run.parameters.policy != PolicyName::NONE)
}

/// Maximum number of points of a line.
const MAX_POINTS: usize = 600;

/// A time series, in hours. If there are many rounds, several share a point: their mean, or the last value.
fn over_time(run: &RunResult, values: &[u64], mean: bool) -> Vec<(f64, f64)> {
    let step = values.len().div_ceil(MAX_POINTS).max(1);
    let interval_h = run.parameters.interval_s / 3600.0;
    let chunks = values.chunks(step).enumerate();
    chunks
        .map(|(at, chunk)| {
            let last = at * step + chunk.len();
            let value = match (mean, chunk.last()) {
                (true, _) => chunk.iter().map(|&value| value as f64).sum::<f64>() / chunk.len() as f64,
                (false, last) => last.map_or(0.0, |&value| value as f64),
            };
            (last as f64 * interval_h, value)
        })
        .collect()
}

fn scaled(points: Vec<(f64, f64)>, factor: f64) -> Vec<(f64, f64)> {
    points.into_iter().map(|(x, y)| (x, y * factor)).collect()
}

/// Figure 5-6: network traffic.
pub(super) fn network(runs: &[RunResult]) -> Result<Figure, DrawError> {
    let cumulative: Vec<Line> = movers(runs)
        .map(|run| {
            let mut sum = 0;
            let sums: Vec<u64> = run
                .rounds
                .bytes
                .iter()
                .map(|bytes| {
                    sum += bytes;
                    sum
                })
                .collect();
            Line::of_policy(&run.parameters.policy_label(), scaled(over_time(run, &sums, false), 1e-12))
        })
        .collect();
    let by_round: Vec<Line> = movers(runs)
        .map(|run| {
            let points = scaled(over_time(run, &run.rounds.bytes, true), 1e-9);
            Line::of_policy(&run.parameters.policy_label(), points)
        })
        .collect();
    let frame =
        |title, y_axis, stroke_px| Frame { title, x_axis: "time, h", y_axis, size: WIDE, from_zero: true, stroke_px };
    let drawings = vec![
        lines(&frame("Memory moved since the start", "TB", 2), &cumulative)?,
        lines(&frame("Memory moved in each rebalance", "GB", 1), &by_round)?,
    ];
    let caption = "Network cost of moves: assigned memory of the moved tasks. Without a policy there is none.";
    Ok(Figure::new("Network by policy", drawings, caption))
}

/// Figure 5-8: destinations, for the run of fine by memory, or else the first run of fine.
pub(super) fn destinations(runs: &[RunResult]) -> Result<Option<Figure>, DrawError> {
    let fine = || runs.iter().filter(|run| run.parameters.policy == PolicyName::FINE);
    let by_memory = fine().find(|run| run.parameters.policy_label() == "fine memory");
    let Some(run) = by_memory.or_else(|| fine().next()) else {
        return Ok(None);
    };
    let rounds = &run.rounds;
    let moved: Vec<u64> = rounds.to_first.iter().zip(&rounds.to_second).map(|(first, second)| first + second).collect();
    // These lines are not policies; they borrow looks for contrast.
    let line = |label: &str, look, values: &[u64]| Line {
        label: label.to_owned(),
        look: super::chart::look(look),
        points: over_time(run, values, true),
        intervals: Vec::new(),
        is_policy: false,
    };
    let all = [
        line("moved", "none", &moved),
        line("to the first destination", "fine memory", &rounds.to_first),
        line("to the second destination", "coarse", &rounds.to_second),
    ];
    let frame = Frame {
        title: "Tasks moved in each rebalance",
        x_axis: "time, h",
        y_axis: "tasks",
        size: WIDE,
        from_zero: true,
        stroke_px: 1,
    };
    let caption = format!(
        "Where {} sent tasks: {} to first destinations, {} to second ones.",
        run.parameters.policy_label(),
        rounds.to_first.iter().sum::<u64>(),
        rounds.to_second.iter().sum::<u64>()
    );
    Ok(Some(Figure::new("First and second destination", vec![lines(&frame, &all)?], &caption)))
}
