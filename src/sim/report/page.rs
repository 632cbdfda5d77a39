//! The HTML page around the figures.

use std::fmt::Write;

use super::figures::{destinations, network, Figure};
use super::inputs::Inputs;
use super::{comparison, heat, sweeps, DrawError, Report};
use crate::html::{self, escape};
use crate::sim::sweep::SweepResult;
use crate::sim::trace::Input;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
figure { margin: 0 0 1.5em; }
figure > div { display: flex; flex-wrap: wrap; gap: 8px; }
figure svg { max-width: 100%; height: auto; break-inside: avoid; }
figcaption { color: #444; max-width: 65em; }
summary { cursor: pointer; min-width: 9em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.85em; }
th, td { padding: 0.2em 0.6em; border-bottom: 1px solid #ddd; text-align: right; } th { vertical-align: bottom; }
th:first-child, td:first-child, .ranking td { text-align: left; } td:first-child { white-space: nowrap; }
small { color: #555; }
.data { border-left: 4px solid #e69f00; padding-left: 1em; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
#policies { position: sticky; top: 0; background: #fffd; padding: 0.3em 0; border-bottom: 1px solid #ddd; }
#policies label { margin-left: 1em; white-space: nowrap; }
@media screen and (max-width: 800px) {
  figure > div { overflow-x: auto; } figure svg[width='1060'] { min-width: 800px; }
}
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; }
  body { background: #181818; color: #ddd; } figcaption, small { color: #aaa; }
  th, td, #policies { border-color: #444; } #policies { background: #181818dd; }
  figure svg { background: #fff; filter: invert(0.9) hue-rotate(180deg); }
}
@media print {
  body { margin: 0; max-width: none; padding: 0; font-size: 12px; }
  #policies { display: none; }
  h2, summary { break-after: avoid; }
  table { font-size: 0.75em; } th, td { padding: 0.15em 0.35em; }
  tr, details { break-inside: avoid; }
  figure svg { width: 49%; } figure svg[width='1060'] { width: 100%; } details svg { width: 100%; } details[open] { width: 49%; }
  .wide { overflow-x: visible; }
}
";

/// Switches policies on and off in all tables and charts. Without scripts all are shown.
const SCRIPT: &str = "
const parts = [...document.querySelectorAll('[data-policy]')];
const form = document.getElementById('policies');
for (const name of new Set(parts.map(part => part.dataset.policy))) {
  const box = Object.assign(document.createElement('input'), { type: 'checkbox', checked: true });
  box.addEventListener('change', () => {
    for (const part of parts) if (part.dataset.policy === name) part.style.display = box.checked ? '' : 'none';
  });
  const label = document.createElement('label');
  label.append(box, ' ' + name);
  form.append(label);
}
form.hidden = false;
";

/// Generate the whole page.
pub(super) fn html(report: &Report) -> Result<String, DrawError> {
    let inputs = Inputs::of(report);
    let mut page = "<h1>Scheduling in a simulated cluster</h1>\n".to_owned();
    data(&mut page, report);
    line(&mut page, "<form id=\"policies\" hidden><strong>Show</strong></form>");
    let comparisons: Vec<&SweepResult> = report.sweeps.iter().filter(|sweep| sweep.varied.is_empty()).collect();
    let of_runs = comparison::of_runs(&report.runs).filter(|_| comparisons.is_empty());
    let mut figures = Vec::new();
    for compared in comparisons.into_iter().chain(&of_runs) {
        line(&mut page, "<div class=\"wide\">");
        comparison::tables(&mut page, compared);
        line(&mut page, "</div>");
        figures.push(comparison::figure(compared)?);
    }
    if !report.runs.is_empty() {
        figures.push(network(&report.runs)?);
        figures.extend(destinations(&report.runs)?);
        figures.extend(heat::maps(&report.runs)?);
    }
    for sweep in &report.sweeps {
        figures.extend(sweeps::figures(sweep)?);
    }
    for (number, figure) in figures.iter().enumerate() {
        add_figure(&mut page, number + 1, figure);
    }
    parameters(&mut page, report);
    inputs.add(&mut page);
    line(&mut page, &format!("<script>{SCRIPT}</script>"));
    Ok(html::page("vnuma-sim", &format!("{STYLE}{}", inputs.sheet_style()), &page))
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
}

pub(super) fn line(page: &mut String, text: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(page, "{text}");
}
