//! The figures as tables: rows of cells, the first row being the heads. They are printed as text, and shown on the page.

use super::data::{Figure, Run, Spread};
use super::goals::{goals, Bound};
use super::prediction::Prediction;
use crate::experiments::colocation::record::Arm;

pub type Table = Vec<Vec<String>>;

/// Medians over the rounds, and their spread.
pub fn figures(run: &Run) -> Table {
    let heads = std::iter::once(String::new()).chain(Arm::ALL.map(|arm| arm.label().to_string()));
    let row = |figure: Figure| {
        let cell = |arm| spread(run.spread(arm, figure));
        std::iter::once(figure.label().to_string()).chain(Arm::ALL.map(cell)).collect()
    };
    std::iter::once(heads.collect()).chain(Figure::ALL.map(row)).collect()
}

/// What each arm gains and what that costs: the harvest beside the latency of LC work, and the work done. Of the latency, part is the
/// emulation's: what LC has by second where the guest leaves its host alone.
pub fn trade(run: &Run) -> Table {
    let heads = [
        "",
        "harvest: BE CPU / idle CPU",
        "LC P99 / LC only",
        "LC P99 by second, left alone / LC only",
        "LC's time beside BE, %",
        "BE work / kernel, unbound",
    ];
    let row = |arm: Arm| {
        let ratio = |baseline, figure| run.ratio(arm, baseline, figure).map_or("-".to_string(), spread);
        vec![
            arm.label().to_string(),
            spread(run.spread(arm, Figure::Harvest)),
            ratio(Arm::LcOnly, Figure::LatencyP99),
            ratio(Arm::LcOnly, Figure::LatencyP99LeftAlone),
            spread(run.spread(arm, Figure::Beside)),
            ratio(Arm::Unbound, Figure::SignsPerS),
        ]
    };
    std::iter::once(heads.map(str::to_string).to_vec()).chain(Arm::ALL.map(row)).collect()
}

/// Medians of the ratios to a baseline, round by round, and their spread.
pub fn ratios(run: &Run, baseline: Arm) -> Table {
    let arms: Vec<Arm> = Arm::ALL.into_iter().filter(|&arm| arm != baseline && arm != Arm::LcOnly).collect();
    let heads = std::iter::once(format!("ratio to {}", baseline.label().trim_start_matches("+ ")));
    let heads = heads.chain(arms.iter().map(|arm| arm.label().to_string())).collect();
    let row = |figure: Figure| {
        let cells: Vec<Option<Spread>> = arms.iter().map(|&arm| run.ratio(arm, baseline, figure)).collect();
        let shown = cells.iter().any(Option::is_some);
        let text = cells.into_iter().map(|cell| cell.map_or("-".to_string(), spread));
        shown.then(|| std::iter::once(figure.label().replace(", ms", "").replace(", %", "")).chain(text).collect())
    };
    let figures = Figure::ALL.into_iter().filter(|&figure| !matches!(figure, Figure::Moves | Figure::Harvest));
    std::iter::once(heads).chain(figures.filter_map(row)).collect()
}

/// Each goal, what was measured, and whether it holds.
pub fn verdicts(run: &Run) -> Table {
    let heads = ["goal", "arm", "measured", "wanted", ""].map(str::to_string).to_vec();
    let row = |goal: super::goals::Goal| {
        let wanted = match goal.bound {
            Bound::AtMost(bound) => format!("{bound} at most"),
            Bound::AtLeast(bound) => format!("{bound} at least"),
        };
        let measured = goal.measured.map_or("-".to_string(), spread);
        vec![goal.description.to_string(), goal.arm.label().to_string(), measured, wanted, goal.verdict().to_string()]
    };
    std::iter::once(heads).chain(goals(run).into_iter().map(row)).collect()
}

/// The simulator's predictions compared with the lab's measurements.
pub fn simulated(predictions: &[Prediction]) -> Table {
    let heads = [
        "arm",
        "round",
        "utilisation simulated, %",
        "measured, %",
        "off by, %",
        "LC's part simulated, %",
        "LC only measured, %",
        "moves simulated",
        "measured",
    ];
    let row = |prediction: &Prediction| {
        vec![
            prediction.arm.label().to_string(),
            prediction.round.to_string(),
            format!("{:.1}", prediction.simulated_utilisation),
            format!("{:.1}", prediction.measured_utilisation),
            format!("{:+.1}", prediction.off_by()),
            format!("{:.1}", prediction.simulated_lc),
            format!("{:.1}", prediction.measured_lc),
            prediction.simulated_moves.to_string(),
            prediction.measured_moves.to_string(),
        ]
    };
    std::iter::once(heads.map(str::to_string).to_vec()).chain(predictions.iter().map(row)).collect()
}

/// The published results of the same experiment, on four hosts of 16 cores each. They are from single runs.
pub fn published() -> Table {
    let rows = [
        ["published", "LC only", "+ plain VM", "+ rebalance.sh"],
        ["LC P99, ms", "2.51", "4.75", "3.46"],
        ["LC requests/s", "532.5", "517.8", "523.1"],
        ["BE signs/s (810.7 alone)", "-", "708.0", "714.0"],
        ["CPU utilisation, %", "30.6", "36.1", "41.3"],
        ["Gini over hosts", "0.569", "0.486", "0.426"],
    ];
    rows.map(|row| row.map(str::to_string).to_vec()).to_vec()
}

/// All tables as text.
pub fn text(run: &Run, predictions: &[Prediction]) -> String {
    let tables = [
        trade(run),
        figures(run),
        ratios(run, Arm::LcOnly),
        ratios(run, Arm::Unbound),
        ratios(run, Arm::Rebalance),
        verdicts(run),
        simulated(predictions),
        published(),
    ];
    let rounds = format!("Medians of {} rounds, and lowest to highest.\n\n", run.nr_rounds());
    rounds + &tables.map(|table| aligned(&table)).join("\n") + "\n"
}

fn aligned(table: &Table) -> String {
    let nr_columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..nr_columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_string() + "\n"
    };
    table.iter().map(line).collect()
}

fn spread(spread: Spread) -> String {
    let Spread { low, median, high } = spread;
    if [low, median, high].iter().any(|value| value.is_nan()) {
        return "-".to_string();
    }
    format!("{} ({} to {})", number(median), number(low), number(high))
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::tests::run;
    use super::*;

    #[test]
    fn every_arm_has_a_column_and_every_figure_a_row() {
        let table = figures(&run());
        assert_eq!((table.len(), table[0].len()), (1 + Figure::ALL.len(), 1 + Arm::ALL.len()));
        assert_eq!(table[3][..2], ["LC P99, ms", "8.000 (4.000 to 8.000)"]);
    }

    #[test]
    fn what_the_baseline_lacks_has_no_ratio() {
        let ratios = ratios(&run(), Arm::LcOnly);
        assert!(ratios.iter().all(|row| row[0] != "BE signs/s"), "{ratios:?}");
        let p99 = ["3.000", "2.000", "1.500", "1.125", "1.062", "1.250", "1.750"];
        let p99 = p99.map(|ratio| format!("{ratio} ({ratio} to {ratio})"));
        assert_eq!((ratios[3][0].as_str(), &ratios[3][1..]), ("LC P99", &p99[..]));
    }

    #[test]
    fn what_an_arm_gains_is_beside_what_it_costs() {
        let trade = trade(&run());
        assert_eq!(trade.len(), 1 + Arm::ALL.len());
        let unbound = [
            "+ kernel, unbound",
            "0.115 (0.115 to 0.115)",
            "3.000 (3.000 to 3.000)",
            // Work is there in every second.
            "-",
            "100.0 (100.0 to 100.0)",
            "1.000 (1.000 to 1.000)",
        ];
        assert_eq!(trade[2], unbound);
    }
}
