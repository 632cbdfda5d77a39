//! Figure 5-7 of the thesis: quantities as functions of a varied option, with one line per policy.

use super::chart::{lines, Frame, Line, HALF};
use super::figures::Figure;
use super::DrawError;
use crate::sim::figures::Figures;
use crate::sim::sweep::{Point, SweepResult};

type Quantity = (&'static str, &'static str, fn(&Figures) -> Option<f64>);

const QUANTITIES: [Quantity; 6] = [
    ("CPU utilisation", "%", |figures| Some(figures.cpu_utilisation * 100.0)),
    ("Gini coefficient", "0 to 1", |figures| Some(figures.gini)),
    ("Overcommit", "millionths of the CPU", |figures| Some(figures.overcommit * 1e6)),
    ("Duration", "s", |figures| figures.duration_s),
    ("Finished tasks", "tasks", |figures| Some(figures.finished as f64)),
    ("Network", "GB/s", |figures| Some(figures.network_bytes_per_s / 1e9)),
];

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
        let label = point.parameters.policy_label();
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let mut drawings = Vec::new();
    for (title, unit, value) in QUANTITIES {
        let of_policy = |label: &String| {
            let points = points.iter().filter(|point| point.parameters.policy_label() == *label);
            let xy = points.enumerate().filter_map(|(at, point)| {
                // A value that is not a number, such as a name, is placed by its position in the list.
                let x = point.values[0].parse().ok().filter(|x: &f64| x.is_finite()).unwrap_or(at as f64);
                Some((x, value(&point.figures)?))
            });
            Line::of_policy(label, xy.collect())
        };
        let all: Vec<Line> = labels.iter().map(of_policy).collect();
        drawings.push(lines(
            &Frame { title, x_axis: x_name, y_axis: unit, size: HALF, from_zero: false, stroke_px: 2 },
            &all,
        )?);
    }
    let fixed: Vec<String> =
        sweep.varied[1..].iter().zip(rest).map(|(name, value)| format!("{name} {value}")).collect();
    let title = match fixed.is_empty() {
        true => format!("Varying {x_name}"),
        false => format!("Varying {x_name}, with {}", fixed.join(", ")),
    };
    let caption =
        "The y axes do not start at 0: differences between policies are small compared to the effect of the option.";
    Ok(Figure { title, drawings, caption: caption.to_owned() })
}
