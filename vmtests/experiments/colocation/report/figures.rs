//! Bar charts of the arms with their spread over the rounds, and line charts of the latency in each second.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::data::{Figure, Run};
use crate::experiments::colocation::record::Arm;

const BARS: (u32, u32) = (340, 260);
const LINES: (u32, u32) = (1040, 320);

/// Okabe and Ito's palette, safe for colour-blind readers. The arms' order and names carry the same information.
fn colour(arm: Arm) -> RGBColor {
    match arm {
        Arm::LcOnly => RGBColor(110, 110, 110),
        Arm::PlainVm => RGBColor(213, 94, 0),
        Arm::Rebalance => RGBColor(230, 159, 0),
        Arm::Coarse => RGBColor(0, 114, 178),
        Arm::Fine => RGBColor(0, 158, 115),
    }
}

/// One figure of each arm: its median as a bar, its spread as a line.
pub fn bars(run: &Run, figure: Figure) -> Result<String> {
    let spreads: Vec<_> = Arm::ALL.into_iter().map(|arm| (arm, run.spread(arm, figure))).collect();
    let top = spreads.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max);
    let top = if top > 0.0 { top * 1.12 } else { 1.0 };
    let mut svg = String::new();
    {
        let page = SVGBackend::with_string(&mut svg, BARS).into_drawing_area();
        page.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&page)
            .caption(figure.label(), ("sans-serif", 15))
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..spreads.len() as f64, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(5)
            .label_style(("sans-serif", 12))
            .light_line_style(WHITE)
            .draw()?;
        for (at, (arm, spread)) in spreads.iter().enumerate() {
            let (from, to) = (at as f64 + 0.15, at as f64 + 0.85);
            let middle = (from + to) / 2.0;
            chart.draw_series([Rectangle::new([(from, 0.0), (to, spread.median)], colour(*arm).filled())])?;
            chart.draw_series([PathElement::new(
                [(middle, spread.low), (middle, spread.high)],
                BLACK.stroke_width(2),
            )])?;
        }
        let style = TextStyle::from(("sans-serif", 11).into_font()).pos(Pos::new(HPos::Center, VPos::Top));
        for (at, (arm, _)) in spreads.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(at as f64 + 0.5, 0.0));
            // Labels have two lines, because bars are narrow.
            let label = arm.label().trim_start_matches("+ ");
            let (first, second) = label.rsplit_once(' ').unwrap_or(match label.find('.') {
                Some(dot) => label.split_at(dot),
                None => (label, ""),
            });
            page.draw(&Text::new(first.to_string(), (x, y + 5), style.clone()))?;
            page.draw(&Text::new(second.to_string(), (x, y + 18), style.clone()))?;
        }
        page.present()?;
    }
    Ok(svg)
}

/// The worst P99 of any host in each second of the first round, by arm; the axis of latency is logarithmic.
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
        let mut chart = ChartBuilder::on(&page)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(62)
            // Leave room for the legend above the lines.
            .build_cartesian_2d(0.0..end_s, (low..high * 20.0).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("seconds")
            .y_desc("P99 of the worst host, ms")
            .y_label_formatter(&|ms| if *ms < 1.0 { format!("{ms:.1}") } else { format!("{ms:.0}") })
            .label_style(("sans-serif", 12))
            .light_line_style(WHITE)
            .draw()?;
        for (arm, points) in &lines {
            let style = colour(*arm).stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))?
                .label(arm.label())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .border_style(RGBColor(180, 180, 180))
            .background_style(WHITE)
            .draw()?;
        page.present()?;
    }
    Ok(svg)
}
