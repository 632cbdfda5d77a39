//! Reads the machines of a cluster from a file.

use std::path::Path;

use anyhow::{anyhow, bail};

use super::say::say;
use crate::sim::models::Shapes;
use crate::sim::trace::{machine_events, Oddities};
use crate::sim::SimError;

/// Read a TOML file, or the machines at time 0 of a part of the machine_events table, in order of their ids. What is said of memory is
/// left out unless it is wanted.
pub fn read(path: &Path, with_memory: bool) -> anyhow::Result<Shapes> {
    if path.extension().is_some_and(|extension| extension == "toml") {
        let text = std::fs::read_to_string(path).map_err(SimError::file(path))?;
        let shapes: Shapes = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            anyhow!("--shapes {}:{line}: {}", path.display(), error.message())
        })?;
        shapes.check_kinds()?;
        return Ok(if with_memory { shapes } else { shapes.without_memory() });
    }
    let machines = machine_events::read(&[path.to_path_buf()], true, &mut Oddities::default())?;
    if machines.by_id.is_empty() {
        bail!(
            "--shapes {}: no machine is added at time 0 with CPUs; name a part of machine_events, or a .toml",
            path.display()
        );
    }
    if machines.without_cpus + machines.added_later + machines.removed + machines.updated > 0 {
        say(format_args!(
            "--shapes: {} machines at time 0 without CPUs are left out, and machines neither come nor go: {} are added later, \
             {} removed, {} updated",
            machines.without_cpus, machines.added_later, machines.removed, machines.updated
        ));
    }
    let machines = machines.by_id.into_values();
    Ok(Shapes::of(machines.map(|(cpu, memory)| (cpu, memory.filter(|_| with_memory)))))
}
