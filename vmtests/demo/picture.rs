//! The record as a picture: two columns with the same axes, under Linux alone and with the scheduler.
//!
//! Each node has a lane in which the CPU of its host is divided up: from below what the guest got, and what it wanted while its
//! host ran a hog; from above what a hog got that took nothing from the guest. Labels name nodes and hogs, so no information is
//! in the colours alone.

use std::ops::Range;

use anyhow::Result;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::record::{NodeSecond, Phase};
use super::summary::{Comparison, Summary};
use crate::picture::{Area, NODE_COLOURS};

type Lane<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

const STOLEN: RGBColor = RGBColor(75, 75, 75);
const HOG: RGBColor = RGBColor(205, 205, 205);
/// The rest of the guest has the node's colour, this much of it.
const REST_OPACITY: f64 = 0.35;

// The page, in pixels from its upper left corner.
const SIZE: (u32, u32) = (1100, 640);
const TITLE_Y: i32 = 26;
const LEGEND_Y: i32 = 62;
const COLUMN_TITLE_Y: i32 = 100;
const LANES_Y: Range<i32> = 136..520;
/// Above each lane: the hogs' labels.
const LANE_GAP: i32 = 24;
const X_LABELS_HEIGHT: i32 = 22;
const SUMMARY_Y: i32 = 582;
const NOTE_Y: i32 = 618;
/// Where the two columns' lanes are.
const COLUMNS_X: [Range<i32>; 2] = [110..578, 618..1086];
const Y_LABELS_WIDTH: i32 = 34;

/// Returns the picture as SVG.
pub fn draw(alone: &Phase, with: &Phase, comparison: &Comparison) -> Result<String> {
    let mut svg = String::new();
    {
        let page = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        page.fill(&WHITE)?;
        write(&page, "Work fills the idle hosts and leaves the busy ones", (SIZE.0 as i32 / 2, TITLE_Y), &bold(22))?;
        draw_legend(&page, with.nr_nodes())?;
        let end_s = alone.lasted_s().max(with.lasted_s());
        for (phase, x) in [alone, with].into_iter().zip(COLUMNS_X) {
            draw_column(&page, phase, &x, end_s)?;
        }
        draw_axis_titles(&page)?;
        draw_summaries(&page, comparison)?;
        page.present()?;
    }
    Ok(svg)
}

fn draw_column(page: &Area, phase: &Phase, x: &Range<i32>, end_s: f64) -> Result<()> {
    write(page, phase.title, ((x.start + x.end) / 2, COLUMN_TITLE_Y), &bold(18))?;
    let nr_nodes = phase.nr_nodes();
    for node in 0..nr_nodes {
        let y = lane_y(node, nr_nodes);
        let labels_height = if node + 1 == nr_nodes { X_LABELS_HEIGHT } else { 0 };
        draw_lane(&lane_area(page, x, &y, labels_height), phase, node, end_s)?;
        label_hogs(page, phase, node, end_s, (x, &y))?;
        if *x == COLUMNS_X[0] {
            write(page, &format!("node {node}"), (x.start - Y_LABELS_WIDTH - 4, (y.start + y.end) / 2), &right(15))?;
        }
    }
    Ok(())
}

fn lane_y(node: usize, nr_nodes: usize) -> Range<i32> {
    let pitch = (LANES_Y.end - LANES_Y.start + LANE_GAP) / nr_nodes as i32;
    let top = LANES_Y.start + node as i32 * pitch;
    top..top + pitch - LANE_GAP
}

/// The lane, with the room for its labels to the left and below.
fn lane_area<'a>(page: &Area<'a>, x: &Range<i32>, y: &Range<i32>, labels_height: i32) -> Area<'a> {
    let width = (x.end - x.start + Y_LABELS_WIDTH) as u32;
    let height = (y.end - y.start + labels_height) as u32;
    page.clone().shrink((x.start - Y_LABELS_WIDTH, y.start), (width, height))
}

fn draw_lane(area: &Area, phase: &Phase, node: usize, end_s: f64) -> Result<()> {
    let labels_height = area.dim_in_pixel().1 as i32 - (lane_y(0, phase.nr_nodes()).end - LANES_Y.start);
    let mut lane: Lane = ChartBuilder::on(area)
        .set_label_area_size(LabelAreaPosition::Left, Y_LABELS_WIDTH)
        .set_label_area_size(LabelAreaPosition::Bottom, labels_height)
        .build_cartesian_2d(0.0..end_s, 0.0..100.0)?;
    let colour = colour(node);
    let (solid, pale) = (colour.filled(), colour.mix(REST_OPACITY).filled());
    let mut band = |style: ShapeStyle, edges: fn(&Division) -> Range<f64>| -> Result<()> {
        let edge = |at: fn(Range<f64>) -> f64| {
            let corners = phase.seconds.iter().flat_map(move |second| {
                let percent = 100.0 * at(edges(&Division::of(&second.nodes[node])));
                [second.from_s, second.to_s].map(|at_s| (at_s, percent))
            });
            corners.collect::<Vec<_>>()
        };
        let outline = [edge(|edges| edges.end), edge(|edges| edges.start).into_iter().rev().collect()].concat();
        lane.draw_series([Polygon::new(outline, style)])?;
        Ok(())
    };
    band(solid, |division| 0.0..division.work)?;
    band(pale, |division| division.work..division.guest)?;
    band(STOLEN.filled(), |division| division.guest..division.wanted)?;
    band(HOG.filled(), |division| division.hog..1.0)?;
    lane.configure_mesh()
        .disable_mesh()
        .y_labels(3)
        .x_labels(if labels_height > 0 { 6 } else { 0 })
        .label_style(font(13))
        .x_label_formatter(&|at_s| format!("{at_s:.0}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()?;
    Ok(())
}

/// The edges at which a host's CPU is divided up within a second, shares from below, each 0..=1 and not below the one before.
#[derive(Debug, PartialEq)]
struct Division {
    /// Above the migratable work.
    work: f64,
    /// Above the rest of the guest.
    guest: f64,
    /// Above what was stolen from the guest.
    wanted: f64,
    /// Below what a hog got without taking it from the guest.
    hog: f64,
}

impl Division {
    /// Ticks are coarse, so the parts may add up to slightly more than the CPU.
    fn of(node: &NodeSecond) -> Self {
        let work = node.work_cpus.clamp(0.0, 1.0);
        let guest = (work + node.other_cpus).min(1.0);
        let wanted = (guest + node.stolen_cpus).min(1.0);
        let undisturbed = (node.hog_cpus - node.stolen_cpus).max(0.0);
        Division { work, guest, wanted, hog: (1.0 - undisturbed).max(wanted) }
    }
}

/// A line with a label above each stretch with a hog.
fn label_hogs(page: &Area, phase: &Phase, node: usize, end_s: f64, (x, y): (&Range<i32>, &Range<i32>)) -> Result<()> {
    for stretch in phase.hogged(node) {
        let pixel = |at_s: f64| x.start + (f64::from(x.end - x.start) * at_s / end_s).round() as i32;
        let (from, to) = (pixel(stretch.from_s), pixel(stretch.to_s));
        page.draw(&Rectangle::new([(from, y.start - 4), (to, y.start - 2)], BLACK.filled()))?;
        write(page, &format!("hog on host {node}"), ((from + to) / 2, y.start - 12), &centred(13))?;
    }
    Ok(())
}

fn draw_legend(page: &Area, nr_nodes: usize) -> Result<()> {
    let mut x = COLUMNS_X[0].start;
    let mut swatches = |colours: &mut dyn Iterator<Item = RGBAColor>, text: &str, width: i32| -> Result<()> {
        for colour in colours {
            page.draw(&Rectangle::new([(x, LEGEND_Y - 7), (x + 14, LEGEND_Y + 7)], colour.filled()))?;
            x += 16;
        }
        write(page, text, (x + 4, LEGEND_Y), &left(15))?;
        x += width;
        Ok(())
    };
    swatches(&mut (0..nr_nodes).map(|node| colour(node).to_rgba()), "migratable work", 150)?;
    swatches(&mut (0..1).map(|node| colour(node).mix(REST_OPACITY)), "rest of the guest", 155)?;
    swatches(&mut [STOLEN.to_rgba()].into_iter(), "hog, while the guest waits (stolen)", 278)?;
    swatches(&mut [HOG.to_rgba()].into_iter(), "hog, undisturbed", 0)
}

fn draw_axis_titles(page: &Area) -> Result<()> {
    let upright = left(15).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Center));
    write(page, "CPU of the node's host, %", (16, (LANES_Y.start + LANES_Y.end) / 2), &upright)?;
    for column in COLUMNS_X {
        let middle = (column.start + column.end) / 2;
        write(page, "seconds", (middle, LANES_Y.end + X_LABELS_HEIGHT + 8), &centred(15))?;
    }
    Ok(())
}

fn draw_summaries(page: &Area, comparison: &Comparison) -> Result<()> {
    let work = comparison.work().map_or(String::new(), |ratio| format!(", {ratio:.2} times the work"));
    for ((summary, work), x) in [(&comparison.alone, ""), (&comparison.with, &work)].into_iter().zip(COLUMNS_X) {
        write(page, &sentence(summary, work), ((x.start + x.end) / 2, SUMMARY_Y), &bold(16))?;
    }
    let stolen = format!(
        "CPU-seconds stolen from the guest: {:.1} and {:.1}. ",
        comparison.alone.stolen_cpu_s, comparison.with.stolen_cpu_s
    );
    let more = if comparison.linux_does_more() {
        "Linux alone does more work because it takes half of each busy host. "
    } else {
        ""
    };
    let note = stolen + more + "CPUs are emulated: only ratios count.";
    write(page, &note, (SIZE.0 as i32 / 2, NOTE_Y), &centred(14))
}

fn sentence(summary: &Summary, work: &str) -> String {
    let hogs = summary
        .hogs_share
        .map_or("no hogs".to_string(), |share| format!("The hogs get {:.0} % of their hosts' CPU", 100.0 * share));
    format!("{hogs}{work}")
}

fn write(page: &Area, text: &str, at: (i32, i32), style: &TextStyle) -> Result<()> {
    page.draw(&Text::new(text.to_string(), at, style.clone()))?;
    Ok(())
}

fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&RGBColor(30, 30, 30))
}

fn left(size: i32) -> TextStyle<'static> {
    font(size).pos(Pos::new(HPos::Left, VPos::Center))
}

fn right(size: i32) -> TextStyle<'static> {
    font(size).pos(Pos::new(HPos::Right, VPos::Center))
}

fn centred(size: i32) -> TextStyle<'static> {
    font(size).pos(Pos::new(HPos::Center, VPos::Center))
}

fn bold(size: i32) -> TextStyle<'static> {
    let font = ("sans-serif", size).into_font().style(FontStyle::Bold);
    font.color(&BLACK).pos(Pos::new(HPos::Center, VPos::Center))
}

fn colour(node: usize) -> RGBColor {
    NODE_COLOURS[node % NODE_COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_divided_among_the_work_the_guest_and_the_hog() {
        let node = NodeSecond {
            work_cpus: 0.25,
            other_cpus: 0.125,
            stolen_cpus: 0.125,
            hog_cpus: 0.5,
            ..NodeSecond::default()
        };
        assert_eq!(Division::of(&node), Division { work: 0.25, guest: 0.375, wanted: 0.5, hog: 0.625 });
    }

    #[test]
    fn ticks_that_add_up_to_more_than_the_cpu_stay_in_the_lane() {
        let node =
            NodeSecond { work_cpus: 1.02, other_cpus: 0.05, stolen_cpus: 0.1, hog_cpus: 0.3, ..NodeSecond::default() };
        assert_eq!(Division::of(&node), Division { work: 1.0, guest: 1.0, wanted: 1.0, hog: 1.0 });
    }
}
