//! The experiment file: what to vary, as TOML. An error names the line, and a mistyped key the one that was meant.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use crate::policy::{Order, PolicyName, World};
use crate::sim::cli::options::ModelOptions;
use crate::sim::sweep::Vary;
use crate::sim::SimError;

/// What a file asks for.
#[derive(Debug)]
pub(super) struct Plan {
    /// Policies, each with its order if it has orders.
    pub(super) policies: Vec<(PolicyName, Option<Order>)>,
    /// Number of placements.
    pub(super) seeds: u32,
    /// Label of the policy with which the others are compared.
    pub(super) baseline: Option<String>,
    /// Options and their values, of which every combination is run.
    pub(super) vary: Vec<Vary>,
    /// The traces, in order of name.
    pub(super) traces: Vec<TracePlan>,
}

/// A trace, and the options with which it is run before any is varied.
#[derive(Debug)]
pub(super) struct TracePlan {
    /// Its name, which is also that of its folder of results.
    pub(super) name: String,
    /// Where it is read from.
    pub(super) source: Source,
    /// Whether its oddities are fatal.
    pub(super) strict: bool,
    /// The file's options and the trace's own.
    pub(super) model: ModelOptions,
}

/// Where a trace is read from.
#[derive(Debug)]
pub(super) enum Source {
    /// The bundled sample.
    Sample,
    /// A file of `prepare`.
    Prepared(PathBuf),
    /// Parts of the tables, as `--events` and `--usage` take them.
    Tables { events: Vec<String>, usage: Vec<String> },
}

/// Options that have a key of their own.
const OWN_KEYS: [(&str, &str); 3] = [("policy", "policies"), ("order", "orders"), ("seed", "seeds")];
const DEFAULT_SEEDS: u32 = 10;
const MAX_SEEDS: i64 = 10_000;

/// What is wrong, and where.
type Refused = (Range<usize>, String);

/// Read a file. Relative paths in it start from its folder.
pub(super) fn read(path: &Path) -> Result<Plan, SimError> {
    let text = std::fs::read_to_string(path).map_err(SimError::file(path))?;
    let parsed = DeTable::parse(&text)
        .map_err(|error| (error.span().unwrap_or_default(), error.message().trim().to_owned()))
        .and_then(|table| plan(table.get_ref(), path.parent().unwrap_or(Path::new("."))));
    parsed.map_err(|(span, what)| {
        let line = 1 + text[..span.start.min(text.len())].matches('\n').count();
        SimError::Format { path: format!("{}:{line}", path.display()).into(), what }
    })
}

fn plan(table: &DeTable<'_>, folder: &Path) -> Result<Plan, Refused> {
    check_keys(table, "", &["policies", "orders", "seeds", "baseline", "options", "vary", "traces"])?;
    let model = options(table, "options", ModelOptions::default())?;
    let plan = Plan {
        policies: policies(table)?,
        seeds: seeds(table)?,
        baseline: table.get("baseline").map(|value| string(value, "baseline")).transpose()?,
        vary: vary(table, &model)?,
        traces: traces(table, folder, &model)?,
    };
    Ok(plan)
}

fn policies(table: &DeTable<'_>) -> Result<Vec<(PolicyName, Option<Order>)>, Refused> {
    let orders = match table.get("orders") {
        Some(value) => each(value, "orders", |text| text.parse::<Order>().map_err(|error| error.to_string()))?,
        None => vec![Order::Memory],
    };
    let names = match table.get("policies") {
        Some(value) => each(value, "policies", |text| {
            let known: Vec<PolicyName> = PolicyName::all(World::Simulated).collect();
            let found = known.iter().copied().find(|name| name.to_string() == text);
            found.ok_or_else(|| unknown("policy", text, known.iter().map(ToString::to_string)))
        })?,
        None => vec![PolicyName::NONE, PolicyName::COARSE, PolicyName::FINE, PolicyName::AUTO],
    };
    let in_orders = |name: PolicyName| match name.has_orders() {
        true => orders.iter().map(|&order| (name, Some(order))).collect(),
        false => vec![(name, None)],
    };
    Ok(names.into_iter().flat_map(in_orders).collect())
}

fn seeds(table: &DeTable<'_>) -> Result<u32, Refused> {
    let Some(value) = table.get("seeds") else { return Ok(DEFAULT_SEEDS) };
    let number = match value.get_ref() {
        DeValue::Integer(number) => number.as_str().parse().ok().filter(|number| (1..=MAX_SEEDS).contains(number)),
        _ => None,
    };
    match number {
        Some(number) => Ok(number as u32),
        None => Err((value.span(), format!("seeds: their number, from 1 to {MAX_SEEDS}, is wanted"))),
    }
}

fn vary(table: &DeTable<'_>, model: &ModelOptions) -> Result<Vec<Vary>, Refused> {
    let Some(varied) = sub_table(table, "vary")? else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (key, value) in varied {
        let option: &str = key.get_ref();
        check_option(key, "vary")?;
        let values = match value.get_ref() {
            DeValue::Array(values) => {
                let texts = values.iter().map(|value| scalar(value, option)).collect::<Result<Vec<_>, Refused>>()?;
                Vary { option: option.to_owned(), values: texts }
            }
            _ => {
                let text = format!("{option}={}", scalar(value, option)?);
                text.parse().map_err(|what| (value.span(), format!("vary.{option}: {what}")))?
            }
        };
        if values.values.is_empty() {
            return Err((value.span(), format!("vary.{option}: the list is empty")));
        }
        for text in &values.values {
            model.with(option, text).map_err(|what| (value.span(), format!("vary.{option}: {what}")))?;
        }
        all.push(values);
    }
    Ok(all)
}

fn traces(table: &DeTable<'_>, folder: &Path, model: &ModelOptions) -> Result<Vec<TracePlan>, Refused> {
    let Some(traces) = sub_table(table, "traces")?.filter(|traces| !traces.is_empty()) else {
        let what =
            "there is no trace: add [traces.NAME] with sample = true, trace = \"T.parquet\", or events and usage";
        return Err((0..0, what.to_owned()));
    };
    traces.iter().map(|(key, value)| trace(key, value, folder, model)).collect()
}

fn trace(
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    folder: &Path,
    model: &ModelOptions,
) -> Result<TracePlan, Refused> {
    let name: &str = key.get_ref();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        let what = "a trace is named by letters, digits, '-', '_' and '.': its results go to a folder of that name";
        return Err((key.span(), format!("'{name}': {what}")));
    }
    let DeValue::Table(table) = value.get_ref() else {
        return Err((value.span(), format!("traces.{name}: a table is wanted, as [traces.{name}]")));
    };
    check_keys(table, &format!("traces.{name}."), &["sample", "trace", "events", "usage", "strict", "options"])?;
    let flag = |key: &str| match table.get(key).map(|value| (value.span(), value.get_ref())) {
        None => Ok(false),
        Some((_, DeValue::Boolean(value))) => Ok(*value),
        Some((span, _)) => Err((span, format!("traces.{name}.{key}: true or false is wanted"))),
    };
    let in_folder = |text: &str| folder.join(text).to_string_lossy().into_owned();
    let parts = |key: &str| match table.get(key) {
        Some(value) => each(value, key, |text| Ok(in_folder(text))),
        None => Ok(Vec::new()),
    };
    let prepared = table.get("trace").map(|value| string(value, "trace")).transpose()?;
    let (sample, events, usage) = (flag("sample")?, parts("events")?, parts("usage")?);
    let source = match (sample, prepared, events.is_empty(), usage.is_empty()) {
        (true, None, true, true) => Source::Sample,
        (false, Some(path), true, true) => Source::Prepared(folder.join(path)),
        (false, None, false, false) => Source::Tables { events, usage },
        _ => {
            let what = "one of sample = true, trace = \"T.parquet\", or events and usage together is wanted";
            return Err((value.span(), format!("traces.{name}: {what}")));
        }
    };
    let model = options(table, "options", model.clone())?;
    Ok(TracePlan { name: name.to_owned(), source, strict: flag("strict")?, model })
}

/// `model` with the options of a table.
fn options(table: &DeTable<'_>, key: &str, model: ModelOptions) -> Result<ModelOptions, Refused> {
    let Some(options) = sub_table(table, key)? else { return Ok(model) };
    options.iter().try_fold(model, |model, (name, value)| {
        check_option(name, key)?;
        let option: &str = name.get_ref();
        model.with(option, &scalar(value, option)?).map_err(|what| (value.span(), format!("{key}.{option}: {what}")))
    })
}

fn check_option(key: &Spanned<std::borrow::Cow<'_, str>>, table: &str) -> Result<(), Refused> {
    let name: &str = key.get_ref();
    // A first seed may be given, but seeds aren't varied.
    if let Some((_, own)) = OWN_KEYS.iter().find(|(option, _)| *option == name && (table == "vary" || name != "seed")) {
        return Err((key.span(), format!("{table}.{name}: give '{own}' at the top of the file instead")));
    }
    let known = ModelOptions::names();
    match known.iter().any(|option| option == name) {
        true => Ok(()),
        false => Err((key.span(), unknown("option", name, known.into_iter()))),
    }
}

fn check_keys(table: &DeTable<'_>, place: &str, known: &[&str]) -> Result<(), Refused> {
    let strange = table.keys().find(|key| !known.contains(&key.get_ref().as_ref()));
    match strange {
        Some(key) => {
            let what = unknown("key", key.get_ref(), known.iter().map(ToString::to_string));
            Err((key.span(), format!("{place}{}: {what}", key.get_ref())))
        }
        None => Ok(()),
    }
}

/// Says that there is no such name, and which was meant.
fn unknown(what: &str, name: &str, known: impl Iterator<Item = String>) -> String {
    /// Names that are less alike are no help.
    const ALIKE: f64 = 0.8;

    let known: Vec<String> = known.collect();
    let likeness = |known: &str| strsim::jaro_winkler(known, &name.replace('_', "-"));
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|nearest| likeness(nearest) >= ALIKE) {
        Some(nearest) => format!("there is no {what} '{name}'; did you mean '{nearest}'?"),
        None => format!("there is no {what} '{name}'; there are {}", known.join(", ")),
    }
}

fn sub_table<'a, 'b>(table: &'a DeTable<'b>, key: &str) -> Result<Option<&'a DeTable<'b>>, Refused> {
    match table.get(key).map(|value| (value.span(), value.get_ref())) {
        None => Ok(None),
        Some((_, DeValue::Table(table))) => Ok(Some(table)),
        Some((span, _)) => Err((span, format!("{key}: a table is wanted, as [{key}]"))),
    }
}

/// A value as it would be typed on a command line.
fn scalar(value: &Spanned<DeValue<'_>>, key: &str) -> Result<String, Refused> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.as_str().to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        _ => Err((value.span(), format!("{key}: a number or a text is wanted"))),
    }
}

fn string(value: &Spanned<DeValue<'_>>, key: &str) -> Result<String, Refused> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err((value.span(), format!("{key}: a text is wanted"))),
    }
}

/// A list of texts, or a single one, each parsed.
fn each<T>(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Refused> {
    let parsed = |value: &Spanned<DeValue<'_>>| {
        parse(&scalar(value, key)?).map_err(|what| (value.span(), format!("{key}: {what}")))
    };
    match value.get_ref() {
        DeValue::Array(values) if values.is_empty() => Err((value.span(), format!("{key}: the list is empty"))),
        DeValue::Array(values) => values.iter().map(parsed).collect(),
        _ => Ok(vec![parsed(value)?]),
    }
}

#[cfg(test)]
mod tests;
