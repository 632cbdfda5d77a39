//! Line charts, and the look of policies: a policy has the same colour and dash in all charts.

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{DashedPathElement, PathElement, Text};
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, BLACK, WHITE};
use plotters_svg::SVGBackend;

use super::DrawError;
use crate::html::escape;

/// Width and height in pixels of a chart that shares a row with another.
pub(super) const HALF: (u32, u32) = (520, 320);
/// Width and height in pixels of a chart in a row of its own.
pub(super) const WIDE: (u32, u32) = (1060, 330);

const FONT: &str = "sans-serif";

/// The look of a policy. The colours are those of Okabe and Ito, which colour-blind people can tell apart, but for purple
/// in place of their yellow, which is hardly seen on white. Lines also differ in dash, and dots have a fixed order and
/// labels, so charts can be read without colour.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: RGBColor,
    /// Dash and gap in pixels; `None` for a solid line.
    dash: Option<(i32, i32)>,
}

impl Look {
    /// The colour as in CSS.
    pub(super) fn hex(&self) -> String {
        let RGBColor(red, green, blue) = self.colour;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

/// The look of the policy with this label.
pub(super) fn look(label: &str) -> Look {
    let (colour, dash) = match label {
        "none" => (RGBColor(90, 90, 90), Some((2, 3))),
        "coarse" => (RGBColor(213, 94, 0), None),
        "auto" => (RGBColor(106, 27, 154), None),
        "fine unsorted" => (RGBColor(0, 0, 0), Some((8, 3))),
        "fine request" => (RGBColor(86, 180, 233), Some((5, 5))),
        "fine cpu" => (RGBColor(0, 158, 115), Some((3, 3))),
        "fine memory" => (RGBColor(0, 114, 178), None),
        "fine cpu-desc" => (RGBColor(204, 121, 167), Some((10, 4))),
        "fine mai" => (RGBColor(230, 159, 0), Some((12, 2))),
        _ => (RGBColor(0, 0, 0), None),
    };
    Look { colour, dash }
}

/// Axes end within this. Of larger numbers, and of much smaller ones than 1, the library looks for ticks for ever.
const LARGEST: f64 = 1e30;

/// The number, if it can be drawn.
pub(super) fn drawable(value: f64) -> Result<f64, DrawError> {
    match value.abs() <= LARGEST {
        true => Ok(value),
        false => Err(DrawError(format!("{value:e} is too large for an axis"))),
    }
}

/// A line of a chart.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
    /// At some x the lower and the upper end of an interval.
    pub(super) intervals: Vec<(f64, f64, f64)>,
    /// Whether the line is a policy's, which the reader can switch off.
    pub(super) is_policy: bool,
}

impl Line {
    /// A line in the look of a policy.
    pub(super) fn of_policy(label: &str, points: Vec<(f64, f64)>) -> Line {
        Line { label: label.to_owned(), look: look(label), points, intervals: Vec::new(), is_policy: true }
    }
}

/// Everything around the lines of a chart.
pub(super) struct Frame<'a> {
    pub(super) title: &'a str,
    pub(super) x_axis: &'a str,
    pub(super) y_axis: &'a str,
    pub(super) size: (u32, u32),
    /// Whether the y axis starts at 0.
    pub(super) from_zero: bool,
    /// Width of the lines: thin where many cross.
    pub(super) stroke_px: u32,
}

/// Draw lines over a common axis, with a legend. Each policy's line is a group of its own, so that it can be switched off.
pub(super) fn lines(frame: &Frame<'_>, lines: &[Line]) -> Result<String, DrawError> {
    let ends =
        |line: &Line| line.intervals.iter().flat_map(|&(x, low, high)| [(x, low), (x, high)]).collect::<Vec<_>>();
    let points: Vec<(f64, f64)> = lines.iter().flat_map(|line| [line.points.clone(), ends(line)].concat()).collect();
    let span = |of: fn(&(f64, f64)) -> f64| {
        points.iter().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    points.iter().try_for_each(|&(x, y)| drawable(x).and(drawable(y)).map(drop))?;
    let x_range = widened(span(|point| point.0), 0.0);
    let (y_low, y_high) = widened(span(|point| point.1), 0.06);
    let ranges = Ranges { x: x_range, y: (if frame.from_zero { 0.0 } else { y_low }, y_high) };
    let mut svg = axes(frame, &ranges)?;
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    let tail = svg.split_off(end);
    let mut legend_x = LEGEND_LEFT;
    for line in lines {
        let drawn = layer(frame, &ranges, line, (lines.len() > 1).then_some(legend_x))?;
        // Characters of this font are about 7 pixels wide.
        legend_x += 44 + 7 * line.label.len() as i32;
        let policy = if line.is_policy { format!(" data-policy=\"{}\"", escape(&line.label)) } else { String::new() };
        svg.push_str(&format!("<g{policy}>\n{}</g>\n", inside(&drawn)));
    }
    Ok(svg + &tail)
}

/// What is inside the outermost element.
fn inside(svg: &str) -> &str {
    let from = svg.find('>').map_or(0, |at| at + 1);
    let to = svg.rfind("</svg>").unwrap_or(svg.len());
    svg.get(from..to).unwrap_or_default().trim_start()
}

/// The ends of both axes.
struct Ranges {
    x: (f64, f64),
    y: (f64, f64),
}

/// Height in pixels of a chart's title and legend.
const TOP_HEIGHT: i32 = 46;
/// Where the legend begins, pixels from the left.
const LEGEND_LEFT: i32 = 76;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The place and scale of all layers of a chart.
fn builder<'a, 'b>(plot: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(plot);
    builder.margin(8).margin_right(18).x_label_area_size(40).y_label_area_size(68);
    builder
}

/// The title and the axes.
fn axes(frame: &Frame<'_>, ranges: &Ranges) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, frame.size).into_drawing_area();
        root.fill(&WHITE)?;
        let (top, plot) = root.split_vertically(TOP_HEIGHT);
        let middle = (FONT, 16).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
        top.draw(&Text::new(frame.title, (frame.size.0 as i32 / 2, 6), middle))?;
        let mut chart = builder(&plot).build_cartesian_2d(ranges.x.0..ranges.x.1, ranges.y.0..ranges.y.1)?;
        chart
            .configure_mesh()
            .x_desc(frame.x_axis)
            .y_desc(frame.y_axis)
            .x_labels(9)
            .y_labels(6)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .label_style((FONT, 12))
            .axis_desc_style((FONT, 13))
            .bold_line_style(RGBColor(225, 225, 225))
            .light_line_style(WHITE)
            .draw()?;
        root.present()?;
    }
    Ok(svg)
}

/// One line with its intervals, and its entry of the legend, which begins at `legend_x`.
fn layer(frame: &Frame<'_>, ranges: &Ranges, line: &Line, legend_x: Option<i32>) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, frame.size).into_drawing_area();
        let (top, plot) = root.split_vertically(TOP_HEIGHT);
        let mut chart = builder(&plot).build_cartesian_2d(ranges.x.0..ranges.x.1, ranges.y.0..ranges.y.1)?;
        let style: ShapeStyle = line.look.colour.stroke_width(frame.stroke_px);
        let points = line.points.iter().copied();
        match line.look.dash {
            None => chart.draw_series(LineSeries::new(points, style))?,
            Some((dash, gap)) => chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?,
        };
        let thin: ShapeStyle = line.look.colour.stroke_width(1);
        let intervals = line.intervals.iter();
        chart.draw_series(intervals.map(|&(x, low, high)| PathElement::new(vec![(x, low), (x, high)], thin)))?;
        if let Some(x) = legend_x {
            add_legend(&top, line, x)?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn add_legend(area: &Area<'_>, line: &Line, x: i32) -> Result<(), DrawError> {
    let text = (FONT, 12).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    let style: ShapeStyle = line.look.colour.stroke_width(2);
    let ends = [(x, 37), (x + 24, 37)];
    match line.look.dash {
        None => area.draw(&PathElement::new(ends, style))?,
        Some((dash, gap)) => area.draw(&DashedPathElement::new(ends, dash, gap, style))?,
    }
    Ok(area.draw(&Text::new(line.label.clone(), (x + 29, 37), text))?)
}

/// A range with some room at its ends. It is never empty.
pub(super) fn widened((low, high): (f64, f64), room: f64) -> (f64, f64) {
    if low > high {
        return (0.0, 1.0);
    }
    // Numbers that differ by rounding alone are equal.
    let is_wide = high - low > low.abs().max(high.abs()).max(1.0 / LARGEST) * 1e-9;
    let width = if is_wide { high - low } else { high.abs().max(1.0) * 0.1 };
    (low - width * room, high + width * room.max(if is_wide { 0.0 } else { 1.0 }))
}

/// Format a number briefly.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e5).contains(&size) {
        return format!("{value:.1e}");
    }
    let decimals = if size >= 100.0 {
        0
    } else if size >= 1.0 {
        2
    } else {
        4
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Order, PolicyName, World};
    use crate::sim::params::Params;

    #[test]
    fn numbers_are_formatted_briefly() {
        let cases = [(0.0, "0"), (0.25, "0.25"), (1200.0, "1200"), (2.5e9, "2.5e9"), (3.0, "3"), (1e-5, "1.0e-5")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn numbers_of_any_size_are_drawn_or_refused_at_once() {
        let frame = Frame { title: "t", x_axis: "x", y_axis: "y", size: HALF, from_zero: false, stroke_px: 2 };
        let line =
            |values: [f64; 2]| lines(&frame, &[Line::of_policy("none", vec![(1.0, values[0]), (2.0, values[1])])]);
        for value in [0.0, 5e-324, 1e-300, 1e-31, 1e-30, 1e-3, 1.0, 1e29, 1e30] {
            assert!(line([0.0, value]).is_ok() && line([value, value]).is_ok(), "{value:e}");
            assert!(line([value, value * (1.0 - f64::EPSILON)]).is_ok() && line([-value, value]).is_ok(), "{value:e}");
        }
        for value in [1.1e30, 1e300, 1e308, f64::INFINITY, f64::NAN] {
            assert!(line([0.0, value]).is_err(), "{value:e}");
        }
    }

    #[test]
    fn every_policy_is_seen_on_white() {
        // Relative luminance and contrast as WCAG 2 defines them; yellow has 1.3.
        let linear = |value: u8| (f64::from(value) / 255.0).powf(2.2);
        let params = Params::default();
        let policies = PolicyName::all(World::Simulated).flat_map(|policy| Order::ALL.map(|order| (policy, order)));
        for (policy, order) in policies {
            let label = params.with_policy(policy, Some(order)).policy_label();
            let RGBColor(red, green, blue) = look(&label).colour;
            let luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
            assert!(1.05 / (luminance + 0.05) > 2.0, "{label}: {luminance}");
        }
    }

    #[test]
    fn each_policy_is_a_group_of_its_own() {
        let frame = Frame { title: "t", x_axis: "x", y_axis: "y", size: HALF, from_zero: false, stroke_px: 2 };
        let policies = ["none", "fine memory"].map(|label| Line {
            intervals: vec![(1.0, 4.0, 6.0)],
            ..Line::of_policy(label, vec![(1.0, 5.0), (2.0, 7.0)])
        });
        let svg = lines(&frame, &policies).unwrap();
        for (label, line) in svg.split("<g data-policy=\"").skip(1).zip(&policies) {
            assert!(label.starts_with(&format!("{}\">", line.label)));
            let group = label.split("</g>").next().unwrap();
            assert!(group.contains(&line.label) && group.contains("<polyline"), "{group}");
        }
        assert_eq!((svg.matches("<svg").count(), svg.matches("</svg>").count()), (1, 1));
    }

    #[test]
    fn charts_with_one_point_or_none_are_drawn() {
        let frame = Frame { title: "t", x_axis: "x", y_axis: "y", size: HALF, from_zero: false, stroke_px: 2 };
        assert!(lines(&frame, &[]).unwrap().contains("<svg"));
        assert!(lines(&frame, &[Line::of_policy("none", vec![(1.0, 5.0)])]).unwrap().contains("<svg"));
    }
}
