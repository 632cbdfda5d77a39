//! The metrics as OpenMetrics text, and in Prometheus's older text format for clients that know no other.
//!
//! The page is generated from the descriptions in `stats`, so that a new metric needs no code here. Names follow the
//! OpenMetrics conventions: base units (`_ms` becomes seconds, `_pct` a ratio), and `_total` for counters. A metric
//! whose value is unknown has no sample.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{text, DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use scx_stats::prelude::*;
use scx_stats::{StatsData, StatsField, StatsKind, StatsMeta};
use serde_json::Value;

use super::{Metrics, NodeMetrics, SloMetrics, SourceMetrics};

/// The Content-Type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics page, in OpenMetrics format.
pub fn page(metrics: &Metrics) -> anyhow::Result<String> {
    let mut registry = Registry::with_prefix("scx_vnuma");
    registry.register_collector(Box::new(Figures(serde_json::to_value(metrics)?)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// The Content-Type of [`text_page`].
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics page in Prometheus's text format. It differs in that a counter's description names it with `_total`, and in that
/// there are no units and no end mark.
pub fn text_page(metrics: &Metrics) -> anyhow::Result<String> {
    let page = page(metrics)?;
    let counter = |line: &str| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(ToOwned::to_owned);
    let counters: BTreeSet<String> = page.lines().filter_map(counter).collect();
    let in_text_format = |line: &str| -> Option<String> {
        let Some(comment) = line.strip_prefix("# ") else { return Some(line.to_owned()) };
        match comment.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["UNIT", ..] | ["EOF"] => None,
            [keyword, name, rest] if counters.contains(name) => Some(format!("# {keyword} {name}_total {rest}")),
            _ => Some(line.to_owned()),
        }
    };
    Ok(page.lines().filter_map(in_text_format).map(|line| line + "\n").collect())
}

#[derive(Debug)]
struct Figures(Value);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let metas = [Metrics::meta(), NodeMetrics::meta(), SloMetrics::meta(), SourceMetrics::meta()];
        let metas = metas.into_iter().map(|meta| (meta.name.clone(), meta)).collect();
        encode_struct(&metas, &Metrics::meta(), &[Row { labels: Arc::default(), figures: &self.0 }], &mut encoder)
    }
}

/// The metrics of one object, and the labels that identify it.
struct Row<'a> {
    labels: Arc<Vec<(String, String)>>,
    figures: &'a Value,
}

/// Encode each metric for all rows, then the metrics of nested rows.
fn encode_struct(
    metas: &BTreeMap<String, StatsMeta>,
    meta: &StatsMeta,
    rows: &[Row<'_>],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let prefix = meta.attrs.user.get("_om_prefix").map_or("", String::as_str);
    for (field_name, field) in &meta.fields {
        match &field.data {
            StatsData::Datum(_) if !field.attrs.user.contains_key("_om_skip") => {
                encode_figure(prefix, field_name, field, rows, encoder)?;
            }
            StatsData::Dict { datum: StatsKind::Struct(inner), .. } => {
                let inner = metas.get(inner).ok_or(fmt::Error)?;
                let label = inner.attrs.user.get("_om_label").ok_or(fmt::Error)?;
                let within = rows.iter().flat_map(|row| {
                    let entries = row.figures[field_name].as_object().into_iter().flatten();
                    entries.map(|(key, figures)| {
                        let labels = row.labels.iter().cloned().chain([(label.clone(), key.clone())]);
                        Row { labels: Arc::new(labels.collect()), figures }
                    })
                });
                encode_struct(metas, inner, &within.collect::<Vec<_>>(), encoder)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn encode_figure(
    prefix: &str,
    field_name: &str,
    field: &StatsField,
    rows: &[Row<'_>],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let (name, unit) = in_base_unit(field_name);
    let kind = match field.attrs.user.contains_key("_om_counter") {
        true => MetricType::Counter,
        false => MetricType::Gauge,
    };
    let name = format!("{prefix}{name}");
    let help = field.attrs.desc.as_deref().unwrap_or_default();
    let om_unit = unit.as_ref().map(|(unit, _)| unit);
    let per_unit = unit.as_ref().map_or(1.0, |(_, per_unit)| *per_unit);
    let known = rows.iter().filter_map(|row| Some((row, row.figures[field_name].as_f64().filter(|it| *it >= 0.0)?)));
    let known: Vec<_> = known.collect();
    // Some parsers reject a metric family without samples.
    if known.is_empty() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(&name, help, om_unit, kind)?;
    for (row, value) in known {
        let value = value / per_unit;
        match row.labels.is_empty() {
            true => encode_sample(&mut family, kind, value)?,
            false => encode_sample(&mut family.encode_family(&*row.labels)?, kind, value)?,
        }
    }
    Ok(())
}

fn encode_sample(encoder: &mut MetricEncoder<'_>, kind: MetricType, value: f64) -> fmt::Result {
    match kind {
        MetricType::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        _ => encoder.encode_gauge(&value),
    }
}

/// Split a metric's name into its stem, its base unit, and how many of its own units make one base unit.
fn in_base_unit(name: &str) -> (&str, Option<(Unit, f64)>) {
    let named = |unit: &str| Unit::Other(unit.to_string());
    let units = [
        ("_ms", Unit::Seconds, 1e3),
        ("_us", Unit::Seconds, 1e6),
        ("_bytes", Unit::Bytes, 1.0),
        ("_pct", named("ratio"), 100.0),
        ("_cpus", named("cpus"), 1.0),
    ];
    // A count has no unit.
    if let Some(things) = name.strip_prefix("nr_") {
        return (things, None);
    }
    let found = units.into_iter().find_map(|(end, unit, per_unit)| Some((name.strip_suffix(end)?, unit, per_unit)));
    found.map_or((name, None), |(stem, unit, per_unit)| (stem, Some((unit, per_unit))))
}

#[cfg(test)]
mod tests {
    use openmetrics_parser::openmetrics::parse_openmetrics;
    use openmetrics_parser::{OpenMetricsType, OpenMetricsValue};

    use super::super::stats::tests::metrics;
    use super::*;

    #[test]
    fn the_page_is_open_metrics_with_base_units_and_types() {
        let page = page(&metrics()).unwrap();
        assert!(page.ends_with("# EOF\n"), "{page}");
        let parsed = parse_openmetrics(&page).unwrap_or_else(|err| panic!("{err}\n{page}"));
        let family = |name: &str| parsed.families.get(name).unwrap_or_else(|| panic!("no {name} in\n{page}"));
        let moved = family("scx_vnuma_moved_bytes");
        assert_eq!((&moved.family_type, moved.unit.as_str()), (&OpenMetricsType::Counter, "bytes"));
        let run = family("scx_vnuma_node_run_seconds");
        assert_eq!(
            (run.help.as_str(), run.get_label_names().len()),
            ("time that migratable tasks held a CPU, since load", 1)
        );
        let sample = run.get_sample_by_label_values(&["1".to_string()]).unwrap();
        let OpenMetricsValue::Counter(value) = &sample.value else { panic!("{sample:?}") };
        assert_eq!(value.value.as_f64(), 1.5);
        let probed = family("scx_vnuma_node_source_age_seconds");
        let sample = probed.get_sample_by_label_values(&["1".to_string(), "probe".to_string()]).unwrap();
        let OpenMetricsValue::Gauge(value) = &sample.value else { panic!("{sample:?}") };
        assert_eq!(value.as_f64(), 0.4);
        assert_eq!(family("scx_vnuma_destination").family_type, OpenMetricsType::Gauge);
    }

    #[test]
    fn the_text_format_names_counters_in_full_and_has_the_same_samples() {
        let metrics = metrics();
        let (open, text) = (page(&metrics).unwrap(), text_page(&metrics).unwrap());
        let samples =
            |page: &str| page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(samples(&open), samples(&text));
        assert!(text.contains("# TYPE scx_vnuma_rounds_total counter\n"), "{text}");
        assert!(text.contains("# HELP scx_vnuma_moved_bytes_total resident memory"), "{text}");
        assert!(text.contains("# TYPE scx_vnuma_destination gauge\n"), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }

    #[test]
    fn an_unknown_value_has_no_sample() {
        let page = page(&metrics()).unwrap();
        let samples = |name: &str| page.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(samples("scx_vnuma_node_source_pressure_ratio{"), 2, "steal of node 0, probe of node 1:\n{page}");
        assert!(!page.contains("scx_vnuma_second_destination"), "{page}");
        assert_eq!(samples("scx_vnuma_node_pressure_ratio{"), 2, "{page}");
    }

    #[test]
    fn every_metric_has_a_description() {
        for meta in [Metrics::meta(), NodeMetrics::meta(), SourceMetrics::meta()] {
            for (name, field) in &meta.fields {
                assert!(field.attrs.desc.is_some(), "{}.{name}", meta.name);
            }
        }
    }
}
