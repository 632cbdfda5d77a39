//! Google's trace of 2019 (version 3): instance_events and instance_usage, as BigQuery writes them: JSON lines, or CSV with a
//! header in which the fields of a record have names such as `average_usage.cpus` or `average_usage_cpus`.
//!
//! Schema: clusterdata_trace_format_v3.proto of github.com/google/cluster-data.

use std::collections::HashSet;

use csv::ByteRecord;
use serde::Deserialize;

use super::rows::{fields, not, Row, RowResult};
use super::sink::Sink;
use super::Reader;
use crate::sim::trace::csv::{RowError, MAX_RATIO, MAX_SHARE};
use crate::sim::trace::events::{Event, Kind, Request};
use crate::sim::trace::{OddityKind, TaskId, UsageWindow};

/// The tasks that have events.
#[derive(Default)]
pub(super) struct Google2019 {
    known: HashSet<TaskId>,
}

/// A number, which BigQuery writes as text if it is an INT64.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Whole(u64),
    Float(f64),
}

impl Number {
    fn text(&self) -> String {
        match self {
            Number::Text(text) => text.clone(),
            Number::Whole(number) => number.to_string(),
            Number::Float(number) => number.to_string(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    cpus: Option<Number>,
    memory: Option<Number>,
}

/// The fields that are read of both tables.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    time: Option<Number>,
    #[serde(rename = "type")]
    kind: Option<Number>,
    collection_id: Option<Number>,
    instance_index: Option<Number>,
    collection_type: Option<Number>,
    priority: Option<Number>,
    resource_request: Option<Resources>,
    start_time: Option<Number>,
    end_time: Option<Number>,
    average_usage: Option<Resources>,
    maximum_usage: Option<Resources>,
    assigned_memory: Option<Number>,
    memory_accesses_per_instruction: Option<Number>,
}

impl Fields {
    fn of(row: &Row<'_>) -> Result<Fields, RowError> {
        match row {
            Row::Json(text) => serde_json::from_slice(text).map_err(|error| {
                // Its own line number is always 1.
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default().to_owned();
                RowError { kind: OddityKind::FieldCount, what }
            }),
            Row::Csv(record, Some(names)) => Ok(Fields::of_csv(record, names)),
            Row::Csv(record, None) => Err(fields(record.len(), "a CSV part needs a first line with the fields' names")),
        }
    }

    fn of_csv(record: &ByteRecord, names: &ByteRecord) -> Fields {
        let mut all = Fields::default();
        for (name, value) in names.iter().zip(record) {
            let value = value.trim_ascii();
            if value.is_empty() || value == b"null" {
                continue;
            }
            let name = String::from_utf8_lossy(name.trim_ascii()).replace('.', "_");
            let number = Some(Number::Text(String::from_utf8_lossy(value).into_owned()));
            let place = match name.as_str() {
                "time" => &mut all.time,
                "type" => &mut all.kind,
                "collection_id" => &mut all.collection_id,
                "instance_index" => &mut all.instance_index,
                "collection_type" => &mut all.collection_type,
                "priority" => &mut all.priority,
                "resource_request_cpus" => &mut all.resource_request.get_or_insert_default().cpus,
                "resource_request_memory" => &mut all.resource_request.get_or_insert_default().memory,
                "start_time" => &mut all.start_time,
                "end_time" => &mut all.end_time,
                "average_usage_cpus" => &mut all.average_usage.get_or_insert_default().cpus,
                "average_usage_memory" => &mut all.average_usage.get_or_insert_default().memory,
                "maximum_usage_cpus" => &mut all.maximum_usage.get_or_insert_default().cpus,
                "assigned_memory" => &mut all.assigned_memory,
                "memory_accesses_per_instruction" => &mut all.memory_accesses_per_instruction,
                _ => continue,
            };
            *place = number;
        }
        all
    }

    /// The task of a row; `None` if it is an alloc instance, which only reserves for tasks.
    fn task(&self) -> Result<Option<TaskId>, RowError> {
        let job = integer(&self.collection_id, "collection_id")?;
        let index = integer(&self.instance_index, "instance_index")?;
        let index =
            u32::try_from(index).map_err(|_| not("instance_index", index.to_string().as_bytes(), "below 2^32"))?;
        let is_alloc = match self.collection_type.as_ref().map(Number::text).as_deref() {
            None | Some("0" | "JOB") => false,
            Some("1" | "ALLOC_SET") => true,
            Some(other) => return Err(not("collection_type", other.as_bytes(), "0 or 1")),
        };
        Ok((!is_alloc).then_some(TaskId { job, index }))
    }
}

fn integer(number: &Option<Number>, name: &str) -> Result<u64, RowError> {
    let text = number.as_ref().map(Number::text).unwrap_or_default();
    text.parse().map_err(|_| not(name, text.as_bytes(), "a whole number"))
}

/// A time; what is larger than 2^63 - 1 means after the trace.
fn time_us(number: &Option<Number>, name: &str) -> Result<i64, RowError> {
    Ok(i64::try_from(integer(number, name)?).unwrap_or(i64::MAX))
}

fn amount(number: Option<&Number>, name: &str, most: f64) -> Result<Option<f64>, RowError> {
    let Some(text) = number.map(Number::text).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(value) if (0.0..=most).contains(&value) => Ok(Some(value)),
        _ => Err(not(name, text.as_bytes(), &format!("a number from 0 to {most:?}"))),
    }
}

/// The event's kind; `None` if it changes nothing of what the model knows.
fn kind(number: &Option<Number>) -> Result<Option<Kind>, RowError> {
    let text = number.as_ref().map(Number::text).unwrap_or_default();
    match text.as_str() {
        "0" | "SUBMIT" => Ok(Some(Kind::Submit)),
        "1" | "QUEUE" | "2" | "ENABLE" => Ok(None),
        "3" | "SCHEDULE" => Ok(Some(Kind::Schedule)),
        "4" | "EVICT" | "5" | "FAIL" | "6" | "FINISH" | "7" | "KILL" | "8" | "LOST" => Ok(Some(Kind::End)),
        "9" | "UPDATE_PENDING" | "10" | "UPDATE_RUNNING" => Ok(Some(Kind::Update)),
        _ => Err(not("type", text.as_bytes(), "an event type: 0 to 10, or its name")),
    }
}

/// The priority on the scale of 2011, by the tiers of 2019: free, best-effort batch, mid, production, monitoring.
fn priority(of_2019: u64) -> u32 {
    match of_2019 {
        0..=99 => 0,
        100..=115 => 1,
        116..=119 => 4,
        120..=359 => 9,
        _ => 11,
    }
}

fn alloc() -> RowError {
    let what = "the row is of an alloc instance, which reserves for tasks that have rows of their own".to_owned();
    RowError { kind: OddityKind::Unmapped, what }
}

impl Reader for Google2019 {
    fn event(&mut self, row: &Row<'_>, sink: &mut Sink<'_>) -> RowResult {
        let fields = Fields::of(row)?;
        if fields.instance_index.is_none() && fields.collection_id.is_some() {
            let what = "the row is of collection_events; instance_events have what is needed of it".to_owned();
            return Err(RowError { kind: OddityKind::Unmapped, what });
        }
        let time_us = time_us(&fields.time, "time")?;
        let kind = kind(&fields.kind)?;
        let priority = fields.priority.as_ref().map(|_| integer(&fields.priority, "priority")).transpose()?;
        let request = fields.resource_request.as_ref();
        let request = Request {
            cpus: amount(request.and_then(|it| it.cpus.as_ref()), "resource_request.cpus", MAX_SHARE)?,
            memory: amount(request.and_then(|it| it.memory.as_ref()), "resource_request.memory", MAX_SHARE)?,
        };
        let task = fields.task()?.ok_or_else(alloc)?;
        if sink.keeps(task) {
            self.known.insert(task);
            let kind = kind.unwrap_or(Kind::Update);
            sink.event(Event::new(task, time_us, kind, request, priority.map(self::priority)));
        }
        Ok(None)
    }

    fn usage(&self, row: &Row<'_>, sink: &mut Sink<'_>) -> RowResult {
        let fields = Fields::of(row)?;
        let start_us = time_us(&fields.start_time, "start_time")?;
        let end_us = time_us(&fields.end_time, "end_time")?;
        if end_us == i64::MAX {
            return Err(not("end_time", end_us.to_string().as_bytes(), "a time inside the trace"));
        }
        let task = fields.task()?.ok_or_else(alloc)?;
        let (average, maximum) = (fields.average_usage.unwrap_or_default(), fields.maximum_usage.unwrap_or_default());
        let share = |number: Option<&Number>, name| amount(number, name, MAX_SHARE);
        let mean = share(average.cpus.as_ref(), "average_usage.cpus")?.unwrap_or(0.0);
        // Where no limit was recorded, the task's own memory moves.
        let assigned = share(fields.assigned_memory.as_ref(), "assigned_memory")?.filter(|&memory| memory > 0.0);
        let used = share(average.memory.as_ref(), "average_usage.memory")?;
        let ratio =
            amount(fields.memory_accesses_per_instruction.as_ref(), "memory_accesses_per_instruction", MAX_RATIO)?;
        let window = UsageWindow {
            start_us,
            cpu_mean: mean as f32,
            cpu_max: share(maximum.cpus.as_ref(), "maximum_usage.cpus")?.unwrap_or(mean) as f32,
            memory: assigned.or(used).unwrap_or(0.0) as f32,
            accesses_per_instruction: ratio.unwrap_or(0.0) as f32,
        };
        sink.usage(task, end_us, window, (self.known.contains(&task), "instance_events"))
    }
}
