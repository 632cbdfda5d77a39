//! Policies side by side: a table of all quantities, and each as dots. Over several seeds the dots are differences to a
//! baseline with intervals: the spread between seeds, which all policies share, hides them otherwise.

use std::fmt::Write;

use super::chart::number;
use super::dots::{Dots, Row};
use super::figures::Figure;
use super::DrawError;
use crate::html::escape;
use crate::sim::quantity::{Better, Quantity, QUANTITIES};
use crate::sim::ranking::{self, ranking};
use crate::sim::repeat::Measured;
use crate::sim::result::RunResult;
use crate::sim::sweep::{Point, SweepResult, FORMAT};

/// Single runs as a comparison without differences.
pub(super) fn of_runs(runs: &[RunResult]) -> Option<SweepResult> {
    let first = runs.first()?;
    let point = |run: &RunResult| {
        let seed = run.parameters.seed;
        let (figures, models) = (run.figures, run.model_figures);
        let measured = Measured { seed, figures, finished_by_all: 0, duration_by_all_s: None, models };
        Point { values: Vec::new(), parameters: run.parameters.clone(), runs: vec![measured] }
    };
    Some(SweepResult {
        format: FORMAT.to_owned(),
        version: first.version.clone(),
        inputs: first.inputs.clone(),
        provenance: first.provenance.clone(),
        base: first.parameters.clone(),
        varied: Vec::new(),
        baseline: String::new(),
        points: runs.iter().map(point).collect(),
        crc32: None,
    })
}

/// Number of seeds, if all policies were run with the same number of them.
fn nr_seeds(result: &SweepResult) -> usize {
    result.points.iter().map(|point| point.runs.len()).min().unwrap_or(0)
}

/// The quantities of which any policy has a value.
fn shown(result: &SweepResult) -> impl Iterator<Item = &'static Quantity> + '_ {
    QUANTITIES.iter().filter(|quantity| result.points.iter().any(|point| point.spread(quantity).is_some()))
}

/// Add the table of means with their intervals, and the rankings.
pub(super) fn tables(page: &mut String, result: &SweepResult) {
    let seeds = nr_seeds(result);
    if seeds > 1 {
        let _ = writeln!(
            page,
            "<p>Means over {seeds} placements of the tasks (seeds), with half of their 95 % intervals. The intervals are those of \
             the placement alone: the trace is the same.</p>"
        );
    }
    // Those of models apart: one table of all would be wider than a page.
    let (of_every_run, of_models): (Vec<_>, Vec<_>) = shown(result).partition(|quantity| quantity.is_of_every_run());
    table(page, result, &of_every_run, true);
    if !of_models.is_empty() {
        page.push_str("<p>Of models beyond the thesis's:</p>\n");
        table(page, result, &of_models, false);
    }
    page.push_str(&bounds(result));
    if seeds > 1 {
        rankings(page, result);
    }
}

/// A row for each policy, with these quantities, and perhaps the mean duration of the tasks that finished.
fn table(page: &mut String, result: &SweepResult, quantities: &[&Quantity], with_duration: bool) {
    // Long names may be broken at their underscores.
    let names = quantities.iter().map(|quantity| quantity.name).chain(with_duration.then_some("duration_s"));
    let heads: String = names.map(|name| format!("<th>{}</th>", name.replace('_', "_<wbr>"))).collect();
    let _ = writeln!(page, "<table><tr><th>policy</th>{heads}</tr>");
    for point in &result.points {
        let label = escape(&point.label());
        let cells: String = quantities.iter().map(|quantity| cell(point, quantity)).collect();
        let duration = if with_duration { duration(point) } else { String::new() };
        let _ = writeln!(page, "<tr data-policy=\"{label}\"><td>{label}</td>{cells}{duration}</tr>");
    }
    page.push_str("</table>\n");
}

fn duration(point: &Point) -> String {
    let durations = point.runs.iter().map(|run| run.figures.duration_s).collect::<Option<Vec<f64>>>();
    let mean = durations.map(|all| all.iter().sum::<f64>() / all.len() as f64);
    mean.map_or("<td>-</td>".to_owned(), |mean| format!("<td>{mean:.1}</td>"))
}

fn cell(point: &Point, quantity: &Quantity) -> String {
    let Some(spread) = point.spread(quantity) else { return "<td>-</td>".to_owned() };
    let half = spread.half_interval.map(|half| format!("<br><small>±{}</small>", quantity.format.text(half)));
    format!("<td>{}{}</td>", quantity.format.text(spread.mean), half.unwrap_or_default())
}

fn bounds(result: &SweepResult) -> String {
    let runs = || result.points.iter().flat_map(|point| &point.runs).map(|run| &run.figures);
    let utilisation = runs().map(|figures| figures.cpu_utilisation_bound).fold(0.0, f64::max);
    let gini = runs().map(|figures| figures.gini_bound).fold(1.0, f64::min);
    format!(
        "<p>Bounds: no policy can use more than {utilisation:.4} of the CPU, which is used if every task runs at full speed from \
         its submission. No moves inside cells make the Gini coefficient less than {gini:.4}, which is that of machines as busy as \
         their cell. <code>duration_s</code> is over the tasks that finished, which are others under each policy.</p>\n"
    )
}

fn rankings(page: &mut String, result: &SweepResult) {
    page.push_str("<p>Best first; ≈ where the order is noise:</p>\n<table class=\"ranking\">\n");
    let points: Vec<&Point> = result.points.iter().collect();
    for quantity in shown(result) {
        let line = ranking::line(&ranking(&points, quantity), quantity.better);
        let _ = writeln!(page, "<tr><td>{}</td><td>{}</td></tr>", quantity.name, escape(&line));
    }
    page.push_str("</table>\n");
}

/// Each quantity as dots.
pub(super) fn figure(result: &SweepResult) -> Result<Figure, DrawError> {
    let has_differences = nr_seeds(result) > 1 && result.points.iter().any(|point| result.baseline_of(point).is_some());
    let drawings = shown(result).map(|quantity| match has_differences {
        true => differences(result, quantity).draw(),
        false => values(result, quantity).draw(),
    });
    let drawings = drawings.collect::<Result<Vec<_>, _>>()?;
    Ok(match has_differences {
        true => Figure::new(
            &format!("Differences to {}", result.baseline),
            drawings,
            "Seed by seed, with 95 % intervals: of twenty differences that are 0, one is expected to look otherwise. Hollow: it may \
             be 0. The axes show the range of the differences.",
        ),
        false => Figure::new(
            "Policies side by side",
            drawings,
            "One placement of the tasks: differences between policies may be noise, which compare --seeds 10 shows. The axes do not \
             start at 0.",
        ),
    })
}

fn better(quantity: &Quantity) -> &'static str {
    match quantity.better {
        Better::More => "more is better",
        Better::Less => "less is better",
    }
}

fn values(result: &SweepResult, quantity: &Quantity) -> Dots {
    let row = |point: &Point| {
        let spread = point.spread(quantity)?;
        let value = spread.mean * quantity.factor;
        let half = spread.half_interval.map(|half| half * quantity.factor);
        let text = quantity.format.text(spread.mean);
        Some(Row { label: point.label(), value, half, hollow: false, text })
    };
    Dots {
        title: quantity.title.to_owned(),
        axis: format!("{}; {}", quantity.unit, better(quantity)),
        rows: result.points.iter().filter_map(row).collect(),
        from_zero: false,
    }
}

fn differences(result: &SweepResult, quantity: &Quantity) -> Dots {
    let row = |point: &Point| {
        let difference = point.difference(result.baseline_of(point)?, quantity)?;
        let value = difference.mean * quantity.factor;
        let half = difference.half_interval.map(|half| half * quantity.factor);
        let text = with_half(value, half.unwrap_or(0.0));
        Some(Row { label: point.label(), value, half, hollow: difference.may_be_zero(), text })
    };
    Dots {
        title: quantity.title.to_owned(),
        axis: format!("{}; {}", quantity.unit, better(quantity)),
        rows: result.points.iter().filter_map(row).collect(),
        from_zero: true,
    }
}

/// A difference and half of its interval, both with the decimals that show two digits of the latter.
fn with_half(value: f64, half: f64) -> String {
    let decimals = if half > 0.0 { 1.0 - half.log10().floor() } else { 2.0 };
    // There is room for sixteen characters.
    match value.abs().max(half) < 1e6 && decimals < 5.0 {
        true => format!("{value:+.0$} ± {half:.0$}", decimals.max(0.0) as usize),
        false => format!("{}{} ± {}", if value > 0.0 { "+" } else { "" }, number(value), number(half)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_the_decimals_of_their_intervals() {
        let cases = [
            (1.4931, 0.0536, "+1.493 ± 0.054"),
            (-257.7, 52.3, "-258 ± 52"),
            (-0.0396, 0.00184, "-0.0396 ± 0.0018"),
            (3.0, 0.0, "+3.00 ± 0.00"),
            (2.5e9, 1e8, "+2.5e9 ± 1.0e8"),
            (-2.4e-5, 4.9e-6, "-2.4e-5 ± 4.9e-6"),
        ];
        for (value, half, text) in cases {
            assert_eq!(with_half(value, half), text);
        }
    }
}
