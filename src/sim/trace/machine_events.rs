//! The machine_events table: checked and summed up. The model's machines are identical, so the table sets none of them.

use std::path::PathBuf;

use super::csv::{read_part, Gather, Row, RowError, Table};
use super::{source, Oddities};
use crate::sim::error::SimError;

const MACHINE_EVENTS: Table = Table { name: "machine_events", min_fields: 6, max_fields: 6 };
const ADD: u64 = 0;

/// The machines at the start of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machines {
    /// Number of machines added at time 0.
    pub count: u64,
    /// Sum of their CPU, as shares of the largest machine.
    pub cpus: f64,
}

impl Gather for Machines {
    fn row(&mut self, row: &Row<'_>) -> Result<Option<RowError>, RowError> {
        let time_us = row.time_us(0, "time")?;
        row.integer(1, "machine ID")?;
        let kind = row.integer(2, "event type")?;
        let cpus = row.optional_share(4, "CPUs")?;
        if time_us == 0 && kind == ADD {
            self.count += 1;
            self.cpus += cpus.unwrap_or(0.0);
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
