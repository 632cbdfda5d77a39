//! Machines that are not identical, and cells of their own.

use std::sync::Arc;

use crate::sim::error::SimError;

/// Machines of one kind that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Number of machines.
    pub count: u32,
    /// CPU of each, as a share of the trace's largest machine.
    pub cpu: f64,
    /// Memory of each, likewise; that of `--memory` if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
}

/// Cells of one kind that follow each other.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellShape {
    /// Number of cells.
    pub count: u32,
    /// The machines of each.
    pub machines: Vec<Shape>,
}

/// The machines of a cluster, in order of id: either alone, or by cells.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shapes {
    /// The kinds of machines, if `--cell` says how many are a cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Shape>,
    /// The kinds of cells, if they have machines of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<CellShape>,
}

fn nr_of(shapes: &[Shape]) -> u64 {
    shapes.iter().map(|shape| u64::from(shape.count)).sum()
}

impl Shapes {
    /// The machines with these amounts of CPU and memory, in order.
    pub fn of(machines: impl IntoIterator<Item = (f64, Option<f64>)>) -> Shapes {
        let mut shapes: Vec<Shape> = Vec::new();
        for (cpu, memory) in machines {
            match shapes.last_mut().filter(|last| (last.cpu, last.memory) == (cpu, memory)) {
                Some(last) => last.count += 1,
                None => shapes.push(Shape { count: 1, cpu, memory }),
            }
        }
        Shapes { machines: shapes, cells: Vec::new() }
    }

    /// Number of machines.
    pub fn nr_machines(&self) -> u64 {
        let of_cells = |cells: &CellShape| u64::from(cells.count).saturating_mul(nr_of(&cells.machines));
        self.cells.iter().map(of_cells).fold(nr_of(&self.machines), u64::saturating_add)
    }

    /// The shapes of single machines from `first` on.
    pub fn from(&self, first: u32) -> impl Iterator<Item = &Shape> + '_ {
        let mut skipped = u64::from(first);
        let alone = std::iter::once((1, self.machines.as_slice()));
        let cells = self.cells.iter().map(|cells| (cells.count, cells.machines.as_slice()));
        alone.chain(cells).filter(|(_, shapes)| nr_of(shapes) > 0).flat_map(move |(count, shapes)| {
            // Whole cells first, since there may be very many; then a part of the next one.
            let whole = (skipped / nr_of(shapes)).min(count.into());
            skipped -= whole * nr_of(shapes);
            let mut within = if whole < count.into() { std::mem::take(&mut skipped) } else { 0 };
            std::iter::repeat_n(shapes, count as usize - whole as usize).flatten().flat_map(move |shape| {
                let skip = within.min(shape.count.into());
                within -= skip;
                std::iter::repeat_n(shape, shape.count as usize - skip as usize)
            })
        })
    }

    /// The first machine of each cell, and at the end the number of machines; `None` if cells are not the file's.
    pub fn firsts(&self) -> Option<Arc<[u32]>> {
        let sizes = self
            .cells
            .iter()
            .flat_map(|cells| std::iter::repeat_n(nr_of(&cells.machines) as u32, cells.count as usize));
        let mut next = 0u32;
        let firsts = sizes.map(|size| {
            next = next.saturating_add(size);
            next
        });
        (!self.cells.is_empty()).then(|| std::iter::once(0).chain(firsts).collect())
    }

    /// The largest number of machines in a cell; `None` if cells are not the file's.
    pub fn largest_cell(&self) -> Option<u32> {
        self.cells.iter().map(|cells| nr_of(&cells.machines).min(u32::MAX.into()) as u32).max()
    }

    /// All kinds of machines.
    pub fn kinds(&self) -> impl Iterator<Item = &Shape> {
        self.machines.iter().chain(self.cells.iter().flat_map(|cells| &cells.machines))
    }

    /// The CPU of the largest machine.
    pub fn most_cpus(&self) -> f64 {
        self.kinds().map(|shape| shape.cpu).fold(0.0, f64::max)
    }

    /// The same machines, without what is said of their memory.
    pub fn without_memory(mut self) -> Shapes {
        let of_cells = self.cells.iter_mut().flat_map(|cells| &mut cells.machines);
        self.machines.iter_mut().chain(of_cells).for_each(|shape| shape.memory = None);
        self
    }

    /// Check that these are as many machines as the cluster has, each with CPU.
    pub fn check(&self, machines: u32) -> Result<(), SimError> {
        self.check_kinds()?;
        match self.nr_machines() {
            n if n == u64::from(machines) => Ok(()),
            n => refused(format!("it has {n} machines, and --machines is {machines}: leave --machines out")),
        }
    }

    /// Check each kind of machines and cells.
    pub fn check_kinds(&self) -> Result<(), SimError> {
        if self.machines.is_empty() == self.cells.is_empty() {
            return refused("needs either [[machines]] or [[cells]]".to_owned());
        }
        for shape in self.kinds() {
            for (name, share) in [("cpu", Some(shape.cpu)), ("memory", shape.memory)] {
                if let Some(share) = share.filter(|&share| !(share > 0.0 && share <= 1000.0)) {
                    return refused(format!("{name} = {share}: must be above 0, and at most 1000"));
                }
            }
        }
        if self.nr_machines() == 0 && self.kinds().next().is_some() {
            return refused("it has no machine: each count is 0".to_owned());
        }
        if self.cells.iter().any(|cells| nr_of(&cells.machines) == 0) {
            return refused(
                "a cell has no machine: each of [[cells]] needs machines = [{ count = 4, cpu = 0.5 }]".to_owned(),
            );
        }
        Ok(())
    }
}

fn refused(what: String) -> Result<(), SimError> {
    Err(SimError::Parameters(format!("--shapes: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_cpus<const N: usize>(cpus: [f64; N]) -> Shapes {
        Shapes::of(cpus.map(|cpu| (cpu, None)))
    }

    fn cpus_from(shapes: &Shapes, first: u32) -> Vec<f64> {
        shapes.from(first).map(|shape| shape.cpu).collect()
    }

    #[test]
    fn machines_of_one_kind_are_kept_together_and_found_by_id() {
        let shapes = of_cpus([0.5, 0.5, 1.0, 0.25]);
        assert_eq!(shapes.machines.iter().map(|shape| shape.count).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(cpus_from(&shapes, 1), [0.5, 1.0, 0.25]);
        assert_eq!(cpus_from(&shapes, 3), [0.25]);
        assert_eq!(cpus_from(&shapes, 4), [0.0; 0]);
        assert!(shapes.check(4).is_ok() && shapes.check(5).unwrap_err().to_string().contains("it has 4 machines"));
        assert!(of_cpus([0.0]).check(1).is_err() && of_cpus([f64::NAN]).check(1).is_err());
        assert_eq!((shapes.firsts(), shapes.largest_cell()), (None, None));
        let with = Shapes::of([(0.5, Some(0.25)), (0.5, Some(0.5)), (0.5, Some(0.5))]);
        assert_eq!(with.machines.iter().map(|shape| shape.count).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(with.without_memory().machines.iter().map(|shape| shape.memory).collect::<Vec<_>>(), [None, None]);
    }

    #[test]
    fn machines_of_cells_are_found_by_id() {
        let shape = |count, cpu| Shape { count, cpu, memory: None };
        let cells = |count, machines: &[Shape]| CellShape { count, machines: machines.to_vec() };
        let cells = vec![cells(2, &[shape(2, 0.5), shape(1, 1.0)]), cells(1, &[shape(1, 0.25)])];
        let shapes = Shapes { machines: Vec::new(), cells };
        let all = [0.5, 0.5, 1.0, 0.5, 0.5, 1.0, 0.25];
        for first in 0..=all.len() {
            assert_eq!(cpus_from(&shapes, first as u32), all[first..], "from {first}");
        }
        assert_eq!(shapes.firsts().unwrap().as_ref(), [0, 3, 6, 7]);
        assert_eq!((shapes.nr_machines(), shapes.largest_cell(), shapes.most_cpus()), (7, Some(3), 1.0));
        assert!(shapes.check(7).is_ok());
    }

    #[test]
    fn files_that_mean_nothing_are_refused_by_what_is_wrong() {
        let shape = |count, memory| Shape { count, cpu: 0.5, memory };
        let cell = |count, machines: &[Shape]| vec![CellShape { count, machines: machines.to_vec() }];
        for (shapes, said) in [
            (Shapes::default(), "needs either"),
            (Shapes { machines: vec![shape(1, None)], cells: cell(1, &[shape(1, None)]) }, "needs either"),
            (Shapes { machines: vec![shape(1, Some(0.0))], cells: Vec::new() }, "memory = 0"),
            (Shapes { machines: Vec::new(), cells: cell(1, &[]) }, "a cell has no machine"),
            (Shapes { machines: vec![shape(0, None)], cells: Vec::new() }, "each count is 0"),
            (Shapes { machines: Vec::new(), cells: cell(0, &[shape(1, None)]) }, "each count is 0"),
            (Shapes { machines: Vec::new(), cells: cell(u32::MAX, &[shape(u32::MAX, None); 3]) }, "machines, and"),
        ] {
            let message = shapes.check(1).unwrap_err().to_string();
            assert!(message.contains(said) && message.contains("--shapes"), "{message}");
        }
    }
}
