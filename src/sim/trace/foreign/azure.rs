//! Azure's VM traces of 2017 (V1) and 2019 (V2): the tables vmtable and vm_cpu_readings, without a header.
//!
//! Schema: AzurePublicDatasetV1.md and AzurePublicDatasetV2.md of github.com/Azure/AzurePublicDataset.

use base64::prelude::{Engine, BASE64_STANDARD};
use csv::ByteRecord;
use sha2::{Digest, Sha256};

use super::rows::{amount, fields, not, seconds_us, Row, RowResult};
use super::sink::Sink;
use super::{Host, Reader};
use crate::sim::trace::csv::RowError;
use crate::sim::trace::events::{ByTask, Event, Kind, Request};
use crate::sim::trace::{TaskId, UsageWindow};

/// Length of a reading.
const READING_US: i64 = 300_000_000;
/// Time of the last reading of both traces. A VM that is deleted then was not: its trace ends.
const LAST_READING_US: i64 = 2_591_700_000_000;
/// More cores, or GB, than any host has.
const MOST: f64 = 100_000.0;

/// The VMs, as shares of a host.
pub(super) struct Azure {
    host: Host,
    sizes: ByTask<Size>,
}

#[derive(Clone, Copy)]
struct Size {
    cpus: f64,
    memory: f64,
}

impl Azure {
    pub(super) fn new(host: Host) -> Azure {
        Azure { host, sizes: ByTask::default() }
    }
}

/// A VM's id is the base64 form of a digest, of which 96 bits are enough.
fn task(text: &[u8]) -> TaskId {
    let mut bytes = [0; 12];
    let decoded = text.get(..16).and_then(|start| BASE64_STANDARD.decode_slice(start, &mut bytes).ok());
    if decoded != Some(12) {
        bytes.copy_from_slice(&Sha256::digest(text)[..12]);
    }
    let (job, index) = bytes.split_at(8);
    let job = u64::from_le_bytes(job.try_into().expect("BUG: it has 8 bytes"));
    TaskId { job, index: u32::from_le_bytes(index.try_into().expect("BUG: it has 4 bytes")) }
}

/// A size, or a bucket of V2: `>24` cores are taken for 30 and `>64` GB for 70, as Microsoft's own analysis does.
fn size(record: &ByteRecord, at: usize, name: &str) -> Result<f64, RowError> {
    match record.get(at).unwrap_or_default().trim_ascii() {
        b">24" => Ok(30.0),
        b">64" => Ok(70.0),
        text => amount(record, at, name, MOST)?.ok_or_else(|| not(name, text, "a number")),
    }
}

impl Reader for Azure {
    fn event(&mut self, row: &Row<'_>, sink: &mut Sink<'_>) -> RowResult {
        let Row::Csv(record, _) = row else { return Err(fields(1, "vmtable is CSV")) };
        if record.len() != 11 {
            return Err(fields(record.len(), "a row of vmtable has 11"));
        }
        let task = task(&record[0]);
        let created = seconds_us(record, 3, "vmcreated")?.ok_or_else(|| not("vmcreated", b"", "a time"))?;
        let deleted = seconds_us(record, 4, "vmdeleted")?.ok_or_else(|| not("vmdeleted", b"", "a time"))?;
        let priority = match record[8].trim_ascii() {
            b"Delay-insensitive" => 0,
            b"Interactive" => 9,
            b"Unknown" => 4,
            other => return Err(not("vmcategory", other, "Delay-insensitive, Interactive or Unknown")),
        };
        let cpus = size(record, 9, "vmcorecount")? / self.host.cpus;
        let memory = size(record, 10, "vmmemory")? / self.host.memory_gb;
        if !sink.keeps(task) {
            return Ok(None);
        }
        self.sizes.insert(task, Size { cpus, memory });
        let request = Request { cpus: Some(cpus), memory: Some(memory) };
        let event = |kind, time_us| Event::new(task, time_us, kind, request, Some(priority));
        sink.event(event(Kind::Submit, created));
        sink.event(event(Kind::Schedule, created));
        if deleted < LAST_READING_US {
            // A VM within one reading has lived for some of it.
            sink.event(event(Kind::End, deleted.max(created + READING_US)));
        }
        Ok(None)
    }

    fn usage(&self, row: &Row<'_>, sink: &mut Sink<'_>) -> RowResult {
        let Row::Csv(record, _) = row else { return Err(fields(1, "vm_cpu_readings is CSV")) };
        if record.len() != 5 {
            return Err(fields(record.len(), "a row of vm_cpu_readings has 5"));
        }
        let start_us = seconds_us(record, 0, "timestamp")?.ok_or_else(|| not("timestamp", b"", "a time"))?;
        let task = task(&record[1]);
        let percent = |at, name| Ok(amount(record, at, name, 1e4)?.unwrap_or(0.0) / 100.0);
        let (max, avg) = (percent(3, "maxcpu")?, percent(4, "avgcpu")?);
        let size = self.sizes.get(&task);
        let Size { cpus, memory } = size.copied().unwrap_or(Size { cpus: 0.0, memory: 0.0 });
        let window = UsageWindow {
            start_us,
            cpu_mean: (avg * cpus) as f32,
            cpu_max: (max * cpus) as f32,
            // What the VM uses is not in the trace, and a move takes all of it along.
            memory: memory as f32,
            accesses_per_instruction: 0.0,
        };
        sink.usage(task, start_us + READING_US, window, (size.is_some(), "vmtable"))
    }
}
