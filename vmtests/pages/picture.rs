//! A record as a picture: pages that each node received, over time, with the phases; and the matrix of nodes.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use vnuma_dsm::Record;

use crate::picture::{Area, NODE_COLOURS};

const SIZE: (u32, u32) = (1100, 460);
const CHART_WIDTH: i32 = 760;
/// The matrix: its upper left corner, and its side.
const MATRIX: (i32, i32, i32) = (830, 120, 240);
const LEGEND_Y: i32 = 410;
/// The room for lines in the chart, and for a letter of a phase's name, pixels. A phase that is too short has no label.
const LINES_WIDTH: f64 = 648.0;
const LETTER_WIDTH: f64 = 7.5;

/// Returns the picture as SVG.
pub fn draw(record: &Record) -> Result<String> {
    let mut svg = String::new();
    {
        let page = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        page.fill(&WHITE)?;
        let (chart, _) = page.split_horizontally(CHART_WIDTH);
        draw_seconds(&chart, record)?;
        draw_matrix(&page, &travelled(record))?;
        draw_legend(&page, record.total.counts.upgrades.len())?;
        page.present()?;
    }
    Ok(svg)
}

/// Pages that each node received in each second, at the second's end.
fn received(record: &Record) -> Vec<Vec<(f64, f64)>> {
    let nr_nodes = record.total.counts.upgrades.len();
    let of_node = |node: usize| {
        let second = |second: &vnuma_dsm::Second| {
            let pages: u64 = second.transfers.iter().map(|to| to[node]).sum();
            (second.until_s, pages as f64)
        };
        record.seconds.iter().map(second).collect()
    };
    (0..nr_nodes).map(of_node).collect()
}

/// Pages that travelled in the whole run, by the node that they came from, then by the node that they went to.
fn travelled(record: &Record) -> Vec<Vec<u64>> {
    let counts = &record.total.counts;
    let rows = counts.reads.iter().zip(&counts.writes);
    rows.map(|(reads, writes)| reads.iter().zip(writes).map(|(reads, writes)| reads + writes).collect()).collect()
}

fn draw_seconds(area: &Area, record: &Record) -> Result<()> {
    let lines = received(record);
    let end_s = record.phases.last().map_or(0.0, |phase| phase.to_s).max(1.0);
    let most = lines.iter().flatten().map(|(_, pages)| *pages).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption("Pages that each node receives, a second", ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(80)
        // Room for the names of the phases.
        .build_cartesian_2d(0.0..end_s, 0.0..most * 1.3)?;
    let whole = |number: &f64| format!("{number:.0}");
    let mut mesh = chart.configure_mesh();
    mesh.max_light_lines(1).x_label_formatter(&whole).y_label_formatter(&whole);
    mesh.x_desc("seconds since the start").y_desc("pages").draw()?;
    for phase in &record.phases {
        let edge = [(phase.from_s, 0.0), (phase.from_s, most * 1.3)];
        chart.draw_series([PathElement::new(edge, BLACK.mix(0.35))])?;
        let width = LINES_WIDTH * (phase.to_s - phase.from_s) / end_s;
        if width >= LETTER_WIDTH * phase.name.chars().count() as f64 {
            let middle = (phase.from_s + phase.to_s) / 2.0;
            chart.draw_series([Text::new(phase.name.clone(), (middle, most * 1.26), centred(13))])?;
        }
    }
    for (node, line) in lines.into_iter().enumerate() {
        chart.draw_series(LineSeries::new(line, colour(node).stroke_width(2)))?;
    }
    Ok(())
}

/// The colour of each node, below the matrix.
fn draw_legend(page: &Area, nr_nodes: usize) -> Result<()> {
    let (left, _, side) = MATRIX;
    for node in 0..nr_nodes {
        let x = left + side * node as i32 / nr_nodes as i32;
        page.draw(&Rectangle::new([(x, LEGEND_Y - 6), (x + 12, LEGEND_Y + 6)], colour(node).filled()))?;
        let label = if nr_nodes <= 4 { format!("node {node}") } else { node.to_string() };
        let middle = x + 16 + label.len() as i32 * 4;
        write(page, &label, (middle, LEGEND_Y), &centred(13))?;
    }
    Ok(())
}

/// A square for each pair of nodes, the darker the more pages, with their number.
fn draw_matrix(page: &Area, pages: &[Vec<u64>]) -> Result<()> {
    let (left, top, side) = MATRIX;
    let nr_nodes = pages.len().max(1) as i32;
    let most = pages.iter().flatten().copied().max().unwrap_or(0).max(1);
    write(page, "Pages from node to node, whole run", (left + side / 2, 40), &centred(18))?;
    write(page, "to", (left + side / 2, top - 40), &centred(14))?;
    write(page, "from", (left - 46, top + side / 2), &centred(14))?;
    let edge = |node: i32| side * node / nr_nodes;
    for (from, row) in (0..).zip(pages) {
        write(page, &from.to_string(), (left - 14, top + (edge(from) + edge(from + 1)) / 2), &centred(14))?;
        write(page, &from.to_string(), (left + (edge(from) + edge(from + 1)) / 2, top - 14), &centred(14))?;
        for (to, pages) in (0..).zip(row) {
            let share = *pages as f64 / most as f64;
            let corners = [(left + edge(to), top + edge(from)), (left + edge(to + 1) - 2, top + edge(from + 1) - 2)];
            page.draw(&Rectangle::new(corners, NODE_COLOURS[0].mix(0.06 + 0.74 * share).filled()))?;
            let middle = ((corners[0].0 + corners[1].0) / 2, (corners[0].1 + corners[1].1) / 2);
            let ink = if share > 0.8 { WHITE } else { BLACK };
            if from != to && nr_nodes <= 8 {
                write(page, &short(*pages), middle, &centred(13).color(&ink))?;
            }
        }
    }
    Ok(())
}

/// A count in up to four characters.
fn short(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}k", (count + 500) / 1000),
        _ => format!("{}M", (count + 500_000) / 1_000_000),
    }
}

fn write(page: &Area, text: &str, at: (i32, i32), style: &TextStyle) -> Result<()> {
    page.draw(&Text::new(text.to_string(), at, style.clone()))?;
    Ok(())
}

fn centred(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&RGBColor(30, 30, 30)).pos(Pos::new(HPos::Center, VPos::Center))
}

fn colour(node: usize) -> RGBColor {
    NODE_COLOURS[node % NODE_COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use vnuma_dsm::{Counts, Second, Span};

    fn record() -> Record {
        let second = |until_s, transfers| Second { until_s, transfers, upgrades: vec![0; 2] };
        let counts =
            Counts { reads: vec![vec![0, 5], vec![3, 0]], writes: vec![vec![0, 2], vec![0, 0]], ..Counts::none(2) };
        Record {
            total: Span { counts, ..Span::default() },
            seconds: vec![second(1.0, vec![vec![0, 7], vec![1, 0]]), second(2.0, vec![vec![0, 0], vec![2, 0]])],
            ..Record::default()
        }
    }

    #[test]
    fn a_line_has_what_its_node_received() {
        assert_eq!(received(&record()), [[(1.0, 1.0), (2.0, 2.0)], [(1.0, 7.0), (2.0, 0.0)]]);
        assert_eq!(travelled(&record()), [[0, 7], [3, 0]]);
    }

    #[test]
    fn records_are_drawn_even_if_nothing_was_recorded() {
        assert!(draw(&record()).unwrap().contains("node 1"));
        assert!(draw(&Record::default()).unwrap().starts_with("<svg"));
    }

    #[test]
    fn counts_are_short() {
        assert_eq!([9_999, 10_499, 999_499, 12_345_678].map(short), ["9999", "10k", "999k", "12M"]);
    }
}
