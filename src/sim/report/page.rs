//! The HTML page around the figures.

use std::fmt::Write;

use super::figures::{balance, destinations, network, service, Figure};
use super::{heat, sweeps, DrawError, Report};
use crate::sim::cli::table;
use crate::sim::trace::Input;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
figure { margin: 0 0 1.5em; break-inside: avoid; }
figure div { display: flex; flex-wrap: wrap; gap: 8px; }
figure svg { max-width: 100%; height: auto; }
figcaption { color: #444; max-width: 65em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9em; }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid #ddd; text-align: right; } th:first-child, td:first-child { text-align: left; }
.data { border-left: 4px solid #e69f00; padding-left: 1em; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } }
";

/// Generate the whole page.
pub(super) fn html(report: &Report) -> Result<String, DrawError> {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>vnuma-sim</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <h1>Scheduling in a simulated cluster</h1>\n"
    );
    data(&mut page, report);
    let mut figures = Vec::new();
    if !report.runs.is_empty() {
        figure_table(&mut page, report);
        figures.push(balance(&report.runs)?);
        figures.push(service(&report.runs)?);
        figures.push(network(&report.runs)?);
        figures.extend(destinations(&report.runs)?);
        figures.extend(heat::before_and_after(&report.runs));
    }
    for sweep in &report.sweeps {
        figures.extend(sweeps::figures(sweep)?);
    }
    for (number, figure) in figures.iter().enumerate() {
        add_figure(&mut page, number + 1, figure);
    }
    parameters(&mut page, report);
    page.push_str("</body></html>\n");
    Ok(page)
}

/// Add the origin of the data, and which of them are synthetic.
fn data(page: &mut String, report: &Report) {
    let runs = report.runs.iter().map(|run| (&run.provenance, &run.inputs));
    let sweeps = report.sweeps.iter().map(|sweep| (&sweep.provenance, &sweep.inputs));
    let mut seen: Vec<(&Option<String>, &Vec<Input>)> = Vec::new();
    for data in runs.chain(sweeps) {
        if !seen.contains(&data) {
            seen.push(data);
        }
    }
    for (provenance, inputs) in seen {
        let origin = provenance.as_deref().unwrap_or(
            "The origin of the trace's data, and which of them are synthetic, is unknown; describe it in a file \
             PROVENANCE next to its parts.",
        );
        let files: Vec<String> = inputs.iter().map(|input| format!("{}/{}", input.table, input.name)).collect();
        let files = if files.len() > 4 { format!("{} files", files.len()) } else { files.join(", ") };
        line(
            page,
            &format!("<p class=\"data\"><strong>Data.</strong> {} <code>{}</code></p>", escape(origin), escape(&files)),
        );
    }
    if report.runs.windows(2).any(|pair| pair[0].inputs != pair[1].inputs) {
        line(page, "<p class=\"data\"><strong>These runs used different traces.</strong></p>");
    }
}

fn figure_table(page: &mut String, report: &Report) {
    let cells = |tag: &str, cells: Vec<String>| -> String {
        cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    line(page, &format!("<table><tr><th>policy</th>{}</tr>", cells("th", table::figure_heads())));
    for run in &report.runs {
        let label = escape(&run.parameters.policy_label());
        line(page, &format!("<tr><td>{label}</td>{}</tr>", cells("td", table::figure_cells(&run.figures))));
    }
    line(page, "</table>");
}

fn add_figure(page: &mut String, number: usize, figure: &Figure) {
    line(page, &format!("<figure><h2>{number}. {}</h2><div>", escape(&figure.title)));
    figure.drawings.iter().for_each(|drawing| line(page, drawing));
    line(page, &format!("</div><figcaption>{}</figcaption></figure>", escape(&figure.caption)));
}

/// Add the parameters that are needed to repeat the runs.
fn parameters(page: &mut String, report: &Report) {
    line(page, "<h2>Parameters</h2>");
    let mut seen: Vec<(String, &String)> = Vec::new();
    let runs = report.runs.iter().map(|run| (&run.parameters, &run.version));
    let sweeps = report.sweeps.iter().map(|sweep| (&sweep.base, &sweep.version));
    for (params, version) in runs.chain(sweeps) {
        let mut neutral = serde_json::to_value(params).unwrap_or_default();
        for differs in ["policy", "order"] {
            neutral.as_object_mut().map(|object| object.remove(differs));
        }
        let text = neutral.to_string();
        if !seen.contains(&(text.clone(), version)) {
            seen.push((text, version));
        }
    }
    for (params, version) in seen {
        line(
            page,
            &format!("<p>vnuma-sim {}, for every policy: <code>{}</code></p>", escape(version), escape(&params)),
        );
    }
    let inputs: Vec<&Input> = report.runs.first().map(|run| run.inputs.iter().collect()).unwrap_or_default();
    for input in inputs.into_iter().take(8) {
        line(page, &format!("<p><code>{} {}/{}</code></p>", input.sha256, escape(&input.table), escape(&input.name)));
    }
}

fn line(page: &mut String, text: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(page, "{text}");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
