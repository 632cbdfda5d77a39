//! The record as a picture: two columns with the same axes, without and with the scheduler.
//!
//! Each node has a lane for the time stolen from it. Below, its colour shows the share of the work done there.
//! Position and labels carry the same information as the colours.

use std::ops::Range;

use anyhow::Result;
use plotters::coord::types::RangedCoordf64;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::record::{Decision, Phase, Second, Stretch};
use super::summary::Comparison;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Panel<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Okabe and Ito's palette, safe for colour-blind readers, by node.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(240, 228, 66),
    RGBColor(110, 110, 110),
];
const HOGGED: RGBColor = RGBColor(222, 222, 222);

// The page, in pixels from its upper left corner.
const SIZE: (u32, u32) = (1100, 620);
const TITLE_Y: i32 = 24;
const LEGEND_Y: i32 = 56;
const COLUMN_TITLE_Y: i32 = 90;
/// Two rows, for decisions that are close together.
const DECISION_YS: [i32; 2] = [116, 102];
const LANES_Y: Range<i32> = 126..352;
const SHARES_Y: Range<i32> = 376..506;
const X_LABELS_HEIGHT: i32 = 22;
const SUMMARY_Y: i32 = 568;
/// Where the two columns' panels are.
const COLUMNS_X: [Range<i32>; 2] = [110..578, 618..1086];
const Y_LABELS_WIDTH: i32 = 34;
const LANE_GAP: i32 = 16;

/// Width of a decision's label.
const DECISION_WIDTH: i32 = 42;
/// Stretches shorter than this have no room for their label.
const LABELLED_STRETCH_S: f64 = 4.0;

/// Returns the picture as SVG.
pub fn draw(without: &Phase, with: &Phase, comparison: &Comparison) -> Result<String> {
    let mut svg = String::new();
    {
        let page = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        page.fill(&WHITE)?;
        write(&page, "A hog follows the work from host to host", (SIZE.0 as i32 / 2, TITLE_Y), &bold(22))?;
        draw_legend(&page, with.nr_nodes())?;
        let axes = Axes {
            end_s: without.lasted_s().max(with.lasted_s()),
            stolen_percent: 100.0 * whole_cpus(without.most_stolen_cpus().max(with.most_stolen_cpus())),
        };
        for (phase, x) in [without, with].into_iter().zip(COLUMNS_X) {
            draw_column(&page, phase, x, &axes)?;
        }
        draw_axis_titles(&page)?;
        draw_summary(&page, comparison)?;
        page.present()?;
    }
    Ok(svg)
}

/// What both columns have in common.
struct Axes {
    end_s: f64,
    stolen_percent: f64,
}

/// A value slightly above a whole number is due to the rounding of clock ticks, and does not extend the axis.
fn whole_cpus(cpus: f64) -> f64 {
    (cpus - 0.15).ceil().max(1.0)
}

fn draw_column(page: &Area, phase: &Phase, x: Range<i32>, axes: &Axes) -> Result<()> {
    write(page, phase.title, ((x.start + x.end) / 2, COLUMN_TITLE_Y), &bold(18))?;
    let nr_nodes = phase.nr_nodes();
    let lane_height = (LANES_Y.end - LANES_Y.start + LANE_GAP) / nr_nodes as i32;
    for node in 0..nr_nodes {
        let top = LANES_Y.start + node as i32 * lane_height;
        let area = panel_area(page, &x, &(top..top + lane_height - LANE_GAP), 0);
        draw_lane(&area, phase, node, axes)?;
        if x == COLUMNS_X[0] {
            let middle = top + (lane_height - LANE_GAP) / 2;
            write(page, &format!("node {node}"), (x.start - Y_LABELS_WIDTH, middle), &right(15))?;
        }
    }
    let area = panel_area(page, &x, &SHARES_Y, X_LABELS_HEIGHT);
    draw_shares(&area, phase, axes)?;
    draw_decisions(page, phase, &x, axes)
}

/// The panel, with the room for its labels to the left and below.
fn panel_area<'a>(page: &Area<'a>, x: &Range<i32>, y: &Range<i32>, labels_height: i32) -> Area<'a> {
    let width = (x.end - x.start + Y_LABELS_WIDTH) as u32;
    let height = (y.end - y.start + labels_height) as u32;
    page.clone().shrink((x.start - Y_LABELS_WIDTH, y.start), (width, height))
}

/// The time stolen from a node. The background is grey while a hog ran on its host.
fn draw_lane(area: &Area, phase: &Phase, node: usize, axes: &Axes) -> Result<()> {
    // Leave room for the label above the highest possible value.
    let top = 1.3 * axes.stolen_percent;
    let mut lane = ChartBuilder::on(area)
        .set_label_area_size(LabelAreaPosition::Left, Y_LABELS_WIDTH)
        .build_cartesian_2d(0.0..axes.end_s, 0.0..top)?;
    for Stretch { from_s, to_s, .. } in phase.hogged().into_iter().filter(|stretch| stretch.node as usize == node) {
        lane.draw_series([Rectangle::new([(from_s, 0.0), (to_s, top)], HOGGED.filled())])?;
        if to_s - from_s >= LABELLED_STRETCH_S {
            // The label is at the end of the hog, because decisions are near the beginning.
            let at = (to_s - 0.4, top * 0.87);
            lane.draw_series([Text::new(format!("hog on host {node}"), at, right(13))])?;
        }
    }
    let percents = steps(phase, |second| (100.0 * second.stolen_cpus[node]).min(axes.stolen_percent));
    let colour = colour(node);
    lane.draw_series(AreaSeries::new(percents, 0.0, colour.mix(0.45)).border_style(colour.stroke_width(2)))?;
    lane.configure_mesh()
        .disable_mesh()
        .y_labels(2)
        .x_labels(0)
        .y_label_style(font(13))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()?;
    Ok(())
}

/// The share of the migratable work on each node, stacked from node 0 up.
fn draw_shares(area: &Area, phase: &Phase, axes: &Axes) -> Result<()> {
    let mut panel: Panel = ChartBuilder::on(area)
        .set_label_area_size(LabelAreaPosition::Left, Y_LABELS_WIDTH)
        .set_label_area_size(LabelAreaPosition::Bottom, X_LABELS_HEIGHT)
        .build_cartesian_2d(0.0..axes.end_s, 0.0..100.0)?;
    for node in 0..phase.nr_nodes() {
        let lower = steps(phase, |second| share_below(second, node));
        let upper = steps(phase, |second| share_below(second, node + 1));
        let outline: Vec<_> = upper.chain(lower.collect::<Vec<_>>().into_iter().rev()).collect();
        panel.draw_series([Polygon::new(outline, colour(node).filled())])?;
    }
    for Stretch { node, from_s, to_s } in phase.busiest() {
        if to_s - from_s >= LABELLED_STRETCH_S {
            let style = centred(15).color(text_colour_on(colour(node as usize)));
            panel.draw_series([Text::new(format!("node {node}"), ((from_s + to_s) / 2.0, 50.0), style)])?;
        }
    }
    panel
        .configure_mesh()
        .disable_mesh()
        .y_labels(3)
        .x_labels(6)
        .label_style(font(13))
        .x_label_formatter(&|at_s| format!("{at_s:.0}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()?;
    Ok(())
}

/// The share of the migratable work done on the nodes stacked below this one, %.
fn share_below(second: &Second, node: usize) -> f64 {
    second.shares().map_or(0.0, |shares| 100.0 * shares[..node].iter().sum::<f64>())
}

/// The corners of a line that is constant within each second.
fn steps<'a>(phase: &'a Phase, value: impl Fn(&Second) -> f64 + 'a) -> impl Iterator<Item = (f64, f64)> + 'a {
    phase.seconds.iter().flat_map(move |second| [second.from_s, second.to_s].map(|at_s| (at_s, value(second))))
}

/// A dashed line through both panels for each decision, in the middle of its second.
fn draw_decisions(page: &Area, phase: &Phase, x: &Range<i32>, axes: &Axes) -> Result<()> {
    let mut last_label_x = [i32::MIN / 2; DECISION_YS.len()];
    for Decision { second, from, to } in phase.decisions() {
        let second = &phase.seconds[second];
        let at_s = (second.from_s + second.to_s) / 2.0;
        let at_x = x.start + (f64::from(x.end - x.start) * at_s / axes.end_s).round() as i32;
        dashed_line(page, at_x, LANES_Y.start - 4..SHARES_Y.end)?;
        let free_row = last_label_x.iter().position(|&last| at_x - last >= DECISION_WIDTH);
        if let Some(row) = free_row {
            last_label_x[row] = at_x;
            let label = if from == to { format!("still {to}") } else { format!("{from} → {to}") };
            write(page, &label, (at_x, DECISION_YS[row]), &centred(15))?;
        }
    }
    Ok(())
}

fn dashed_line(page: &Area, x: i32, y: Range<i32>) -> Result<()> {
    for from in y.clone().step_by(8) {
        page.draw(&PathElement::new([(x, from), (x, (from + 5).min(y.end))], BLACK.stroke_width(1)))?;
    }
    Ok(())
}

fn draw_legend(page: &Area, nr_nodes: usize) -> Result<()> {
    let mut x = COLUMNS_X[0].start;
    let swatch = |x: i32, colour: RGBColor| {
        page.draw(&Rectangle::new([(x, LEGEND_Y - 7), (x + 14, LEGEND_Y + 7)], colour.filled()))
    };
    for node in 0..nr_nodes {
        swatch(x, colour(node))?;
        write(page, &format!("node {node}"), (x + 20, LEGEND_Y), &left(15))?;
        x += 84;
    }
    swatch(x + 30, HOGGED)?;
    write(page, "its host is hogged", (x + 50, LEGEND_Y), &left(15))?;
    dashed_line(page, x + 207, LEGEND_Y - 9..LEGEND_Y + 9)?;
    write(page, "0 → 1  scx_vnuma moves the work from node 0 to node 1", (x + 217, LEGEND_Y), &left(15))?;
    Ok(())
}

fn draw_axis_titles(page: &Area) -> Result<()> {
    let upright = left(15).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Center));
    let x = 16;
    write(page, "CPU time stolen, %", (x, (LANES_Y.start + LANES_Y.end) / 2), &upright)?;
    write(page, "migratable work, %", (x, (SHARES_Y.start + SHARES_Y.end) / 2), &upright)?;
    for column in COLUMNS_X {
        let middle = (column.start + column.end) / 2;
        write(page, "seconds", (middle, SHARES_Y.end + X_LABELS_HEIGHT + 10), &centred(15))?;
    }
    Ok(())
}

fn draw_summary(page: &Area, comparison: &Comparison) -> Result<()> {
    let middle = SIZE.0 as i32 / 2;
    let (without, with) = (comparison.without.stolen_cpu_s, comparison.with.stolen_cpu_s);
    let ratios = format!(
        "With scx_vnuma: time stolen where the work was {}, migratable work {}, fixed task's work {}",
        comparison.stolen(),
        comparison.migratable(),
        comparison.fixed()
    );
    write(page, &ratios, (middle, SUMMARY_Y), &centred(18).color(&BLACK))?;
    let small =
        format!("CPU-seconds stolen where the work was: {without:.1} without, {with:.1} with. The CPUs are emulated: only ratios count.");
    write(page, &small, (middle, SUMMARY_Y + 26), &centred(14))
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
    COLOURS[node % COLOURS.len()]
}

/// Black or white, whichever is readable on the colour.
fn text_colour_on(RGBColor(red, green, blue): RGBColor) -> &'static RGBColor {
    let brightness = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    if brightness > 125_000 {
        &BLACK
    } else {
        &WHITE
    }
}
