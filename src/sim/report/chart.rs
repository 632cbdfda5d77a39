//! Bar charts and line charts. A policy has the same colour and dash in all of them.

use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::IntoSegmentedCoord;
use plotters::coord::ranged1d::SegmentValue;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{DashedPathElement, PathElement, Rectangle, Text};
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, BLACK, WHITE};
use plotters_svg::SVGBackend;

use super::DrawError;

/// Width and height in pixels of a chart that shares a row with another.
pub(super) const HALF: (u32, u32) = (520, 320);
/// Width and height in pixels of a chart in a row of its own.
pub(super) const WIDE: (u32, u32) = (1060, 330);

const FONT: &str = "sans-serif";

/// The look of a policy. The colours are those of Okabe and Ito, which colour-blind people can tell apart. Lines also
/// differ in dash, and bars have a fixed order and labels, so charts can be read without colour.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: RGBColor,
    /// Dash and gap in pixels; `None` for a solid line.
    dash: Option<(i32, i32)>,
}

/// The look of the policy with this label.
pub(super) fn look(label: &str) -> Look {
    let (colour, dash) = match label {
        "none" => (RGBColor(90, 90, 90), Some((2, 3))),
        "coarse" => (RGBColor(213, 94, 0), None),
        "auto" => (RGBColor(240, 228, 66), None),
        "fine none" => (RGBColor(0, 0, 0), Some((8, 3))),
        "fine request" => (RGBColor(86, 180, 233), Some((5, 5))),
        "fine cpu" => (RGBColor(0, 158, 115), Some((3, 3))),
        "fine memory" => (RGBColor(0, 114, 178), None),
        "fine cpu-desc" => (RGBColor(204, 121, 167), Some((10, 4))),
        "fine mai" => (RGBColor(230, 159, 0), Some((12, 2))),
        _ => (RGBColor(0, 0, 0), None),
    };
    Look { colour, dash }
}

/// A bar of a chart.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// The text above the bar.
    pub(super) text: String,
}

/// Axes end within this. Of larger numbers, and of much smaller ones than 1, the library looks for ticks for ever.
const LARGEST: f64 = 1e30;

/// The number, if it can be drawn.
fn drawable(value: f64) -> Result<f64, DrawError> {
    match value.abs() <= LARGEST {
        true => Ok(value),
        false => Err(DrawError(format!("{value:e} is too large for an axis"))),
    }
}

/// Draw bars of one quantity. The axis starts at 0.
pub(super) fn bars(title: &str, axis: &str, bars: &[Bar]) -> Result<String, DrawError> {
    let top = bars.iter().try_fold(0.0, |top, bar| Ok::<f64, DrawError>(drawable(bar.value)?.max(top)))?;
    let top = if top > 1.0 / LARGEST { top * 1.15 } else { 1.0 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, HALF).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, (FONT, 16))
            .margin(8)
            .margin_right(14)
            .x_label_area_size(46)
            .y_label_area_size(68)
            .build_cartesian_2d((0..bars.len().saturating_sub(1)).into_segmented(), 0.0..top)?;
        let name = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) => bars.get(*at).map_or(String::new(), |bar| bar.label.replace("fine ", "f. ")),
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(bars.len() + 1)
            .x_label_formatter(&name)
            .y_desc(axis)
            .y_label_formatter(&|value| number(*value))
            .label_style((FONT, 12))
            .axis_desc_style((FONT, 13))
            .light_line_style(WHITE)
            .draw()?;
        chart.draw_series(bars.iter().enumerate().map(|(at, bar)| {
            let corners = [(SegmentValue::Exact(at), 0.0), (SegmentValue::Exact(at + 1), bar.value)];
            let mut rectangle = Rectangle::new(corners, look(&bar.label).colour.filled());
            rectangle.set_margin(0, 0, 8, 8);
            rectangle
        }))?;
        let style = (FONT, 11).into_font().color(&BLACK);
        let style = style.pos(Pos::new(HPos::Center, VPos::Bottom));
        chart.draw_series(bars.iter().enumerate().map(|(at, bar)| {
            Text::new(bar.text.clone(), (SegmentValue::CenterOf(at), bar.value + top * 0.01), style.clone())
        }))?;
        root.present()?;
    }
    Ok(svg)
}

/// A line of a chart.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
}

impl Line {
    /// A line in the look of a policy.
    pub(super) fn of_policy(label: &str, points: Vec<(f64, f64)>) -> Line {
        Line { label: label.to_owned(), look: look(label), points }
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

/// Draw lines over a common axis, with a legend.
pub(super) fn lines(frame: &Frame<'_>, lines: &[Line]) -> Result<String, DrawError> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let span = |of: fn(&(f64, f64)) -> f64| {
        points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    points().try_for_each(|&(x, y)| drawable(x).and(drawable(y)).map(drop))?;
    let (x_low, x_high) = widened(span(|point| point.0), 0.0);
    let (y_low, y_high) = widened(span(|point| point.1), 0.06);
    let y_low = if frame.from_zero { 0.0 } else { y_low };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, frame.size).into_drawing_area();
        root.fill(&WHITE)?;
        let (top, plot) = root.split_vertically(TOP_HEIGHT);
        head(&top, frame, lines)?;
        let mut chart = ChartBuilder::on(&plot)
            .margin(8)
            .margin_right(18)
            .x_label_area_size(40)
            .y_label_area_size(68)
            .build_cartesian_2d(x_low..x_high, y_low..y_high)?;
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
        for line in lines {
            let style: ShapeStyle = line.look.colour.stroke_width(frame.stroke_px);
            let points = line.points.iter().copied();
            match line.look.dash {
                None => chart.draw_series(LineSeries::new(points, style))?,
                Some((dash, gap)) => chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?,
            };
        }
        root.present()?;
    }
    Ok(svg)
}

/// Height in pixels of a chart's title and legend.
const TOP_HEIGHT: i32 = 46;

/// Draw the title, and below it the legend in one row, above the lines.
fn head(area: &DrawingArea<SVGBackend<'_>, Shift>, frame: &Frame<'_>, lines: &[Line]) -> Result<(), DrawError> {
    let (width, _) = area.dim_in_pixel();
    let middle = (FONT, 16).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
    area.draw(&Text::new(frame.title, (width as i32 / 2, 6), middle))?;
    if lines.len() < 2 {
        return Ok(());
    }
    let text = (FONT, 12).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    let mut x = 76;
    for line in lines {
        let style: ShapeStyle = line.look.colour.stroke_width(2);
        let ends = [(x, 37), (x + 24, 37)];
        match line.look.dash {
            None => area.draw(&PathElement::new(ends, style))?,
            Some((dash, gap)) => area.draw(&DashedPathElement::new(ends, dash, gap, style))?,
        }
        area.draw(&Text::new(line.label.clone(), (x + 29, 37), text.clone()))?;
        // Characters of this font are about 7 pixels wide.
        x += 44 + 7 * line.label.len() as i32;
    }
    Ok(())
}

/// A range with some room at its ends. It is never empty.
fn widened((low, high): (f64, f64), room: f64) -> (f64, f64) {
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
        let bar = |value| bars("t", "y", &[Bar { label: "none".to_owned(), value, text: String::new() }]);
        for value in [0.0, 5e-324, 1e-300, 1e-31, 1e-30, 1e-3, 1.0, 1e29, 1e30] {
            assert!(bar(value).is_ok() && line([0.0, value]).is_ok() && line([value, value]).is_ok(), "{value:e}");
            assert!(line([value, value * (1.0 - f64::EPSILON)]).is_ok() && line([-value, value]).is_ok(), "{value:e}");
        }
        for value in [1.1e30, 1e300, 1e308, f64::INFINITY, f64::NAN] {
            assert!(bar(value).is_err() && line([0.0, value]).is_err(), "{value:e}");
        }
    }

    #[test]
    fn charts_with_one_point_or_none_are_drawn() {
        let frame = Frame { title: "t", x_axis: "x", y_axis: "y", size: HALF, from_zero: false, stroke_px: 2 };
        assert!(lines(&frame, &[]).unwrap().contains("<svg"));
        assert!(lines(&frame, &[Line::of_policy("none", vec![(1.0, 5.0)])]).unwrap().contains("<svg"));
    }
}
