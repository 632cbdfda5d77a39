//! Tables of figures for people.

use std::fmt::Write;

use crate::sim::figures::Figures;
use crate::sim::models::ModelFigures;
use crate::sim::result::RunResult;

/// Align the columns: the first to the left, the others to the right.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Writing to a String can't fail.
            let _ = if column == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What `--json` prints of one run.
#[derive(serde::Serialize)]
struct AllFigures<'a> {
    #[serde(flatten)]
    figures: &'a Figures,
    #[serde(flatten)]
    models: &'a ModelFigures,
}

/// All figures of one run as JSON.
pub fn json(result: &RunResult) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&AllFigures { figures: &result.figures, models: &result.model_figures })
}

/// All figures of one run, one per line with its unit.
pub fn run(result: &RunResult) -> String {
    let figures = &result.figures;
    let mean = |value: Option<f64>, unit: &str| {
        value.map_or_else(|| "- (nothing finished)".to_owned(), |value| format!("{value:.4}{unit}"))
    };
    let rows = vec![
        ("policy", result.parameters.policy_label()),
        ("cpu_utilisation", format!("{:.6} of the cluster's CPU", figures.cpu_utilisation)),
        ("", format!("{:.6} would be the most", figures.cpu_utilisation_bound)),
        ("gini", format!("{:.6} (0: all machines alike)", figures.gini)),
        ("", format!("{:.6} would be the least inside cells", figures.gini_bound)),
        ("overcommit", format!("{:.6e} of the cluster's CPU", figures.overcommit)),
        ("duration_s", mean(figures.duration_s, " s from submission to end")),
        ("slowdown_p50", mean(figures.slowdown_p50, " times the task's work, or more: unfinished tasks count too")),
        ("slowdown_p90", mean(figures.slowdown_p90, "")),
        ("slowdown_p99", mean(figures.slowdown_p99, "")),
        ("migrations", figures.migrations.to_string()),
        ("migrated_bytes", format!("{:.5e} B", figures.migrated_bytes as f64)),
        ("network_bytes_per_s", format!("{:.5e} B/s", figures.network_bytes_per_s)),
        ("tasks", figures.tasks.to_string()),
        ("finished", figures.finished.to_string()),
    ];
    let of_models =
        result.model_figures.named().into_iter().map(|(name, value, unit)| (name, format!("{value:.4}{unit}")));
    rows.into_iter().chain(of_models).fold(String::new(), |text, (name, value)| text + &format!("{name:<20} {value}\n"))
}
