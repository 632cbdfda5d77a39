//! The machine_events table: checked and summed up. The model's machines are identical, so it sets none of them.

use std::path::PathBuf;

use super::csv::{read_part, Gather, Row, RowError, Table};
use super::{source, Oddities};
use crate::sim::error::SimError;

const MACHINE_EVENTS: Table = Table { name: "machine_events", min_fields: 6, max_fields: 6 };
const ADD: u64 = 0;

/// The machines that a trace starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machines {
    /// How many were added at time 0.
    pub count: u64,
    /// Their CPU, summed; shares of the largest.
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

/// Read the table.
pub fn read(parts: &[PathBuf], strict: bool, oddities: &mut Oddities) -> Result<Machines, SimError> {
    let mut machines = Machines::default();
    for part in parts {
        oddities.merge(read_part(source::open(part)?, part, MACHINE_EVENTS, strict, &mut machines)?);
    }
    Ok(machines)
}
