//! Figure 5-7 of the thesis: quantities as functions of a varied option, with one line per policy.

use super::chart::{lines, Frame, Line, HALF};
use super::figures::Figure;
use super::DrawError;
use crate::sim::quantity::{self, Quantity};
use crate::sim::sweep::{Point, SweepResult};

/// The first option is the x axis. There is one figure for each combination of the other options' values.
pub(super) fn figures(sweep: &SweepResult) -> Result<Vec<Figure>, DrawError> {
    let Some(x_name) = sweep.varied.first() else {
        return Ok(Vec::new());
    };
    let mut others: Vec<&[String]> = Vec::new();
    for point in &sweep.points {
        let rest = point.values.get(1..).unwrap_or_default();
        if !others.contains(&rest) {
            others.push(rest);
        }
    }
    others.into_iter().map(|rest| figure(sweep, x_name, rest)).collect()
}

fn figure(sweep: &SweepResult, x_name: &str, rest: &[String]) -> Result<Figure, DrawError> {
    let points: Vec<&Point> =
        sweep.points.iter().filter(|point| point.values.get(1..).unwrap_or_default() == rest).collect();
    let mut labels: Vec<String> = Vec::new();
    for point in &points {
        let label = point.label();
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let mut drawings = Vec::new();
    for quantity in quantity::of_runs(sweep.points.iter().flat_map(|point| &point.runs)) {
        let of_policy = |label: &String| {
            let of_label: Vec<&Point> = points.iter().copied().filter(|point| point.label() == *label).collect();
            line(label, &of_label, quantity)
        };
        let all: Vec<Line> = labels.iter().map(of_policy).collect();
        let (title, y_axis) = (quantity.title, quantity.unit);
        drawings
            .push(lines(&Frame { title, x_axis: x_name, y_axis, size: HALF, from_zero: false, stroke_px: 2 }, &all)?);
    }
    let fixed: Vec<String> =
        sweep.varied[1..].iter().zip(rest).map(|(name, value)| format!("{name} {value}")).collect();
    let title = match fixed.is_empty() {
        true => format!("Varying {x_name}"),
        false => format!("Varying {x_name}, with {}", fixed.join(", ")),
    };
    let caption = "Means over the seeds with 95 % intervals of the placement, which all policies share: differences between policies \
                   are surer than the intervals look. The y axes do not start at 0.";
    Ok(Figure { title, drawings, caption: caption.to_owned() })
}

/// The line of a policy: the means over the seeds, with their intervals.
fn line(label: &str, points: &[&Point], quantity: &Quantity) -> Line {
    let mut line = Line::of_policy(label, Vec::new());
    for (at, point) in points.iter().enumerate() {
        // A value that is not a number, such as a name, is placed by its position in the list.
        let x = point.values[0].parse().ok().filter(|x: &f64| x.is_finite()).unwrap_or(at as f64);
        let Some(spread) = point.spread(quantity) else { continue };
        let mean = spread.mean * quantity.factor;
        line.points.push((x, mean));
        if let Some(half) = spread.half_interval {
            let half = half * quantity.factor;
            line.intervals.push((x, mean - half, mean + half));
        }
    }
    line
}
