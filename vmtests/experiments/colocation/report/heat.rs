//! The load of each host in each second: one row per host, white for idle, dark for fully busy. Rings mark the nodes where
//! BE work was done.

use std::fmt::Write;

use super::data::Turn;

const LEFT: f64 = 60.0;
const TOP: f64 = 26.0;
const ROW_H: f64 = 22.0;
const PLOT_W: f64 = 960.0;
/// The radius of the ring of a node that did all BE work of a second.
const RING: f64 = 6.0;
/// Nodes that did less of a second's BE work have no ring.
const RINGED_SHARE: f64 = 0.05;

/// One turn as SVG.
pub fn draw(title: &str, turn: &Turn) -> String {
    let seconds = &turn.hosts.seconds;
    let end_s = seconds.last().map_or(1.0, |second| second.at_s);
    let x = |at_s: f64| LEFT + PLOT_W * at_s / end_s;
    let nr_hosts = seconds.first().map_or(0, |second| second.busy.len());
    let bottom = TOP + nr_hosts as f64 * ROW_H;
    let (width, height) = (LEFT + PLOT_W + 20.0, bottom + 40.0);
    let mut svg = format!(
        "<svg width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <text x=\"{LEFT}\" y=\"16\" font-size=\"15\">{title}</text>\n"
    );
    // Writing to a String can't fail.
    for host in 0..nr_hosts {
        let y = TOP + host as f64 * ROW_H;
        let _ =
            writeln!(svg, "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">host {host}</text>", LEFT - 8.0, y + 15.0);
        let mut from_s = 0.0;
        for second in seconds {
            let _ = write!(
                svg,
                "<rect x=\"{:.1}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{ROW_H}\" fill=\"{}\"/>",
                x(from_s),
                x(second.at_s) - x(from_s) + 0.3,
                shade(second.busy[host])
            );
            from_s = second.at_s;
        }
        svg.push('\n');
    }
    mark_work(&mut svg, turn, end_s, &x);
    axis(&mut svg, bottom, end_s, &x);
    svg.push_str("</svg>\n");
    svg
}

/// The area of a ring is the node's share of the second's work.
fn mark_work(svg: &mut String, turn: &Turn, end_s: f64, x: &impl Fn(f64) -> f64) {
    let mut from_s = 0.0;
    for second in turn.guest.seconds.iter().filter(|second| second.at_s <= end_s) {
        let total = second.signs.iter().sum::<u64>().max(1) as f64;
        let cx = x((from_s + second.at_s) / 2.0);
        for (node, &signs) in second.signs.iter().enumerate() {
            let share = signs as f64 / total;
            if share >= RINGED_SHARE {
                let (cy, r) = (TOP + (node as f64 + 0.5) * ROW_H, RING * share.sqrt());
                let _ = write!(
                    svg,
                    "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{r:.1}\" fill=\"#fff\" stroke=\"#d55e00\" stroke-width=\"2.5\"/>"
                );
            }
        }
        from_s = second.at_s;
    }
    svg.push('\n');
}

fn axis(svg: &mut String, bottom: f64, end_s: f64, x: &impl Fn(f64) -> f64) {
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{PLOT_W}\" height=\"{:.0}\" fill=\"none\" stroke=\"#444\"/>\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">seconds</text>",
        bottom - TOP,
        LEFT + PLOT_W / 2.0,
        bottom + 34.0
    );
    for tick in 0..=4u32 {
        let at_s = end_s * f64::from(tick) / 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{at_s:.0}</text>",
            x(at_s),
            bottom + 18.0
        );
    }
}

/// From white to dark blue.
fn shade(busy: f64) -> String {
    let part = |full: f64| 255.0 + (full - 255.0) * busy.clamp(0.0, 1.0);
    format!("#{:02x}{:02x}{:02x}", part(8.0) as u8, part(48.0) as u8, part(107.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::super::data::tests::run;
    use super::*;
    use crate::experiments::colocation::record::Arm;

    #[test]
    fn each_second_of_each_host_is_a_field_and_work_is_marked() {
        let run = run();
        let svg = draw("t", &run.turns(Arm::Coarse)[0]);
        // Two seconds of four hosts, and the frame; work is marked in both seconds of the guest.
        assert_eq!(svg.matches("<rect").count(), 2 * 4 + 1);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("r=\"6.0\""), "all work is on one node: {svg}");
        assert!(!draw("t", &run.turns(Arm::LcOnly)[0]).contains("<circle"));
        assert_eq!((shade(0.0).as_str(), shade(1.0).as_str()), ("#ffffff", "#08306b"));
    }
}
