//! The record as text: one column for each second.

use std::fmt::Write;

use super::record::{NodeSecond, Phase, Second};
use super::summary::Comparison;

/// Width of a row's name in columns, with the blanks after it.
const NAME_WIDTH: usize = 16;
const NOTHING: char = '·';
/// Eighths of a CPU.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Both timelines, the legend, and the summary.
pub fn report(alone: &Phase, with: &Phase, comparison: &Comparison) -> String {
    [timeline(alone), timeline(with), legend(), summary(comparison)].join("\n")
}

fn timeline(phase: &Phase) -> String {
    let mut rows = vec![(phase.title.to_string(), seconds_axis(phase))];
    for node in 0..phase.nr_nodes() {
        rows.push((format!("node {node}  work"), row(phase, node, |node| node.work_cpus)));
        rows.push(("        hog".to_string(), row(phase, node, |node| node.hog_cpus)));
        rows.push(("        stolen".to_string(), row(phase, node, |node| node.stolen_cpus)));
    }
    rows.iter().map(|(name, row)| format!("{name:NAME_WIDTH$}{row}\n")).collect()
}

fn row(phase: &Phase, node: usize, cpus: impl Fn(&NodeSecond) -> f64) -> String {
    phase.seconds.iter().map(|second| block(cpus(&second.nodes[node]))).collect()
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

fn legend() -> String {
    format!(
        "A column is a second: {NOTHING} none, {} to {} an eighth of the CPU of the node's host to all of it. Work: CPU time \
         of the\nmigratable tasks. Hog: CPU time of a hog on the host. Stolen: the guest wanted the CPU while the host ran \
         something else.\n",
        BLOCKS[0], BLOCKS[7]
    )
}

fn summary(comparison: &Comparison) -> String {
    let (alone, with) = (&comparison.alone, &comparison.with);
    let rows = [
        ("", "Linux alone".to_string(), "scx_vnuma".to_string(), String::new()),
        ("seconds recorded", tenths(alone.lasted_s), tenths(with.lasted_s), String::new()),
        ("hogs' share of their hosts' CPU", share(alone.hogs_share), share(with.hogs_share), String::new()),
        (
            "work's share of the other hosts' CPU",
            share(alone.idle_used_share),
            share(with.idle_used_share),
            String::new(),
        ),
        ("CPU-seconds stolen", tenths(alone.stolen_cpu_s), tenths(with.stolen_cpu_s), times(comparison.stolen())),
        ("migratable work a second", tenths(alone.work_per_s), tenths(with.work_per_s), times(comparison.work())),
        ("fixed task's work a second", tenths(alone.fixed_per_s), tenths(with.fixed_per_s), times(comparison.fixed())),
    ];
    let mut text = String::new();
    for (name, alone, with, ratio) in rows {
        let line = format!("{name:40}{alone:>12}{with:>12}   {ratio}");
        // Writing to a string can't fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if comparison.linux_does_more() {
        text += "Linux alone does more work: it also takes half of the CPU of each busy host, from the hogs.\n";
    }
    text + "The CPUs are emulated: only ratios count, not seconds or units of work.\n"
}

fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

fn share(share: Option<f64>) -> String {
    share.map_or("-".to_string(), |share| format!("{share:.2}"))
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or(String::new(), |ratio| format!("{ratio:.2} times as much"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::record::tests::{calm, hogged, phase};

    #[test]
    fn each_second_is_a_column_and_each_node_has_its_rows() {
        let text = timeline(&phase(&[
            &[calm(1.0), calm(1.0)],
            &[calm(1.0), hogged(0.5, 0.5)],
            &[calm(1.0), hogged(0.0, 0.0)],
        ]));
        let expected = "\
made up         |0 s
node 0  work    ███
        hog     ···
        stolen  ···
node 1  work    █▄·
        hog     ·▄█
        stolen  ·▄·
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_summary_says_where_more_work_came_from() {
        let (calm, shared, left) =
            (phase(&[&[calm(1.0)]]), phase(&[&[hogged(0.5, 0.5)]]), phase(&[&[hogged(0.0, 0.0)]]));
        let text = summary(&Comparison::of(&shared, &left));
        assert!(text.contains("0.50        1.00\n") && text.contains("0.00 times as much"), "{text}");
        assert!(text.contains("Linux alone does more work"), "{text}");
        assert!(!summary(&Comparison::of(&calm, &calm)).contains("Linux alone does more work"));
    }

    #[test]
    fn blocks_are_eighths_of_a_cpu() {
        let blocks: String = [0.0, 0.06, 0.07, 0.5, 1.0, 1.7].into_iter().map(block).collect();
        assert_eq!(blocks, "··▁▄██");
    }
}
