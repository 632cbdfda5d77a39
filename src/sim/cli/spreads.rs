//! Runs with several seeds as text and as JSON.

use super::table;
use crate::sim::figures::Figures;
use crate::sim::quantity::{self, Quantity};
use crate::sim::ranking::{self, ranking};
use crate::sim::spread::Spread;
use crate::sim::sweep::{Point, SweepResult};

/// The table of means, each with half of its interval below it; after a comparison also the differences to the baseline and
/// the rankings.
pub fn text(result: &SweepResult) -> String {
    let seeds = result.points.iter().map(|point| point.runs.len()).max().unwrap_or(0);
    let means = means(result);
    if seeds < 2 {
        return means;
    }
    let about = format!("Means over {seeds} placements (seeds), ± half of their 95 % intervals:\n\n{means}");
    if !result.varied.is_empty() || result.points.len() < 2 {
        return about;
    }
    format!(
        "{about}\nDifferences to {}, seed by seed; ≈ where they may be 0:\n\n{}\nBest first; ≈ where the order is noise:\n\n{}",
        result.baseline,
        differences(result),
        rankings(result)
    )
}

fn quantities(result: &SweepResult) -> Vec<&'static Quantity> {
    quantity::of_runs(result.points.iter().flat_map(|point| &point.runs))
}

fn heads(result: &SweepResult) -> Vec<String> {
    let varied = result.varied.iter().cloned();
    let names = quantities(result).into_iter().map(|quantity| quantity.name.to_owned());
    varied.chain(["policy".to_owned()]).chain(names).collect()
}

/// Two rows of a point: values, and below them half of their intervals; one row if no value has an interval.
fn rows(result: &SweepResult, point: &Point, cell: impl Fn(&Quantity) -> (String, Option<String>)) -> Vec<Vec<String>> {
    let (values, halves): (Vec<String>, Vec<Option<String>>) = quantities(result).into_iter().map(cell).unzip();
    let row = [point.values.clone(), vec![point.label()], values].concat();
    if halves.iter().all(Option::is_none) {
        return vec![row];
    }
    let empty = vec![String::new(); point.values.len() + 1];
    vec![row, empty.into_iter().chain(halves.into_iter().map(Option::unwrap_or_default)).collect()]
}

fn means(result: &SweepResult) -> String {
    let cell = |point: &Point, quantity: &Quantity| match point.spread(quantity) {
        Some(spread) => (quantity.format.text(spread.mean), half(&spread, quantity)),
        None => ("-".to_owned(), None),
    };
    let of_point = |point| rows(result, point, |quantity| cell(point, quantity));
    let rows = std::iter::once(heads(result)).chain(result.points.iter().flat_map(of_point));
    // Bounds are those of a trace and a cluster, which a sweep varies.
    let bounds = result.varied.is_empty().then(|| bounds(&result.points)).flatten();
    table::aligned(&rows.chain(bounds).collect::<Vec<_>>())
}

/// A row with what no policy could exceed or go below.
fn bounds(points: &[Point]) -> Option<Vec<String>> {
    let mean = |point: &Point, of: fn(&Figures) -> f64| {
        point.runs.iter().map(|run| of(&run.figures)).sum::<f64>() / point.runs.len() as f64
    };
    let utilisation =
        points.iter().map(|point| mean(point, |figures| figures.cpu_utilisation_bound)).reduce(f64::max)?;
    let gini = points.iter().map(|point| mean(point, |figures| figures.gini_bound)).reduce(f64::min)?;
    Some(vec!["(bound)".to_owned(), format!("{utilisation:.5}"), format!("{gini:.4}")])
}

fn differences(result: &SweepResult) -> String {
    let cell = |point: &Point, baseline: &Point, quantity: &Quantity| match point.difference(baseline, quantity) {
        Some(spread) => {
            let mark = if spread.may_be_zero() { "≈" } else { "" };
            (format!("{mark}{}", quantity.format.signed(spread.mean)), half(&spread, quantity))
        }
        None => ("-".to_owned(), None),
    };
    let of_point = |point| {
        let baseline = result.baseline_of(point);
        baseline.map(|baseline| rows(result, point, |quantity| cell(point, baseline, quantity))).unwrap_or_default()
    };
    table::aligned(&std::iter::once(heads(result)).chain(result.points.iter().flat_map(of_point)).collect::<Vec<_>>())
}

fn half(spread: &Spread, quantity: &Quantity) -> Option<String> {
    spread.half_interval.map(|half| format!("±{}", quantity.format.text(half)))
}

fn rankings(result: &SweepResult) -> String {
    let points: Vec<&Point> = result.points.iter().collect();
    let row = |quantity: &Quantity| {
        let ranked = ranking(&points, quantity);
        (!ranked.is_empty()).then(|| format!("{:<20} {}\n", quantity.name, ranking::line(&ranked, quantity.better)))
    };
    quantities(result).into_iter().filter_map(row).collect()
}

/// The points as printed: means under the figures' names, their intervals, and the differences to the baseline. The varied
/// options are a separate object, because one may have the same name as a figure.
pub fn listed(result: &SweepResult) -> Vec<serde_json::Value> {
    let of_point = |point: &Point| {
        let mut object = serde_json::json!({
            "policy": point.parameters.policy,
            "order": point.parameters.order,
            "seeds": point.runs.len(),
        });
        for (name, value) in result.varied.iter().zip(&point.values) {
            object["varied"][name] = value.parse::<f64>().map_or_else(|_| value.clone().into(), Into::into);
        }
        add_means(&mut object, point);
        for quantity in quantities(result) {
            if let Some(half) = point.spread(quantity).and_then(|spread| spread.half_interval) {
                object["half_interval"][quantity.name] = half.into();
            }
            let baseline = result.baseline_of(point).filter(|_| point.runs.len() > 1);
            if let Some(difference) = baseline.and_then(|baseline| point.difference(baseline, quantity)) {
                object["difference"]["to"] = result.baseline.clone().into();
                object["difference"][quantity.name] = serde_json::json!({
                    "mean": difference.mean,
                    "half_interval": difference.half_interval,
                    "may_be_zero": difference.may_be_zero(),
                });
            }
        }
        object
    };
    result.points.iter().map(of_point).collect()
}

/// Add every number of the runs as the mean over the seeds. With one seed it is that run's number, of its own type.
fn add_means(object: &mut serde_json::Value, point: &Point) {
    let runs: Vec<serde_json::Value> =
        point.runs.iter().map(|run| serde_json::to_value(run).unwrap_or_default()).collect();
    let Some(serde_json::Value::Object(first)) = runs.first() else { return };
    for (name, value) in first.iter().filter(|(name, _)| *name != "seed") {
        let values = runs.iter().map(|run| run[name].as_f64()).collect::<Option<Vec<f64>>>().unwrap_or_default();
        object[name] = match Spread::of(&values) {
            Some(spread) if runs.len() > 1 => spread.mean.into(),
            Some(_) => value.clone(),
            None => serde_json::Value::Null,
        };
    }
}
