//! The machine at which a task arrives: a hash of its id and the seed, so that every implementation places it equally.

use std::sync::Arc;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Seed of the hash.
    pub seed: u64,
    /// Number of machines in the cluster, at least 1.
    pub machines: u32,
    /// Which machines form a cell.
    pub cells: Cells,
}

/// Which machines form a cell: some that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cells {
    /// All cells have this number of machines, at least 1; the last one may have fewer.
    Of(u32),
    /// The first machine of each cell in ascending order, from 0, and at the end the number of machines.
    From(Arc<[u32]>),
}

impl Placement {
    /// The machine at which a task arrives.
    pub fn machine(&self, task: TaskId) -> u32 {
        let hash = mix(mix(mix(self.seed) ^ task.job) ^ u64::from(task.index));
        (hash % u64::from(self.machines)) as u32
    }

    /// The cell in which a task arrives. It never leaves it.
    pub fn cell(&self, task: TaskId) -> u32 {
        self.cell_of(self.machine(task))
    }

    /// The cell of a machine.
    pub fn cell_of(&self, machine: u32) -> u32 {
        match &self.cells {
            Cells::Of(size) => machine / size,
            Cells::From(firsts) => firsts.partition_point(|&first| first <= machine) as u32 - 1,
        }
    }

    /// Number of cells.
    pub fn nr_cells(&self) -> u32 {
        match &self.cells {
            Cells::Of(size) => self.machines.div_ceil(*size),
            Cells::From(firsts) => firsts.len() as u32 - 1,
        }
    }

    /// The first machine of a cell.
    pub fn first_in(&self, cell: u32) -> u32 {
        match &self.cells {
            Cells::Of(size) => cell * size,
            Cells::From(firsts) => firsts[cell as usize],
        }
    }

    /// Number of machines in a cell.
    pub fn machines_in(&self, cell: u32) -> u32 {
        match &self.cells {
            Cells::Of(size) => (*size).min(self.machines - cell * size),
            Cells::From(firsts) => firsts[cell as usize + 1] - firsts[cell as usize],
        }
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
        let placement = Placement { seed: 1, machines: 10, cells: Cells::Of(4) };
        assert_eq!(placement.nr_cells(), 3);
        assert_eq!((0..3).map(|cell| placement.machines_in(cell)).collect::<Vec<_>>(), [4, 4, 2]);
    }

    #[test]
    fn cells_of_their_own_size_have_the_machines_between_two_firsts() {
        let placement = Placement { seed: 1, machines: 6, cells: Cells::From([0, 1, 4, 6].into()) };
        assert_eq!(placement.nr_cells(), 3);
        let of = |cell| (placement.first_in(cell), placement.machines_in(cell));
        assert_eq!((0..3).map(of).collect::<Vec<_>>(), [(0, 1), (1, 3), (4, 2)]);
        assert_eq!((0..6).map(|machine| placement.cell_of(machine)).collect::<Vec<_>>(), [0, 1, 1, 1, 2, 2]);
    }
}
