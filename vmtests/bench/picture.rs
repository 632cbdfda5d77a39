//! What a retarget costs by the number of tasks that sleep: both axes logarithmic.

use anyhow::{ensure, Result};
use plotters::prelude::*;

use crate::ratios::{spread, values};
use crate::sample::Sample;

const SIZE: (u32, u32) = (900, 520);
const ARMS: [(&str, RGBColor); 3] = [
    ("taskset loop", RGBColor(213, 94, 0)),
    ("sched_setaffinity loop", RGBColor(0, 114, 178)),
    ("scx_vnuma", RGBColor(0, 158, 115)),
];

/// Returns the picture as SVG.
pub fn draw(samples: &[Sample]) -> Result<String> {
    let lines = ARMS.map(|(arm, colour)| (arm, colour, medians(samples, arm)));
    let all: Vec<(f64, f64)> = lines.iter().flat_map(|(_, _, points)| points.clone()).collect();
    ensure!(!all.is_empty(), "there is no retarget among the samples");
    let (x_min, _, x_max) = spread(all.iter().map(|&(tasks, _)| tasks).collect());
    let (y_min, _, y_max) = spread(all.iter().map(|&(_, us)| us).collect());

    let mut svg = String::new();
    {
        let page = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        page.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&page)
            .caption("CPU time of sending all migratable work to another node", ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(90)
            .build_cartesian_2d((x_min * 0.8..x_max * 1.25).log_scale(), (y_min / 2.0..y_max * 2.0).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("tasks asleep, beside 4 that run")
            .y_desc("CPU time, us (emulated CPUs: compare, don't quote)")
            .x_label_formatter(&|tasks| format!("{tasks:.0}"))
            .y_label_formatter(&|us| format!("{us:.0}"))
            .draw()?;
        for (arm, colour, points) in &lines {
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style).point_size(4))?
                .label(*arm)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .border_style(BLACK)
            .background_style(WHITE)
            .draw()?;
        page.present()?;
    }
    Ok(svg)
}

/// (tasks asleep, median CPU time in us) of an arm.
fn medians(samples: &[Sample], arm: &str) -> Vec<(f64, f64)> {
    let mut crowds: Vec<u32> = samples.iter().filter_map(|sample| nr_asleep(&sample.measurement)).collect();
    crowds.sort_unstable();
    crowds.dedup();
    let median = |nr: u32| {
        let found = values(samples, &format!("retarget, {nr} asleep and 4 running, CPU time"), arm);
        let found: Vec<f64> = found.into_iter().map(|(_, us)| us.max(1.0)).collect();
        (!found.is_empty()).then(|| (f64::from(nr), spread(found).1))
    };
    crowds.into_iter().filter_map(median).collect()
}

fn nr_asleep(measurement: &str) -> Option<u32> {
    measurement.strip_prefix("retarget, ")?.split(' ').next()?.parse().ok()
}
