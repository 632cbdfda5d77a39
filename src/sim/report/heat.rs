//! Heat maps of machine utilisation over time: a picture with a pixel for each machine and span of time, and axes around it.

use std::fmt::Write;

use base64::prelude::{Engine, BASE64_STANDARD};

use super::figures::Figure;
use super::DrawError;
use crate::html::escape;
use crate::policy::PolicyName;
use crate::sim::models::Shapes;
use crate::sim::params::Params;
use crate::sim::result::RunResult;

const CELL_W: f64 = 3.6;
const CELL_H: f64 = 3.6;
const LEFT: f64 = 56.0;
const TOP: f64 = 30.0;

/// A heat map of each policy. Those under no policy and under the policy with the lowest Gini coefficient are open.
pub(super) fn maps(runs: &[RunResult]) -> Result<Option<Figure>, DrawError> {
    let Some(first) = runs.first() else { return Ok(None) };
    let movers = runs.iter().filter(|run| run.parameters.policy != PolicyName::NONE);
    let best = movers.min_by(|a, b| a.figures.gini.total_cmp(&b.figures.gini));
    let map = |run: &RunResult| {
        let open = run.parameters.policy == PolicyName::NONE || best.is_some_and(|best| std::ptr::eq(best, run));
        let label = escape(&run.parameters.policy_label());
        Ok(format!(
            "<details data-policy=\"{label}\"{}><summary>{label}</summary>\n{}</details>",
            if open { " open" } else { "" },
            svg(run)?
        ))
    };
    let drawings = runs.iter().map(map).collect::<Result<Vec<_>, DrawError>>()?;
    let caption = format!(
        "Utilisation of the first {} of {} machines over time: each row is a machine, {} rows are a cell. What is idle has \
         the page's colour, what is fully used that of its text. A policy that balances load makes the rows of a cell similar. Click on a policy to see its map.",
        first.heat.busy_cpu_ms.len(),
        first.parameters.machines,
        rows_of_a_cell(&first.parameters),
    );
    Ok(Some(Figure { title: "Utilisation by machine".to_owned(), drawings, caption }))
}

/// How many rows are a cell, in words.
fn rows_of_a_cell(params: &Params) -> String {
    match params.models.shapes.as_ref().and_then(Shapes::largest_cell) {
        Some(most) => format!("up to {most}"),
        None => format!("every {}", params.cell),
    }
}

fn svg(run: &RunResult) -> Result<String, DrawError> {
    let rows = &run.heat.busy_cpu_ms;
    let bins = rows.first().map_or(0, Vec::len);
    let (plot_w, plot_h) = (bins as f64 * CELL_W, rows.len() as f64 * CELL_H);
    let (width, height) = (LEFT + plot_w + 20.0, TOP + plot_h + 44.0);
    let mut svg = format!(
        "<svg width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <text x=\"{:.0}\" y=\"18\" font-size=\"16\" text-anchor=\"middle\">{}</text>\n",
        LEFT + plot_w / 2.0,
        escape(&run.parameters.policy_label())
    );
    if bins > 0 {
        let shades = shades(rows, &run.parameters, run.length_s() * 1e3 / bins as f64);
        let picture = BASE64_STANDARD.encode(png(bins as u32, rows.len() as u32, &shades)?);
        // Writing to a String can't fail.
        let _ = writeln!(
            svg,
            "<image x=\"{LEFT}\" y=\"{TOP}\" width=\"{plot_w:.1}\" height=\"{plot_h:.1}\" preserveAspectRatio=\"none\" \
             style=\"image-rendering: pixelated\" href=\"data:image/png;base64,{picture}\"/>"
        );
    }
    axes(&mut svg, run, plot_w, plot_h, rows.len());
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// A picture in shades of grey, one byte for each pixel, row by row.
fn png(width: u32, height: u32, shades: &[u8]) -> Result<Vec<u8>, DrawError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(shades)?;
        writer.finish()
    });
    written.map_err(|error| DrawError(error.to_string()))?;
    Ok(bytes)
}

fn axes(svg: &mut String, run: &RunResult, plot_w: f64, plot_h: f64, rows: usize) {
    let hours = run.length_s() / 3600.0;
    let bottom = TOP + plot_h;
    let _ = write!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{plot_w:.1}\" height=\"{plot_h:.1}\" fill=\"none\" stroke=\"#444\"/>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">time, h</text>\n\
         <text transform=\"translate(14 {:.0}) rotate(-90)\" text-anchor=\"middle\">machine</text>\n",
        LEFT + plot_w / 2.0,
        bottom + 34.0,
        TOP + plot_h / 2.0
    );
    for tick in 0..=4u32 {
        let share = f64::from(tick) / 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{:.0}</text>",
            LEFT + share * plot_w,
            bottom + 16.0,
            super::chart::number(share * hours),
            LEFT - 6.0,
            TOP + share * plot_h + 4.0,
            share * rows.saturating_sub(1) as f64
        );
    }
}

/// A shade for each machine and span of time, by the machine's own CPU.
fn shades(rows: &[Vec<u64>], params: &Params, bin_ms: f64) -> Vec<u8> {
    let of_machine = |(row, capacity): (&Vec<u64>, f64)| -> Vec<u8> {
        row.iter().map(|&ms| shade(ms as f64 / (bin_ms * capacity))).collect()
    };
    rows.iter().zip(params.capacities_from(0)).flat_map(of_machine).collect()
}

/// White for an idle machine, black for one that is fully used.
fn shade(utilisation: f64) -> u8 {
    255 - (utilisation.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_shades_of_its_machines() {
        let shades = [0.0, 0.5, 1.0, 7.0, -1.0, f64::MIN_POSITIVE].map(shade);
        assert_eq!(shades, [255, 127, 0, 0, 255, 255]);
        let bytes = png(3, 2, &shades).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut decoded = vec![0; 6];
        reader.next_frame(&mut decoded).unwrap();
        assert_eq!(decoded, shades);
    }

    #[test]
    fn a_machine_is_black_where_all_of_its_own_cpu_is_used() {
        let rows = [vec![250, 0], vec![250, 500]];
        assert_eq!(shades(&rows, &Params::default(), 1000.0), [127, 255, 127, 0]);
        let shapes = Some(Shapes::of([(0.25, None), (1.0, None)]));
        let models = crate::sim::models::Models { shapes, ..Default::default() };
        let params = Params { machines: 2, models, ..Params::default() };
        assert_eq!(shades(&rows, &params, 1000.0), [0, 255, 191, 127]);
    }
}
