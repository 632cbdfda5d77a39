//! Dots with intervals, one row per policy. A dot is read by its place, not by its length, so the axis shows the range in which
//! the values are, and differences that are small against the values can be seen.

use std::fmt::Write;

use super::chart::{drawable, look, number, widened};
use super::DrawError;
use crate::html::escape;

/// A chart of one quantity.
pub(super) struct Dots {
    pub(super) title: String,
    /// Quantity and unit below the axis.
    pub(super) axis: String,
    pub(super) rows: Vec<Row>,
    /// Draw a line at 0, with which values are compared.
    pub(super) from_zero: bool,
}

/// A policy's value.
pub(super) struct Row {
    pub(super) label: String,
    pub(super) value: f64,
    /// Half of the interval around it.
    pub(super) half: Option<f64>,
    /// The dot is hollow: the value may be 0.
    pub(super) hollow: bool,
    /// The value in words, at the right.
    pub(super) text: String,
}

const WIDTH: f64 = 520.0;
const LEFT: f64 = 108.0;
const RIGHT: f64 = 132.0;
const TOP: f64 = 34.0;
const ROW: f64 = 20.0;
const BOTTOM: f64 = 42.0;
const RADIUS: f64 = 4.5;

impl Dots {
    /// Draw the chart. Everything about a policy is in a group that names it.
    pub(super) fn draw(&self) -> Result<String, DrawError> {
        let ends = |row: &Row| [row.value - row.half.unwrap_or(0.0), row.value + row.half.unwrap_or(0.0)];
        let mut span = if self.from_zero { (0.0, 0.0) } else { (f64::INFINITY, f64::NEG_INFINITY) };
        for end in self.rows.iter().flat_map(ends) {
            let end = drawable(end)?;
            span = (end.min(span.0), end.max(span.1));
        }
        let (low, high) = widened(span, 0.04);
        let x = |value: f64| LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT);
        let height = TOP + ROW * self.rows.len() as f64 + BOTTOM;
        let mut svg = format!(
            "<svg width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" xmlns=\"http://www.w3.org/2000/svg\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<text x=\"{}\" y=\"18\" font-size=\"16\" text-anchor=\"middle\">{}\
             </text>\n",
            WIDTH / 2.0,
            escape(&self.title)
        );
        self.axis(&mut svg, (low, high), x);
        for (row, at) in self.rows.iter().zip(0u32..) {
            add_row(&mut svg, row, TOP + ROW * (f64::from(at) + 0.5), x);
        }
        svg.push_str("</svg>\n");
        Ok(svg)
    }

    fn axis(&self, svg: &mut String, (low, high): (f64, f64), x: impl Fn(f64) -> f64) {
        let bottom = TOP + ROW * self.rows.len() as f64;
        for tick in ticks(low, high) {
            // Writing to a String can't fail.
            let _ = writeln!(
                svg,
                "<path d=\"M{0:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/><text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
                x(tick),
                bottom + 15.0,
                number(tick)
            );
        }
        if self.from_zero {
            let _ = writeln!(svg, "<path d=\"M{:.1} {TOP}V{bottom}\" stroke=\"#444\"/>", x(0.0));
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 33.0,
            escape(&self.axis)
        );
    }
}

fn add_row(svg: &mut String, row: &Row, y: f64, x: impl Fn(f64) -> f64) {
    let colour = look(&row.label).hex();
    let label = escape(&row.label);
    let text_y = y + 4.0;
    let _ = write!(
        svg,
        "<g data-policy=\"{label}\"><text x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">{label}</text>",
        LEFT - 8.0
    );
    if let Some(half) = row.half {
        let (from, to) = (x(row.value - half), x(row.value + half));
        let _ = write!(
            svg,
            "<path d=\"M{from:.1} {y}H{to:.1}M{from:.1} {0}V{1}M{to:.1} {0}V{1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            y - 4.0,
            y + 4.0
        );
    }
    let fill = if row.hollow { "#fff" } else { &colour };
    let _ = writeln!(
        svg,
        "<circle cx=\"{:.1}\" cy=\"{y}\" r=\"{RADIUS}\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
         <text x=\"{}\" y=\"{text_y}\">{}</text></g>",
        x(row.value),
        WIDTH - RIGHT + 8.0,
        escape(&row.text)
    );
}

/// Round numbers inside a range, at most six.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    const MOST: f64 = 5.0;

    let raw = (high - low) / MOST;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|&step| step >= raw);
    let step = step.unwrap_or(power * 10.0);
    let first = (low / step).ceil();
    (0..=MOST as u32).map(|at| (first + f64::from(at)) * step).filter(|&tick| tick <= high).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside_the_range() {
        assert_eq!(ticks(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let found = ticks(0.2842, 0.3012);
        assert!(found.len() >= 3 && found.iter().all(|tick| (0.2842..=0.3012).contains(tick)), "{found:?}");
        assert_eq!(ticks(-1.5, 1.5), [-1.0, 0.0, 1.0]);
    }

    #[test]
    fn values_of_any_size_are_drawn_or_refused_at_once() {
        let chart = |value, half| {
            let row = Row { label: "none".to_owned(), value, half, hollow: false, text: "<1>".to_owned() };
            Dots { title: "t".to_owned(), axis: "x".to_owned(), rows: vec![row], from_zero: true }.draw()
        };
        for value in [0.0, 5e-324, 1e-300, -1e-3, 1.0, 1e29] {
            let drawn = chart(value, Some(value.abs())).unwrap();
            assert!(drawn.contains("&lt;1&gt;") && !drawn.contains("NaN"), "{value:e}");
        }
        assert!(chart(1e300, None).is_err() && chart(1.0, Some(f64::INFINITY)).is_err());
    }
}
