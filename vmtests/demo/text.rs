//! The record as text: one column for each second.

use std::fmt::Write;

use super::record::{Phase, Second};
use super::summary::Comparison;

/// Width of a row's name in columns, with the blanks after it.
const NAME_WIDTH: usize = 20;
const NOTHING: char = '·';
/// Eighths of a CPU.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Both timelines, the legend, and the summary.
pub fn report(without: &Phase, with: &Phase, comparison: &Comparison) -> String {
    [timeline(without), timeline(with), legend(), summary(comparison)].join("\n")
}

fn timeline(phase: &Phase) -> String {
    let decided = |index: usize| phase.decisions().iter().find(|decision| decision.second == index).map(|d| d.to);
    let mut rows = vec![(phase.title.to_string(), seconds_axis(phase))];
    for node in 0..phase.nr_nodes() {
        rows.push((format!("stolen from node {node}"), row(phase, |_, second| block(second.stolen_cpus[node]))));
    }
    rows.push(("hog on the host of".to_string(), row(phase, |_, second| digit(second.hogged))));
    rows.push(("most work done on".to_string(), row(phase, |_, second| digit(second.busiest_node()))));
    // Without the scheduler there are no decisions.
    if phase.seconds.iter().any(|second| second.epoch.is_some()) {
        rows.push(("scx_vnuma moves to".to_string(), row(phase, |index, _| digit(decided(index)))));
    }
    rows.iter().map(|(name, row)| format!("{name:NAME_WIDTH$}{row}\n")).collect()
}

fn row(phase: &Phase, cell: impl Fn(usize, &Second) -> char) -> String {
    phase.seconds.iter().enumerate().map(|(index, second)| cell(index, second)).collect()
}

/// The time axis: the start of every tenth column.
fn seconds_axis(phase: &Phase) -> String {
    let label = |second: &Second| format!("{:<10}", format!("|{:.0} s", second.from_s));
    phase.seconds.iter().step_by(10).map(label).collect::<String>().trim_end().to_string()
}

fn block(cpus: f64) -> char {
    // Values below half of the smallest block are shown as a dot.
    if cpus < 1.0 / 16.0 {
        return NOTHING;
    }
    let eighths = (cpus * 8.0).round() as usize;
    BLOCKS[eighths.clamp(1, 8) - 1]
}

fn digit(node: Option<u32>) -> char {
    node.map_or(NOTHING, |node| char::from_digit(node, 36).unwrap_or('?'))
}

fn legend() -> String {
    format!(
        "A column is a second. Stolen: {} none, {} to {} an eighth of a CPU to all of one. Digits are nodes.\n",
        NOTHING, BLOCKS[0], BLOCKS[7]
    )
}

fn summary(comparison: &Comparison) -> String {
    let (without, with) = (&comparison.without, &comparison.with);
    let rows = [
        ("", "without".to_string(), "with".to_string(), String::new()),
        ("seconds recorded", tenths(without.lasted_s), tenths(with.lasted_s), String::new()),
        (
            "CPU-seconds stolen where the work was",
            tenths(without.stolen_cpu_s),
            tenths(with.stolen_cpu_s),
            comparison.stolen(),
        ),
        (
            "migratable work a second",
            tenths(without.migratable_per_s),
            tenths(with.migratable_per_s),
            comparison.migratable(),
        ),
        ("fixed task's work a second", tenths(without.fixed_per_s), tenths(with.fixed_per_s), comparison.fixed()),
    ];
    let mut text = String::new();
    for (name, without, with, ratio) in rows {
        let line = format!("{name:40}{without:>10}{with:>10}   {ratio}");
        // Writing to a string can't fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text + "The CPUs are emulated: only ratios count, not seconds or units of work.\n"
}

fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::record::tests::phase;

    #[test]
    fn each_second_is_a_column_and_a_decision_is_marked_in_its_own() {
        let text = timeline(&phase(&[(10, 0, None), (10, 0, Some(0)), (2, 8, Some(0)), (0, 10, None)]));
        let expected = "\
made up             |0 s
stolen from node 0  ▄▄▄▄
stolen from node 1  ····
hog on the host of  ·00·
most work done on   0011
scx_vnuma moves to  ··1·
";
        assert_eq!(text, expected);
    }

    #[test]
    fn blocks_are_eighths_of_a_cpu() {
        let blocks: String = [0.0, 0.06, 0.07, 0.5, 1.0, 1.7].into_iter().map(block).collect();
        assert_eq!(blocks, "··▁▄██");
    }
}
