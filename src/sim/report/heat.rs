//! Heat map of machine utilisation over time. It is SVG without a chart library: rectangles in one colour scale, with
//! equal neighbours joined.

use std::fmt::Write;

use super::figures::Figure;
use crate::policy::PolicyName;
use crate::sim::result::RunResult;

const CELL_W: f64 = 3.6;
const CELL_H: f64 = 3.6;
const LEFT: f64 = 56.0;
const TOP: f64 = 30.0;
/// Number of levels in the scale: as many as the eye can distinguish, and few enough to keep the page small.
const LEVELS: u64 = 16;

/// Heat maps under no policy and under the policy with the lowest Gini coefficient.
pub(super) fn before_and_after(runs: &[RunResult]) -> Option<Figure> {
    let before = runs.iter().find(|run| run.parameters.policy == PolicyName::NONE);
    let movers = runs.iter().filter(|run| run.parameters.policy != PolicyName::NONE);
    let after = movers.min_by(|a, b| a.figures.gini.total_cmp(&b.figures.gini));
    let shown: Vec<&RunResult> = before.into_iter().chain(after).collect();
    if shown.is_empty() {
        return None;
    }
    let drawings = shown.iter().map(|run| svg(run)).collect();
    let machines = shown[0].heat.busy_cpu_ms.len();
    let caption = format!(
        "Utilisation of the first {machines} of {} machines over time: each row is a machine, every {} rows are a cell. \
         White is idle, black is fully used. A policy that balances load makes the rows of a cell similar. Shown: {}.",
        shown[0].parameters.machines,
        shown[0].parameters.cell,
        shown.iter().map(|run| run.parameters.policy_label()).collect::<Vec<_>>().join(", then ")
    );
    Some(Figure { title: "Utilisation by machine".to_owned(), drawings, caption })
}

fn svg(run: &RunResult) -> String {
    let rows = &run.heat.busy_cpu_ms;
    let bins = rows.first().map_or(0, Vec::len);
    let (plot_w, plot_h) = (bins as f64 * CELL_W, rows.len() as f64 * CELL_H);
    let (width, height) = (LEFT + plot_w + 20.0, TOP + plot_h + 44.0);
    let full_cpu_ms = run.length_s() * 1e3 / bins.max(1) as f64 * run.parameters.capacity;
    let mut svg = format!(
        "<svg width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"12\" shape-rendering=\"crispEdges\">\n\
         <text x=\"{:.0}\" y=\"18\" font-size=\"16\" text-anchor=\"middle\">{}</text>\n",
        LEFT + plot_w / 2.0,
        run.parameters.policy_label()
    );
    for (row, busy) in rows.iter().enumerate() {
        let levels: Vec<u64> = busy.iter().map(|&ms| level(ms as f64 / full_cpu_ms)).collect();
        let mut bin = 0;
        while bin < levels.len() {
            let len = levels[bin..].iter().take_while(|&&level| level == levels[bin]).count();
            if levels[bin] > 0 {
                // Writing to a String can't fail.
                let _ = write!(
                    svg,
                    "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{CELL_H}\" fill=\"{}\"/>",
                    LEFT + bin as f64 * CELL_W,
                    TOP + row as f64 * CELL_H,
                    len as f64 * CELL_W,
                    grey(levels[bin])
                );
            }
            bin += len;
        }
        svg.push('\n');
    }
    axes(&mut svg, run, plot_w, plot_h, rows.len());
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String, run: &RunResult, plot_w: f64, plot_h: f64, rows: usize) {
    let hours = run.length_s() / 3600.0;
    let bottom = TOP + plot_h;
    let _ = write!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{plot_w:.1}\" height=\"{plot_h:.1}\" fill=\"none\" stroke=\"#444\"/>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">time, h</text>\n\
         <text transform=\"translate(14 {:.0}) rotate(-90)\" text-anchor=\"middle\">machine</text>\n",
        LEFT + plot_w / 2.0,
        bottom + 34.0,
        TOP + plot_h / 2.0
    );
    for tick in 0..=4u32 {
        let share = f64::from(tick) / 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{:.0}</text>",
            LEFT + share * plot_w,
            bottom + 16.0,
            super::chart::number(share * hours),
            LEFT - 6.0,
            TOP + share * plot_h + 4.0,
            share * rows.saturating_sub(1) as f64
        );
    }
}

fn level(utilisation: f64) -> u64 {
    (utilisation * LEVELS as f64).round().clamp(0.0, LEVELS as f64) as u64
}

fn grey(level: u64) -> String {
    let shade = 255 - level * 255 / LEVELS;
    format!("#{shade:02x}{shade:02x}{shade:02x}")
}
