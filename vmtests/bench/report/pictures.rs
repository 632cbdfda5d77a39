//! The pictures: the cost of a change of plan by the number of tasks, and the reaction time and cost of each interval.

use plotters::style::RGBColor;

use super::picture::{Line, Of, Panel};
use super::ratios::TASKSETS;

const ORANGE: RGBColor = RGBColor(213, 94, 0);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const GREEN: RGBColor = RGBColor(0, 158, 115);

/// File names and what they show.
pub const ALL: [(&str, &[Panel]); 2] = [("retarget.svg", &RETARGET), ("reactions.svg", &REACTIONS)];

const RETARGET_LINES: &[Line] = &[
    Line { arm: TASKSETS, label: TASKSETS, colour: ORANGE, of: Of::Median },
    Line { arm: "sched_setaffinity loop", label: "sched_setaffinity loop", colour: BLUE, of: Of::Median },
    Line { arm: "scx_vnuma", label: "scx_vnuma", colour: GREEN, of: Of::Median },
];
const TASKS: &str = "sleeping tasks (4 more are running)";

const RETARGET: [Panel; 2] = [
    Panel {
        caption: "Sending all migratable work to another node: CPU time",
        x_desc: TASKS,
        y_desc: "us (emulated CPUs: compare, don't quote)",
        measurement: ("retarget, ", " asleep and 4 running, CPU time"),
        lines: RETARGET_LINES,
    },
    Panel {
        caption: "… and time until all run there",
        x_desc: TASKS,
        y_desc: "ms (emulated CPUs: compare, don't quote)",
        measurement: ("retarget, ", " asleep and 4 running, until all run there"),
        lines: RETARGET_LINES,
    },
];

const INTERVAL: &str = "time between two rounds (--interval), ms";

const REACTIONS: [Panel; 2] = [
    Panel {
        caption: "From the first tick stolen from a node until migratable work has left it",
        x_desc: INTERVAL,
        y_desc: "ms",
        measurement: ("interval of ", " ms, until work has left"),
        lines: &[
            Line { arm: "scx_vnuma", label: "slowest", colour: ORANGE, of: Of::Highest },
            Line { arm: "scx_vnuma", label: "median", colour: GREEN, of: Of::Median },
        ],
    },
    Panel {
        caption: "The daemon's CPU time, while nothing happens",
        x_desc: INTERVAL,
        y_desc: "% of an emulated CPU: compare, don't quote",
        measurement: ("interval of ", " ms, the daemon's CPU"),
        lines: &[
            Line { arm: "rounds and probes", label: "rounds and probes", colour: BLUE, of: Of::Median },
            Line { arm: "rounds", label: "rounds", colour: GREEN, of: Of::Median },
        ],
    },
];
