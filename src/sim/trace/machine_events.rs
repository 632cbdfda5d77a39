//! The machine_events table: checked and summed up. The model's machines are identical, so the table sets none of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::csv::{read_part, Gather, Row, RowError, Table};
use super::{source, Oddities};
use crate::sim::error::SimError;

const MACHINE_EVENTS: Table = Table { name: "machine_events", min_fields: 6, max_fields: 6 };
const ADD: u64 = 0;
const REMOVE: u64 = 1;

/// The machines at the start of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machines {
    /// Number of machines added at time 0.
    pub count: u64,
    /// Sum of their CPU, as shares of the largest machine.
    pub cpus: f64,
    /// CPU and memory of each of them that has CPU, by machine ID, as shares of the largest machine.
    pub by_id: BTreeMap<u64, (f64, Option<f64>)>,
    /// Number of them without CPU.
    pub without_cpus: u64,
    /// Number of times that a machine was added later.
    pub added_later: u64,
    /// Number of times that a machine was removed.
    pub removed: u64,
    /// Number of times that a machine's CPU or memory changed.
    pub updated: u64,
}

impl Gather for Machines {
    fn row(&mut self, row: &Row<'_>) -> Result<Option<RowError>, RowError> {
        let time_us = row.time_us(0, "time")?;
        let id = row.integer(1, "machine ID")?;
        let kind = row.integer(2, "event type")?;
        let cpus = row.optional_share(4, "CPUs")?;
        let memory = row.optional_share(5, "memory")?.filter(|&memory| memory > 0.0);
        if time_us == 0 && kind == ADD {
            self.count += 1;
            self.cpus += cpus.unwrap_or(0.0);
        }
        match (kind, cpus.filter(|&cpus| cpus > 0.0)) {
            (ADD, Some(cpus)) if time_us == 0 => drop(self.by_id.insert(id, (cpus, memory))),
            (ADD, None) if time_us == 0 => self.without_cpus += 1,
            (ADD, _) => self.added_later += 1,
            (REMOVE, _) => self.removed += 1,
            _ => self.updated += 1,
        }
        Ok(None)
    }
}

/// Read all parts of the table.
pub fn read(parts: &[PathBuf], strict: bool, oddities: &mut Oddities) -> Result<Machines, SimError> {
    let mut machines = Machines::default();
    for part in parts {
        oddities.merge(read_part(source::open(part, None)?, part, MACHINE_EVENTS, strict, &mut machines)?);
    }
    Ok(machines)
}
