//! The chart: a row for the cell, a row for each node and a row for the bytes that moved, under one axis of time.
//!
//! Drawings have no text and are stretched to the width of the page; labels are HTML beside them.

use std::fmt::Write;

use super::points::Points;
use super::text::{self, Clock};
use super::timeline::{Bin, NodeBin, Timeline};
use crate::cell::NodeId;

/// Height of a drawing, in its own unit.
const FULL: f64 = 200.0;

/// The chart with its legend.
pub(super) fn html(timeline: &Timeline, clock: Clock) -> String {
    let mut html = legend(timeline);
    let lane = match timeline.nodes.len() {
        ..=4 => 72,
        5..=8 => 48,
        9..=16 => 32,
        _ => 18,
    };
    let nr_rows = timeline.nodes.len() + 2;
    // Writing to a String can't fail.
    let _ = writeln!(html, "<div class=\"chart\" style=\"--lane:{lane}px;--rows:{nr_rows}\">");
    row(&mut html, 1, "all nodes", "all", &cell_row(timeline), &cell_values(timeline));
    for (at, (&id, node)) in timeline.nodes.iter().enumerate() {
        let drawing = node_row(timeline, id);
        row(&mut html, at + 2, &format!("node {id}"), "node", &drawing, &node_values(&node.sums));
    }
    let moved = format!("{} in all", text::bytes(timeline.totals.moved.bytes));
    row(&mut html, nr_rows, "memory moved", "bytes", &bytes_row(timeline), &moved);
    axis(&mut html, nr_rows + 1, timeline, clock);
    overlay(&mut html, timeline);
    html.push_str("</div>\n<output class=\"at\"></output>\n");
    let points = serde_json::to_string(&Points::of(timeline, clock)).expect("BUG: it is plain data");
    // Within a script, only this could end it.
    let _ =
        writeln!(html, "<script type=\"application/json\" id=\"points\">{}</script>", points.replace('<', "\\u003c"));
    html
}

fn legend(timeline: &Timeline) -> String {
    let swatch = |class: &str, text: &str| format!("<span><i class=\"{class}\"></i>{text}</span>");
    let has_balance = timeline.totals.balanced > 0.0;
    let has = |event: fn(&NodeBin) -> bool| timeline.nodes.values().any(|node| event(&node.sums));
    let entries = [
        (true, "work", "migratable work"),
        (true, "rest", "rest of the guest"),
        (true, "others", "others on the host"),
        (true, "unknown", "pressure unknown"),
        (has(|node| node.limited > 0.0), "limit", "limit of the work"),
        (has_balance, "wanted", "wanted by the work"),
        (has_balance, "supply", "what the policy would give"),
        (has(|node| node.groups_out > 0), "went", "groups leave (above)"),
        (has(|node| node.groups_in > 0), "came", "groups come (below)"),
        (has(|node| node.hits > 0), "hit", "others' use jumps"),
    ];
    let shown: String = entries.iter().filter(|(has, ..)| *has).map(|(_, class, text)| swatch(class, text)).collect();
    format!("<p class=\"legend\">{shown}</p>\n")
}

/// A row: label, drawing, and the mean values, in place of which the script shows those under the pointer.
fn row(html: &mut String, at: usize, label: &str, class: &str, drawing: &str, values: &str) {
    let _ = writeln!(
        html,
        "<div class=\"label\" style=\"--r:{at}\">{label}</div><div class=\"lane {class}\" style=\"--r:{at}\">{drawing}</div>\
         <div class=\"value\" style=\"--r:{at}\">{values}</div>"
    );
}

fn cell_values(timeline: &Timeline) -> String {
    let totals = &timeline.totals;
    let sum = |of: fn(&NodeBin) -> f64| timeline.nodes.values().map(|node| of(&node.sums)).sum::<f64>();
    let per_round = |sum: f64| if totals.covered > 0.0 { sum / totals.covered } else { 0.0 };
    format!("mean: work {:.2} of {:.2} CPUs", per_round(sum(|node| node.work)), per_round(sum(|node| node.left)))
}

fn node_values(node: &NodeBin) -> String {
    if node.online <= 0.0 {
        return "no CPU online".to_owned();
    }
    let others = node.others_share().map_or("?".to_owned(), |share| format!("{:.0} %", 100.0 * share));
    format!("mean: work {:.2}, others {others}", node.work / node.online)
}

/// What work used of what others left, with what it wanted and what the policy would give.
fn cell_row(timeline: &Timeline) -> String {
    let bins = &timeline.bins;
    let values = |of: fn(&Bin) -> Option<f64>| bins.iter().map(of).collect::<Vec<_>>();
    let capacity: f64 = timeline.nodes.values().map(|node| node.sums.capacity_cpus).sum();
    let mut svg = String::new();
    path(&mut svg, "paper", &area(&vec![Some(FULL); bins.len()], 0.0, covered(timeline)));
    path(&mut svg, "others", &area(&scaled(&values(Bin::others_cpus), capacity, Side::Top), 0.0, covered(timeline)));
    path(&mut svg, "work", &area(&scaled(&values(Bin::work_cpus), capacity, Side::Bottom), FULL, covered(timeline)));
    path(&mut svg, "supply", &line(&scaled(&values(Bin::supply_cpus), capacity, Side::Bottom)));
    path(&mut svg, "wanted", &line(&scaled(&values(Bin::wanted_cpus), capacity, Side::Bottom)));
    drawing(timeline, &svg)
}

fn node_row(timeline: &Timeline, id: NodeId) -> String {
    let absent = NodeBin::default();
    let bins: Vec<&NodeBin> = timeline.bins.iter().map(|bin| bin.nodes.get(&id).unwrap_or(&absent)).collect();
    let capacity = timeline.nodes[&id].sums.capacity_cpus;
    let amounts = |of: fn(&NodeBin) -> f64| -> Vec<Option<f64>> {
        bins.iter().map(|node| (node.online > 0.0).then(|| of(node) / node.online)).collect()
    };
    let others: Vec<Option<f64>> = bins.iter().map(|node| Some(node.others_share()? * node.capacity_cpus)).collect();
    let known: Vec<Option<f64>> = bins.iter().map(|node| (node.known > 0.0).then_some(FULL)).collect();
    let absent: Vec<Option<f64>> = bins.iter().map(|node| (node.online <= 0.0).then_some(FULL)).collect();
    let limits: Vec<Option<f64>> = bins.iter().map(|node| node.limit_cpus).collect();
    let mut svg = String::new();
    path(&mut svg, "none", &area(&absent, 0.0, |_| true));
    path(&mut svg, "paper", &area(&known, 0.0, |_| true));
    path(&mut svg, "others", &area(&scaled(&others, capacity, Side::Top), 0.0, |_| true));
    path(
        &mut svg,
        "rest",
        &area(&scaled(&amounts(|node| node.work + node.rest), capacity, Side::Bottom), FULL, |_| true),
    );
    path(&mut svg, "work", &area(&scaled(&amounts(|node| node.work), capacity, Side::Bottom), FULL, |_| true));
    path(&mut svg, "limit", &line(&scaled(&limits, capacity, Side::Bottom)));
    path(&mut svg, "hit", &ticks(&bins, |node| node.hits > 0, "0v200"));
    path(&mut svg, "went", &ticks(&bins, |node| node.groups_out > 0, "0v60"));
    path(&mut svg, "came", &ticks(&bins, |node| node.groups_in > 0, "140v60"));
    drawing(timeline, &svg)
}

fn bytes_row(timeline: &Timeline) -> String {
    let largest = timeline.bins.iter().map(|bin| bin.moved_bytes).fold(0.0, f64::max);
    let bytes: Vec<Option<f64>> =
        timeline.bins.iter().map(|bin| (bin.moved_bytes > 0.0).then_some(bin.moved_bytes)).collect();
    let mut svg = String::new();
    path(&mut svg, "paper", &area(&vec![Some(FULL); bytes.len()], 0.0, covered(timeline)));
    path(&mut svg, "bytes", &area(&scaled(&bytes, largest, Side::Bottom), FULL, |_| true));
    drawing(timeline, &svg)
}

fn covered(timeline: &Timeline) -> impl Fn(usize) -> bool + '_ {
    |at| timeline.bins[at].covered > 0.0
}

/// The drawing of a row. One unit of x is a bin.
fn drawing(timeline: &Timeline, paths: &str) -> String {
    let width = length_bins(timeline);
    format!("<svg viewBox=\"0 0 {width:.3} {FULL}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{paths}</svg>")
}

/// The length of the run. A run of empty windows has none, and is drawn as one bin.
fn length_bins(timeline: &Timeline) -> f64 {
    let length = timeline.end() / timeline.bin_rounds;
    if length > 0.0 {
        length
    } else {
        1.0
    }
}

#[derive(Clone, Copy)]
enum Side {
    Top,
    Bottom,
}

/// Amounts as edges of an area that begins at this side, y downwards.
fn scaled(amounts: &[Option<f64>], whole: f64, side: Side) -> Vec<Option<f64>> {
    let share = |amount: f64| if whole > 0.0 { (amount / whole).clamp(0.0, 1.0) } else { 0.0 };
    let edge = |amount: f64| match side {
        Side::Top => FULL * share(amount),
        Side::Bottom => FULL * (1.0 - share(amount)),
    };
    amounts.iter().map(|amount| amount.map(|amount| edge(amount).round())).collect()
}

/// The outline between the edges and `base`, in steps, with a gap where there is no edge.
fn area(edges: &[Option<f64>], base: f64, is_shown: impl Fn(usize) -> bool) -> String {
    let edges: Vec<Option<f64>> =
        edges.iter().enumerate().map(|(at, edge)| edge.filter(|&edge| is_shown(at) && edge != base)).collect();
    stretches(&edges, |path, (from, to)| {
        let _ = write!(path, "M{from} {base}");
        steps(path, &edges[from..to], from);
        let _ = write!(path, "V{base}Z");
    })
}

/// The edges as a line, with a gap where there is none.
fn line(edges: &[Option<f64>]) -> String {
    stretches(edges, |path, (from, to)| {
        let _ = write!(path, "M{from} {}", edges[from].unwrap_or_default());
        steps(path, &edges[from..to], from);
    })
}

fn stretches(edges: &[Option<f64>], add: impl Fn(&mut String, (usize, usize))) -> String {
    let mut path = String::new();
    let mut from = 0;
    for stretch in edges.chunk_by(|a, b| a.is_some() == b.is_some()) {
        let to = from + stretch.len();
        if stretch[0].is_some() {
            add(&mut path, (from, to));
        }
        from = to;
    }
    path
}

/// `V40H3V50H4`: to each edge and along it.
fn steps(path: &mut String, edges: &[Option<f64>], from: usize) {
    let mut at = from;
    for alike in edges.chunk_by(|a, b| a == b) {
        at += alike.len();
        let _ = write!(path, "V{}H{at}", alike[0].unwrap_or_default());
    }
}

/// Upright marks in the middle of the bins in which something happened.
fn ticks(bins: &[&NodeBin], happened: impl Fn(&NodeBin) -> bool, upright: &str) -> String {
    let marked = bins.iter().enumerate().filter(|(_, node)| happened(node));
    marked.map(|(at, _)| format!("M{at}.5 {upright}")).collect()
}

fn path(svg: &mut String, class: &str, path: &str) {
    if !path.is_empty() {
        let _ = write!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }
}

fn axis(html: &mut String, at: usize, timeline: &Timeline, clock: Clock) {
    let marks = clock.marks(timeline.end());
    let mark = |(nr, (share, label)): (usize, &(f64, String))| {
        let (minor, last) = (if nr % 2 == 1 { "minor" } else { "" }, if *share > 0.97 { "last" } else { "" });
        format!("<span class=\"{minor} {last}\" style=\"left:{:.2}%\">{label}</span>", 100.0 * share)
    };
    let marks: String = marks.iter().enumerate().map(mark).collect();
    let unit = if clock.interval_s.is_some() { "time" } else { "rounds" };
    let _ = writeln!(
        html,
        "<div class=\"label axis-label\" style=\"--r:{at}\">{unit}</div><div class=\"axis\" style=\"--r:{at}\">{marks}</div>"
    );
}

/// What lies above the drawings: marks where the class was loaded again, and the cursor, which the script moves.
fn overlay(html: &mut String, timeline: &Timeline) {
    let end = timeline.end();
    let reload = |at: &f64| format!("<i class=\"reload\" style=\"left:{:.2}%\"></i>", 100.0 * at / end);
    let reloads: String = timeline.reloads.iter().filter(|_| end > 0.0).map(reload).collect();
    let _ = writeln!(
        html,
        "<div class=\"overlay\" role=\"slider\" tabindex=\"0\" aria-label=\"Time\" aria-valuemin=\"0\" aria-valuemax=\"{}\" \
         aria-valuenow=\"0\" aria-describedby=\"keys\">{reloads}<i class=\"cursor\" hidden></i></div>",
        timeline.bins.len().saturating_sub(1)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_follows_its_edges_in_steps_and_leaves_gaps() {
        let edges = [Some(40.0), Some(40.0), None, Some(10.0), Some(20.0)];
        assert_eq!(area(&edges, FULL, |_| true), "M0 200V40H2V200ZM3 200V10H4V20H5V200Z");
        assert_eq!(line(&edges), "M0 40V40H2M3 10V10H4V20H5");
        assert_eq!(area(&[Some(FULL), None], FULL, |_| true), "", "nothing is no area");
    }

    #[test]
    fn amounts_beyond_the_capacity_stay_in_the_row() {
        let amounts = [Some(0.5), Some(3.0), None];
        assert_eq!(scaled(&amounts, 2.0, Side::Bottom), [Some(150.0), Some(0.0), None]);
        assert_eq!(scaled(&amounts, 2.0, Side::Top), [Some(50.0), Some(200.0), None]);
        assert_eq!(scaled(&amounts, 0.0, Side::Top), [Some(0.0), Some(0.0), None]);
    }
}
