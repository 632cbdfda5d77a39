//! What became of the machines' memory.

use super::machine::MachineMemory;

/// Memory of a cell's machines over time. Its unit is all memory of the trace's largest machine for a second.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MemoryOutcome {
    /// ∫ min(used, M) dt of each machine, where M is its memory.
    pub used_s: Vec<f64>,
    /// ∫ max(0, used - M) dt of each machine.
    pub over_s: Vec<f64>,
    /// M T of each machine.
    pub had_s: Vec<f64>,
}

impl MemoryOutcome {
    /// The outcome of machines over a time; `None` if their memory is not limited.
    pub(super) fn of<'a>(
        machines: impl Iterator<Item = Option<&'a MachineMemory>>,
        length_s: f64,
    ) -> Option<MemoryOutcome> {
        let memories = machines.collect::<Option<Vec<_>>>()?;
        Some(MemoryOutcome {
            used_s: memories.iter().map(|memory| memory.used_s).collect(),
            over_s: memories.iter().map(|memory| memory.over_s).collect(),
            had_s: memories.iter().map(|memory| memory.capacity() * length_s).collect(),
        })
    }

    /// What machines used of their memory, and what tasks were assigned beyond it, as shares of all of their memory; `None` of no
    /// machine.
    pub fn sum<'a>(outcomes: impl Iterator<Item = &'a MemoryOutcome>) -> Option<(f64, f64)> {
        let (mut used_s, mut over_s, mut had_s) = (0.0, 0.0, 0.0);
        for outcome in outcomes {
            used_s += outcome.used_s.iter().sum::<f64>();
            over_s += outcome.over_s.iter().sum::<f64>();
            had_s += outcome.had_s.iter().sum::<f64>();
        }
        (had_s > 0.0).then(|| (used_s / had_s, over_s / had_s))
    }

    /// Check what a result says of a cell with these machines. The error says what is wrong.
    pub fn check(&self, memories: impl Iterator<Item = f64>, length_s: f64) -> Result<(), String> {
        let MemoryOutcome { used_s, over_s, had_s } = self;
        let wanted = memories.map(|memory| memory * length_s);
        if !had_s.iter().copied().eq(wanted) || used_s.len() != had_s.len() || over_s.len() != had_s.len() {
            return Err("it doesn't have the memory of its machines".to_owned());
        }
        let is_within = |(used, had): (&f64, &f64)| (0.0..=had * (1.0 + 1e-9)).contains(used);
        match used_s.iter().zip(had_s).all(is_within) && over_s.iter().all(|over| (0.0..1e300).contains(over)) {
            true => Ok(()),
            false => Err("a machine used an impossible amount of memory".to_owned()),
        }
    }
}
