//! Machines that are not identical.

use crate::sim::error::SimError;

/// Machines of one kind that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Number of machines.
    pub count: u32,
    /// CPU of each, as a share of the trace's largest machine.
    pub cpu: f64,
}

/// The machines of a cluster, in order of id.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shapes {
    /// The kinds of machines.
    pub machines: Vec<Shape>,
}

impl Shapes {
    /// The machines with these amounts of CPU, in order.
    pub fn of(cpus: impl IntoIterator<Item = f64>) -> Shapes {
        let mut machines: Vec<Shape> = Vec::new();
        for cpu in cpus {
            match machines.last_mut().filter(|last| last.cpu == cpu) {
                Some(last) => last.count += 1,
                None => machines.push(Shape { count: 1, cpu }),
            }
        }
        Shapes { machines }
    }

    /// Number of machines.
    pub fn nr_machines(&self) -> u64 {
        self.machines.iter().map(|shape| u64::from(shape.count)).sum()
    }

    /// The CPU of each machine from `first` on.
    pub fn cpus_from(&self, first: u32) -> impl Iterator<Item = f64> + '_ {
        let mut skipped = first;
        self.machines.iter().flat_map(move |shape| {
            let skip = shape.count.min(skipped);
            skipped -= skip;
            std::iter::repeat_n(shape.cpu, (shape.count - skip) as usize)
        })
    }

    /// The CPU of the largest machine.
    pub fn most_cpus(&self) -> f64 {
        self.machines.iter().map(|shape| shape.cpu).fold(0.0, f64::max)
    }

    /// Check that these are as many machines as the cluster has, each with CPU.
    pub fn check(&self, machines: u32) -> Result<(), SimError> {
        let refused = |what: String| Err(SimError::Parameters(format!("--shapes: {what}")));
        if let Some(shape) = self.machines.iter().find(|shape| !(shape.cpu > 0.0 && shape.cpu <= 1000.0)) {
            return refused(format!("cpu = {}: must be above 0, and at most 1000", shape.cpu));
        }
        match self.nr_machines() {
            n if n == u64::from(machines) => Ok(()),
            n => refused(format!("it has {n} machines, and --machines is {machines}: leave --machines out")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_one_kind_are_kept_together_and_found_by_id() {
        let shapes = Shapes::of([0.5, 0.5, 1.0, 0.25]);
        assert_eq!(shapes.machines.iter().map(|shape| shape.count).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(shapes.cpus_from(1).collect::<Vec<_>>(), [0.5, 1.0, 0.25]);
        assert_eq!(shapes.cpus_from(3).collect::<Vec<_>>(), [0.25]);
        assert!(shapes.check(4).is_ok() && shapes.check(5).unwrap_err().to_string().contains("it has 4 machines"));
        assert!(Shapes::of([0.0]).check(1).is_err() && Shapes::of([f64::NAN]).check(1).is_err());
    }
}
