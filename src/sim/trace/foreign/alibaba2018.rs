//! Alibaba's trace of 2018: batch_task and batch_instance are the batch jobs, container_meta and container_usage the online
//! services, which are latency-critical. Tables are told apart by their number of fields; none has a header.
//!
//! Schema: cluster-trace-v2018/schema.txt of github.com/alibaba/clusterdata.

use std::collections::HashMap;

use csv::ByteRecord;
use sha2::{Digest, Sha256};

use super::rows::{amount, fields, not, seconds_us, Row, RowResult};
use super::sink::Sink;
use super::{Host, Reader};
use crate::sim::trace::csv::RowError;
use crate::sim::trace::events::{ByTask, Event, Kind, Request};
use crate::sim::trace::{OddityKind, TaskId, UsageWindow};

/// A core has 100 of the tables' units.
const CORE: f64 = 100.0;
/// A machine's memory, in the tables' units. Larger values, and -1, are the tables' way to say that there is none.
const MEMORY: f64 = 100.0;
/// More than any machine has, in either unit.
const MOST: f64 = 1e7;
/// Ids of containers are above those of jobs.
const CONTAINERS: u64 = 1 << 62;

/// Priorities on the scale of 2011: batch work may move, services may not.
const BATCH: u32 = 0;
const SERVICE: u32 = 9;

/// What tasks and containers ask for.
pub(super) struct Alibaba2018 {
    host: Host,
    /// What an instance asks for, by job and digest of the task's name.
    plans: HashMap<(u64, u64), Request>,
    containers: ByTask<Container>,
}

#[derive(Clone, Copy)]
struct Container {
    cpus: f64,
    memory: f64,
}

impl Alibaba2018 {
    pub(super) fn new(host: Host) -> Alibaba2018 {
        Alibaba2018 { host, plans: HashMap::new(), containers: ByTask::default() }
    }

    /// CPU as a share of the host.
    fn cpus(&self, record: &ByteRecord, at: usize, name: &str) -> Result<Option<f64>, RowError> {
        Ok(amount(record, at, name, MOST)?.map(|units| units / CORE / self.host.cpus))
    }

    fn batch_task(&mut self, record: &ByteRecord) -> RowResult {
        let cpus = self.cpus(record, 7, "plan_cpu")?.unwrap_or(0.0);
        let request = Request { cpus: Some(cpus), memory: Some(memory(record, 8, "plan_mem")?) };
        self.plans.insert((job(&record[2]), digest(&record[0])), request);
        Ok(None)
    }

    fn container_meta(&mut self, record: &ByteRecord, sink: &mut Sink<'_>) -> RowResult {
        let task = TaskId { job: CONTAINERS | numbered(&record[0], "c_"), index: 0 };
        let time_us = seconds_us(record, 2, "time_stamp")?.ok_or_else(|| not("time_stamp", b"", "a time"))?;
        let cpus = self.cpus(record, 5, "cpu_request")?.unwrap_or(0.0);
        let memory = memory(record, 7, "mem_size")?;
        if sink.keeps(task) {
            self.containers.insert(task, Container { cpus, memory });
        }
        let request = Request { cpus: Some(cpus), memory: Some(memory) };
        // It has a row for each change of its state; the first one is its arrival.
        let event = |kind| Event::new(task, time_us, kind, request, Some(SERVICE));
        sink.event(event(Kind::Submit));
        sink.event(event(Kind::Schedule));
        Ok(None)
    }

    fn batch_instance(&self, record: &ByteRecord, sink: &mut Sink<'_>) -> RowResult {
        let job = job(&record[2]);
        let task = TaskId { job, index: index(&record[0]) };
        let plan = self.plans.get(&(job, digest(&record[1]))).copied();
        let start_us = seconds_us(record, 5, "start_time")?.filter(|&start_us| start_us > 0);
        let Some(start_us) = start_us else {
            let what = format!("instance {task} has no start_time: it has not run");
            return Err(RowError { kind: OddityKind::Unmapped, what });
        };
        let end_us = seconds_us(record, 6, "end_time")?.filter(|&end_us| end_us >= start_us);
        let window = UsageWindow {
            start_us,
            cpu_mean: self.cpus(record, 10, "cpu_avg")?.unwrap_or(0.0) as f32,
            cpu_max: self.cpus(record, 11, "cpu_max")?.unwrap_or(0.0) as f32,
            memory: memory(record, 12, "mem_avg")? as f32,
            accesses_per_instruction: 0.0,
        };
        let odd = sink.usage(task, end_us.unwrap_or(start_us), window, (plan.is_some(), "batch_task"))?;
        let has_ended = matches!(record[4].trim_ascii(), b"Terminated" | b"Failed" | b"Cancelled" | b"Interrupted");
        if let Some(request) = plan {
            let event = |kind, time_us| Event::new(task, time_us, kind, request, Some(BATCH));
            sink.event(event(Kind::Submit, start_us));
            sink.event(event(Kind::Schedule, start_us));
            if let Some(end_us) = end_us.filter(|_| has_ended) {
                sink.event(event(Kind::End, end_us));
            }
        }
        Ok(odd)
    }

    fn container_usage(&self, record: &ByteRecord, sink: &mut Sink<'_>) -> RowResult {
        let task = TaskId { job: CONTAINERS | numbered(&record[0], "c_"), index: 0 };
        let start_us = seconds_us(record, 2, "time_stamp")?.ok_or_else(|| not("time_stamp", b"", "a time"))?;
        let used = amount(record, 3, "cpu_util_percent", MOST)?.unwrap_or(0.0) / 100.0;
        let container = self.containers.get(&task);
        let Container { cpus, memory } = container.copied().unwrap_or(Container { cpus: 0.0, memory: 0.0 });
        let cpu = (used * cpus) as f32;
        let window = UsageWindow { start_us, cpu_mean: cpu, cpu_max: cpu, memory: memory as f32, ..Default::default() };
        sink.usage(task, start_us, window, (container.is_some(), "container_meta"))
    }
}

impl Reader for Alibaba2018 {
    fn event(&mut self, row: &Row<'_>, sink: &mut Sink<'_>) -> RowResult {
        let Row::Csv(record, _) = row else { return Err(fields(1, "batch_task and container_meta are CSV")) };
        match record.len() {
            9 => self.batch_task(record),
            8 => self.container_meta(record, sink),
            other => Err(fields(other, "a row of batch_task has 9, and one of container_meta 8")),
        }
    }

    fn usage(&self, row: &Row<'_>, sink: &mut Sink<'_>) -> RowResult {
        let Row::Csv(record, _) = row else { return Err(fields(1, "batch_instance and container_usage are CSV")) };
        match record.len() {
            14 => self.batch_instance(record, sink),
            11 => self.container_usage(record, sink),
            other => Err(fields(other, "a row of batch_instance has 14, and one of container_usage 11")),
        }
    }
}

/// Memory as a share of the machine's. -1 and 101 are invalid values of the tables, and count as none.
fn memory(record: &ByteRecord, at: usize, name: &str) -> Result<f64, RowError> {
    if record.get(at).unwrap_or_default().trim_ascii().starts_with(b"-1") {
        return Ok(0.0);
    }
    let units = amount(record, at, name, MOST)?.unwrap_or(0.0);
    Ok(if units > MEMORY { 0.0 } else { units / MEMORY })
}

fn job(text: &[u8]) -> u64 {
    numbered(text, "j_")
}

/// An instance's number, of which no two instances of a job have the same.
fn index(text: &[u8]) -> u32 {
    let number = numbered(text, "ins_");
    u32::try_from(number).unwrap_or((number ^ number >> 32) as u32)
}

/// The number of a name such as `j_3`; of another name, a digest that is larger than such numbers.
fn numbered(text: &[u8], prefix: &str) -> u64 {
    let number = text.strip_prefix(prefix.as_bytes()).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.filter(|&number| number < CONTAINERS >> 1).unwrap_or_else(|| CONTAINERS >> 1 | digest(text) >> 3)
}

fn digest(text: &[u8]) -> u64 {
    let sum = Sha256::digest(text);
    u64::from_le_bytes(sum[..8].try_into().expect("BUG: it has 8 bytes"))
}
