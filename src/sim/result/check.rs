//! Checks that a result is what a run wrote: its checksum, and that its parts agree.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::RunResult;
use crate::sim::engine::CellOutcome;
use crate::sim::figures::Figures;
use crate::sim::models::ModelFigures;
use crate::sim::placement::Placement;
use crate::sim::tasks::Horizon;

/// Rounding of sums.
const SLACK: f64 = 1e-9;

/// What is wrong, in words that follow the file's name.
type Checked = Result<(), String>;

impl RunResult {
    /// Set the checksum.
    pub(in crate::sim) fn seal(&mut self) {
        self.crc32 = Some(self.sum());
    }

    fn sum(&self) -> u32 {
        let unsealed = RunResult { crc32: None, ..self.clone() };
        crc32fast::hash(&serde_json::to_vec(&unsealed).expect("BUG: a result is plain data"))
    }

    /// Check that the text it was parsed from has no other keys. A checksum under another name would be none.
    pub(super) fn check_keys(&self, text: &[u8]) -> Checked {
        let found: BTreeMap<String, IgnoredAny> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let own =
            serde_json::to_value(RunResult { crc32: Some(0), ..self.clone() }).map_err(|error| error.to_string())?;
        match found.into_keys().find(|key| own.get(key).is_none()) {
            Some(key) => Err(format!("no result has a field '{}'", key.escape_debug())),
            None => Ok(()),
        }
    }

    /// Check all that figures are made from, before it is merged or drawn.
    pub(super) fn check(&self) -> Checked {
        self.parameters.check().map_err(|error| error.to_string())?;
        if self.shard.index >= self.shard.of {
            return Err(format!("there is no shard {} of {}", self.shard.index, self.shard.of));
        }
        let horizon = Horizon { start_us: self.span_us.0, end_us: self.span_us.1 };
        if horizon.end_us <= horizon.start_us {
            return Err(format!("it ends at {} µs, and starts at {} µs", horizon.end_us, horizon.start_us));
        }
        match self.parameters.refused_span(horizon) {
            Some(what) => Err(what),
            None => Ok(()),
        }?;
        self.check_cells(horizon)?;
        self.check_rounds(horizon)?;
        self.check_heat()?;
        self.figures.check()?;
        self.model_figures.check()?;
        let figures_are_theirs = self.figures == Figures::new(&self.cells, &self.parameters, horizon.length_s());
        if !figures_are_theirs || self.model_figures != ModelFigures::new(&self.cells) {
            return Err("its figures are not those of its cells".to_owned());
        }
        match self.crc32.is_none_or(|crc32| crc32 == self.sum()) {
            true => Ok(()),
            false => Err("it is not as it was written: it was edited or damaged".to_owned()),
        }
    }

    fn check_cells(&self, horizon: Horizon) -> Checked {
        let placement = self.parameters.placement();
        let own = (0..placement.nr_cells()).filter(|&cell| self.shard.has_cell(cell));
        if !self.cells.iter().map(|cell| cell.cell).eq(own) {
            return Err(format!("its cells are not those of shard {}/{}", self.shard.index, self.shard.of));
        }
        let capacity =
            self.parameters.models.shapes.as_ref().map_or(self.parameters.capacity, |shapes| shapes.most_cpus());
        let most = capacity * horizon.length_s() * (1.0 + SLACK);
        self.cells.iter().try_for_each(|cell| {
            let memories = self.parameters.memories_from(placement.first_in(cell.cell));
            let memories = memories.take(cell.busy_cpu_s.len()).flatten();
            let memory = cell.memory.as_ref().map_or(Ok(()), |memory| memory.check(memories, horizon.length_s()));
            check_cell(cell, &placement, most).and(memory).map_err(|what| format!("cell {}: {what}", cell.cell))
        })
    }

    /// There is one value for each rebalance, and their sums are those of the cells.
    fn check_rounds(&self, horizon: Horizon) -> Checked {
        let rounds = &self.rounds;
        let nr_rounds = self.parameters.rounds(horizon);
        let series = [&rounds.bytes, &rounds.migratable, &rounds.to_first, &rounds.to_second];
        if series.iter().any(|values| values.len() != nr_rounds) {
            return Err(format!("it doesn't have all of its {nr_rounds} rebalances"));
        }
        let moves = total(&rounds.to_first) + total(&rounds.to_second);
        for (name, of_rounds, of_cells) in [
            ("moves", moves, total(self.cells.iter().map(|cell| &cell.migrations))),
            ("bytes", total(&rounds.bytes), total(self.cells.iter().map(|cell| &cell.migrated_bytes))),
        ] {
            if of_rounds != of_cells || of_cells > u64::MAX.into() {
                return Err(format!("its rebalances have {of_rounds} {name}, and its cells {of_cells}"));
            }
        }
        match total(self.cells.iter().map(|cell| &cell.tasks)) > u32::MAX.into() {
            true => Err("it has more tasks than a trace can have".to_owned()),
            false => Ok(()),
        }
    }

    /// The heat map's rows are the busy times of the first machines, those of other shards empty.
    fn check_heat(&self) -> Checked {
        let placement = self.parameters.placement();
        let rows = &self.heat.busy_cpu_ms;
        let bins = rows.first().map_or(0, Vec::len);
        if rows.len() > placement.machines as usize || rows.iter().any(|row| row.len() != bins) {
            return Err("its heat map is not of its machines".to_owned());
        }
        let mut cells = self.cells.iter().peekable();
        for (machine, row) in (0..placement.machines).zip(rows) {
            let cell = placement.cell_of(machine);
            while cells.next_if(|it| it.cell < cell).is_some() {}
            let of_cell = cells.peek().filter(|it| it.cell == cell);
            let busy_cpu_s = of_cell.map_or(0.0, |it| it.busy_cpu_s[(machine - placement.first_in(cell)) as usize]);
            // Each value is rounded to a millisecond.
            let slack_ms = 0.5 * (bins as f64 + 1.0) + busy_cpu_s * 1e3 * SLACK;
            if (total(row) as f64 - busy_cpu_s * 1e3).abs() > slack_ms {
                return Err(format!("its heat map and cell {cell} disagree about machine {machine}"));
            }
        }
        Ok(())
    }
}

fn total<'a>(values: impl IntoIterator<Item = &'a u64>) -> u128 {
    values.into_iter().map(|&value| u128::from(value)).sum()
}

/// `most` is the most that a machine can be busy.
fn check_cell(cell: &CellOutcome, placement: &Placement, most: f64) -> Checked {
    let CellOutcome { busy_cpu_s, over_cpu_s, .. } = cell;
    let machines = placement.machines_in(cell.cell) as usize;
    if busy_cpu_s.len() != machines || over_cpu_s.len() != machines {
        return Err(format!("it has {} machines, not {machines}", busy_cpu_s.len()));
    }
    if let Some(busy) = busy_cpu_s.iter().find(|busy| !(0.0..=most).contains(*busy)) {
        return Err(format!("a machine was busy for {busy} s of CPU, and had {most} s"));
    }
    let amounts = [cell.turnaround_s, cell.work_done_s, cell.unhindered_cpu_s];
    if amounts.iter().chain(over_cpu_s).chain(&cell.page_wait_s).any(|amount| !(0.0..f64::INFINITY).contains(amount)) {
        return Err("a time is below 0".to_owned());
    }
    if let Some(lc) = &cell.lc {
        lc.check(machines)?;
    }
    if cell.slowdowns.tasks() != Some(cell.tasks) {
        return Err(format!("it doesn't have the slowdowns of its {} tasks", cell.tasks));
    }
    match cell.finished.checked_add(cell.unfinished) == Some(cell.tasks) {
        true => Ok(()),
        false => Err(format!("of its {} tasks {} finished and {} did not", cell.tasks, cell.finished, cell.unfinished)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use serde_json::{json, Value};

    use super::*;
    use crate::sim::engine::Prepared;
    use crate::sim::params::Params;
    use crate::sim::placement::Shard;
    use crate::sim::sample;
    use crate::sim::SimError;

    /// One of the two shards of a run.
    pub(in crate::sim::result) fn shard(index: u32) -> RunResult {
        let params = Params { machines: sample::MACHINES, interval_s: 600.0, ..Params::default() };
        let trace = sample::load(&|_| true).unwrap();
        let shard = Shard { index, of: 2 };
        let prepared = Prepared::new(&trace, &params, shard);
        RunResult::new(&trace, &params, shard, prepared.horizon(), prepared.run(&params, &|| {}))
    }

    fn parsed(value: &Value) -> Result<RunResult, SimError> {
        RunResult::parse(Path::new("shard.json"), value.to_string().as_bytes())
    }

    #[test]
    fn a_result_is_read_as_it_was_written_and_not_without_its_checksum() {
        let result = shard(0);
        let mut value = serde_json::to_value(&result).unwrap();
        assert_eq!(parsed(&value).unwrap(), result);
        value.as_object_mut().unwrap().remove("crc32");
        let error = parsed(&value).unwrap_err().to_string();
        assert!(
            error.contains("shard.json")
                && error.contains("no checksum")
                && error.contains("`vnuma-sim run --shard 0/2`"),
            "{error}"
        );
    }

    #[test]
    fn a_checksum_under_another_name_is_noticed() {
        let text = serde_json::to_string(&shard(0)).unwrap();
        let renamed = text.replace("\"crc32\"", "\"crc33\"").replace("\"seed\":1", "\"seed\":2");
        let message = RunResult::parse(Path::new("shard.json"), renamed.as_bytes()).unwrap_err().to_string();
        assert!(message.contains("no result has a field 'crc33'"), "{message}");
    }

    #[test]
    fn an_edited_result_is_refused_by_what_was_edited() {
        let whole = serde_json::to_value(shard(0)).unwrap();
        for (place, edited, said) in [
            ("/provenance", json!("all of it measured"), "edited or damaged"),
            ("/inputs/0/sha256", json!("0"), "edited or damaged"),
            ("/parameters/seed", json!(2), "edited or damaged"),
            ("/cpu_utilisation", json!(0.9), "figures are not those of its cells"),
            ("/overcommit", json!(1e308), "overcommit is 1e308"),
            ("/cells/0/busy_cpu_s/0", json!(1.0), "disagree about machine 0"),
            ("/cells/0/busy_cpu_s/0", json!(1e300), "a machine was busy for"),
            ("/cells/0/busy_cpu_s/0", json!(-1.0), "a machine was busy for"),
            ("/cells/0/busy_cpu_s", json!([]), "it has 0 machines, not 4"),
            ("/cells/0/over_cpu_s/1", json!(-1.0), "below 0"),
            ("/cells/0/cell", json!(1), "not those of shard 0/2"),
            ("/cells/0/finished", json!(0), "finished and"),
            ("/cells/0/slowdowns", json!({}), "slowdowns of its"),
            ("/cells/0/slowdowns", json!({"0": u64::MAX, "1": u64::MAX}), "slowdowns of its"),
            ("/cells/0/unhindered_cpu_s", json!(-1.0), "below 0"),
            ("/cells/0/migrations", json!(1_000_000), "moves"),
            ("/cells/0/migrated_bytes", json!(u64::MAX), "bytes"),
            ("/rounds/bytes", json!([1]), "rebalances"),
            ("/heat/busy_cpu_ms/0/0", json!(u64::MAX), "machine 0"),
            ("/heat/busy_cpu_ms/4/0", json!(u64::MAX), "machine 4"),
            ("/shard/of", json!(0), "no shard 0 of 0"),
            ("/shard/index", json!(1), "not those of shard 1/2"),
            ("/span_us/1", json!(0), "it ends at 0"),
            ("/span_us/1", json!(i64::MAX), "longest span"),
            ("/parameters/interval_s", json!(1e-300), "rebalances"),
            ("/parameters/machines", json!(0), "--machines 0"),
            ("/parameters/capacity", json!(0.0), "--capacity 0"),
        ] {
            let mut value = whole.clone();
            *value.pointer_mut(place).unwrap() = edited;
            let message = parsed(&value).unwrap_err().to_string();
            assert!(message.contains(said) && message.starts_with("shard.json: "), "{place}: {message}");
        }
    }
}
