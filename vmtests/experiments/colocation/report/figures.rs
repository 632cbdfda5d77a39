//! Bar charts of the arms with their spread over the rounds, and line charts of the latency in each second.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::data::{Figure, Run};
use crate::experiments::colocation::record::Arm;

const BARS: (u32, u32) = (345, 250);
const LINES: (u32, u32) = (1040, 340);
/// Width of the legend beside the lines.
const LEGEND_W: u32 = 185;

/// Okabe and Ito's palette, safe for colour-blind readers. The arms' order and names carry the same information.
fn colour(arm: Arm) -> RGBColor {
    match arm {
        Arm::LcOnly => RGBColor(140, 140, 140),
        Arm::Unbound => RGBColor(204, 121, 167),
        Arm::PlainVm => RGBColor(213, 94, 0),
        Arm::Rebalance => RGBColor(230, 159, 0),
        Arm::Coarse => RGBColor(0, 114, 178),
        Arm::Fine => RGBColor(0, 158, 115),
        Arm::AutoProbes => RGBColor(86, 180, 233),
        Arm::AutoHosts => RGBColor(0, 0, 0),
    }
}

/// One figure of each arm, a row each: its median as a bar, its spread as a line.
pub fn bars(run: &Run, figure: Figure) -> Result<String> {
    const LABELS_W: u32 = 98;
    let spreads: Vec<_> = Arm::ALL.into_iter().map(|arm| (arm, run.spread(arm, figure))).collect();
    let end = spreads.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max);
    let end = if end > 0.0 { end * 1.08 } else { 1.0 };
    let mut svg = String::new();
    {
        let page = SVGBackend::with_string(&mut svg, BARS).into_drawing_area();
        page.fill(&WHITE)?;
        // The first arm is at the top.
        let mut chart = ChartBuilder::on(&page)
            .caption(figure.label(), ("sans-serif", 15))
            .margin(8)
            .margin_right(16)
            .x_label_area_size(24)
            .y_label_area_size(LABELS_W)
            .build_cartesian_2d(0.0..end, spreads.len() as f64..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_labels(5)
            .label_style(("sans-serif", 12))
            .light_line_style(WHITE)
            .draw()?;
        let style = TextStyle::from(("sans-serif", 12).into_font()).pos(Pos::new(HPos::Right, VPos::Center));
        for (at, (arm, spread)) in spreads.iter().enumerate() {
            let (from, middle, to) = (at as f64 + 0.15, at as f64 + 0.5, at as f64 + 0.85);
            chart.draw_series([Rectangle::new([(0.0, from), (spread.median, to)], colour(*arm).filled())])?;
            // White around it shows on dark bars.
            for (colour, width) in [(WHITE, 4), (BLACK, 2)] {
                let line = PathElement::new([(spread.low, middle), (spread.high, middle)], colour.stroke_width(width));
                chart.draw_series([line])?;
            }
            let (x, y) = chart.backend_coord(&(0.0, middle));
            page.draw(&Text::new(short_label(*arm), (x - 6, y), style.clone()))?;
        }
        page.present()?;
    }
    Ok(svg)
}

/// What an arm's name has besides its prefixes.
fn short_label(arm: Arm) -> &'static str {
    let label = arm.label().trim_start_matches("+ ");
    label.strip_prefix("scx_vnuma ").unwrap_or(label)
}

/// The worst P99 of any client in each second of the first round, by arm; the axis of latency is logarithmic.
pub fn latency_over_time(run: &Run) -> Result<String> {
    let worst = |arm: Arm| -> Vec<(f64, f64)> {
        let Some(turn) = run.turns(arm).first() else { return Vec::new() };
        let nr_seconds = turn.hosts.p99_us.iter().map(Vec::len).max().unwrap_or(0);
        let of_second = |second: usize| {
            let of_hosts = turn.hosts.p99_us.iter().filter_map(|host| host.get(second));
            (second as f64 + 0.5, of_hosts.copied().fold(0.0, f64::max) / 1e3)
        };
        (0..nr_seconds).map(of_second).filter(|&(_, ms)| ms > 0.0).collect()
    };
    let lines: Vec<_> = Arm::ALL.into_iter().map(|arm| (arm, worst(arm))).collect();
    let points = || lines.iter().flat_map(|(_, points)| points);
    let end_s = points().map(|point| point.0).fold(1.0, f64::max) + 0.5;
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min).min(1.0);
    let high = points().map(|point| point.1).fold(2.0, f64::max);
    let mut svg = String::new();
    {
        let page = SVGBackend::with_string(&mut svg, LINES).into_drawing_area();
        page.fill(&WHITE)?;
        let (plot, legend) = page.split_horizontally(LINES.0 - LEGEND_W);
        let mut chart = ChartBuilder::on(&plot)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(62)
            .build_cartesian_2d(0.0..end_s, (low..high * 1.2).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("seconds")
            .y_desc("P99 of the worst client, ms")
            .y_label_formatter(&|ms| if *ms < 1.0 { format!("{ms:.1}") } else { format!("{ms:.0}") })
            .label_style(("sans-serif", 12))
            .light_line_style(WHITE)
            .draw()?;
        for (at, (arm, points)) in lines.iter().enumerate() {
            let style = colour(*arm).stroke_width(2);
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            let y = 24 + 20 * at as i32;
            legend.draw(&PathElement::new([(0, y), (20, y)], style))?;
            let text = TextStyle::from(("sans-serif", 12).into_font()).pos(Pos::new(HPos::Left, VPos::Center));
            legend.draw(&Text::new(arm.label(), (26, y), text))?;
        }
        page.present()?;
    }
    Ok(svg)
}
