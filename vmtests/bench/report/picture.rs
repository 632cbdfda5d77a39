//! Line charts over a parameter that was varied, as panels one below the other. All axes are logarithmic.

use anyhow::{ensure, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::ratios::{spread, values};
use crate::bench::sample::Sample;

const WIDTH: u32 = 900;
const PANEL_HEIGHT: u32 = 440;

/// A chart of one measurement. The name of the measurement contains the value of the parameter.
pub struct Panel {
    pub caption: &'static str,
    pub x_desc: &'static str,
    pub y_desc: &'static str,
    /// The measurement's name before the parameter, and after it.
    pub measurement: (&'static str, &'static str),
    pub lines: &'static [Line],
}

/// A line: one statistic of one arm's values.
pub struct Line {
    pub arm: &'static str,
    pub label: &'static str,
    pub colour: RGBColor,
    pub of: Of,
}

/// Which of an arm's values.
#[derive(Clone, Copy)]
pub enum Of {
    Median,
    Highest,
}

/// Returns the picture as SVG, or `None` if no sample belongs to it.
pub fn draw(panels: &[Panel], samples: &[Sample]) -> Result<Option<String>> {
    if !panels.iter().any(|panel| samples.iter().any(|sample| panel.varied(&sample.measurement).is_some())) {
        return Ok(None);
    }
    let mut svg = String::new();
    {
        let page = SVGBackend::with_string(&mut svg, (WIDTH, PANEL_HEIGHT * panels.len() as u32)).into_drawing_area();
        page.fill(&WHITE)?;
        for (panel, area) in panels.iter().zip(page.split_evenly((panels.len(), 1))) {
            panel.draw(&area, samples)?;
        }
        page.present()?;
    }
    Ok(Some(svg))
}

impl Panel {
    /// The parameter in a measurement's name, if the measurement belongs to this panel.
    fn varied(&self, measurement: &str) -> Option<u32> {
        let (before, after) = self.measurement;
        measurement.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
    }

    fn points(&self, line: &Line, samples: &[Sample]) -> Vec<(f64, f64)> {
        let mut numbers: Vec<u32> = samples.iter().filter_map(|sample| self.varied(&sample.measurement)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let (before, after) = self.measurement;
        let point = |nr: u32| {
            let found = values(samples, &format!("{before}{nr}{after}"), line.arm);
            let found: Vec<f64> = found.into_iter().map(|(_, value)| value).collect();
            let (_, median, highest) = (!found.is_empty()).then(|| spread(found))?;
            let value = match line.of {
                Of::Median => median,
                Of::Highest => highest,
            };
            // Zero has no logarithm: values below the clock's resolution are not drawn.
            (value > 0.0).then_some((f64::from(nr), value))
        };
        numbers.into_iter().filter_map(point).collect()
    }

    fn draw(&self, area: &DrawingArea<SVGBackend, Shift>, samples: &[Sample]) -> Result<()> {
        let lines: Vec<_> = self.lines.iter().map(|line| (line, self.points(line, samples))).collect();
        let all: Vec<(f64, f64)> = lines.iter().flat_map(|(_, points)| points.clone()).collect();
        ensure!(!all.is_empty(), "no sample belongs to the panel '{}'", self.caption);
        let (x_min, _, x_max) = spread(all.iter().map(|&(x, _)| x).collect());
        let (y_min, _, y_max) = spread(all.iter().map(|&(_, y)| y).collect());
        // Leave room for the legend above the lines.
        let y_top = y_max * (y_max / y_min).powf(0.4).max(2.0);
        let mut chart = ChartBuilder::on(area)
            .caption(self.caption, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(90)
            .build_cartesian_2d((x_min * 0.8..x_max * 1.25).log_scale(), (y_min / 1.5..y_top).log_scale())?;
        chart
            .configure_mesh()
            .max_light_lines(1)
            .x_desc(self.x_desc)
            .y_desc(self.y_desc)
            .x_label_formatter(&|x| label(*x))
            .y_label_formatter(&|y| y.to_string())
            .draw()?;
        for (line, points) in lines {
            let style = line.colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points, style).point_size(4))?
                .label(line.label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .border_style(BLACK)
            .background_style(WHITE)
            .draw()?;
        Ok(())
    }
}

/// The axis label of a number, empty unless the number begins with 1, 2 or 5: more labels would overlap.
fn label(x: f64) -> String {
    let text = x.to_string();
    if text.starts_with(['1', '2', '5']) {
        text
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANEL: Panel = Panel {
        caption: "",
        x_desc: "",
        y_desc: "",
        measurement: ("of ", " ms"),
        lines: &[Line { arm: "a", label: "", colour: BLACK, of: Of::Highest }],
    };

    fn sample(measurement: &str, value: f64) -> Sample {
        Sample { measurement: measurement.into(), arm: "a".into(), pair: 0, value, unit: String::new() }
    }

    #[test]
    fn a_line_goes_over_the_number_in_the_names() {
        let samples = [sample("of 100 ms", 3.0), sample("of 50 ms", 1.0), sample("of 50 ms", 2.0), sample("x", 9.0)];
        assert_eq!(PANEL.points(&PANEL.lines[0], &samples), [(50.0, 2.0), (100.0, 3.0)]);
        assert_eq!(PANEL.points(&PANEL.lines[0], &[sample("of 9 ms", 0.0)]), []);
    }

    #[test]
    fn there_is_no_picture_of_nothing() {
        assert!(draw(&[PANEL], &[sample("x", 9.0)]).expect("a picture or none").is_none());
        assert!(draw(&[PANEL], &[sample("of 50 ms", 1.0), sample("of 9 ms", 1.0)]).expect("a picture").is_some());
    }
}
