//! The machine at which a task arrives: a hash of its id and the seed, so that every implementation places it equally.

use super::trace::TaskId;

/// One step of SplitMix64: a bijection of `u64` that scatters adjacent values.
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// One part of a cluster whose cells are distributed over `of` runs: the cells `c` with `c mod of = index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shard {
    /// Index of the part, from 0.
    pub index: u32,
    /// Number of parts.
    pub of: u32,
}

impl Shard {
    /// The whole cluster in one run.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };

    /// Return true if `cell` is in this part.
    pub fn has_cell(self, cell: u32) -> bool {
        cell % self.of == self.index
    }
}

/// The shape of a cluster, and the machine of each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Seed of the hash.
    pub seed: u64,
    /// Number of machines in the cluster, at least 1.
    pub machines: u32,
    /// Number of machines in a cell, at least 1; the last cell may have fewer.
    pub cell_size: u32,
}

impl Placement {
    /// The machine at which a task arrives.
    pub fn machine(&self, task: TaskId) -> u32 {
        let hash = mix(mix(mix(self.seed) ^ task.job) ^ u64::from(task.index));
        (hash % u64::from(self.machines)) as u32
    }

    /// The cell in which a task arrives. It never leaves it.
    pub fn cell(&self, task: TaskId) -> u32 {
        self.machine(task) / self.cell_size
    }

    /// Number of cells.
    pub fn cells(&self) -> u32 {
        self.machines.div_ceil(self.cell_size)
    }

    /// Number of machines in a cell.
    pub fn machines_in(&self, cell: u32) -> u32 {
        self.cell_size.min(self.machines - cell * self.cell_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_is_splitmix64() {
        // The first two outputs of the published generator, seeded with 0.
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(mix(0x9E37_79B9_7F4A_7C15), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn the_last_cell_may_have_fewer_machines() {
        let placement = Placement { seed: 1, machines: 10, cell_size: 4 };
        assert_eq!(placement.cells(), 3);
        assert_eq!((0..3).map(|cell| placement.machines_in(cell)).collect::<Vec<_>>(), [4, 4, 2]);
    }
}
