//! The totals of each phase, and the comparison of the two phases.

use super::record::Phase;

/// One phase in four numbers. The unit of work is arbitrary: only ratios are meaningful.
#[derive(Debug)]
pub struct Summary {
    pub lasted_s: f64,
    /// CPU-seconds stolen from the nodes where the migratable work was, weighted by its share on each: the steal that affected
    /// the work. Steal that hit the fixed task or the recorder on nodes that the work had left is not included.
    pub stolen_cpu_s: f64,
    pub migratable_per_s: f64,
    pub fixed_per_s: f64,
}

impl Summary {
    pub fn of(phase: &Phase) -> Self {
        let lasted_s = phase.lasted_s();
        let stolen = |second: &super::record::Second| {
            let shares = second.shares().unwrap_or_default();
            let weighted = second.stolen_cpus.iter().zip(shares).map(|(cpus, share)| cpus * share);
            weighted.sum::<f64>() * second.lasted_s()
        };
        let migratable: u64 = phase.seconds.iter().flat_map(|second| &second.migratable_work).sum();
        let fixed: u64 = phase.seconds.iter().map(|second| second.fixed_work).sum();
        Summary {
            lasted_s,
            stolen_cpu_s: phase.seconds.iter().map(stolen).sum(),
            migratable_per_s: migratable as f64 / lasted_s,
            fixed_per_s: fixed as f64 / lasted_s,
        }
    }

    fn stolen_cpus(&self) -> f64 {
        self.stolen_cpu_s / self.lasted_s
    }
}

/// The two phases side by side. Ratios are of rates per second, because one phase may have lasted longer.
#[derive(Debug)]
pub struct Comparison {
    pub without: Summary,
    pub with: Summary,
}

impl Comparison {
    pub fn of(without: &Phase, with: &Phase) -> Self {
        Comparison { without: Summary::of(without), with: Summary::of(with) }
    }

    /// The time stolen, as text such as `7.3 times less`.
    pub fn stolen(&self) -> String {
        more_or_less(self.with.stolen_cpus(), self.without.stolen_cpus())
    }

    /// The migratable tasks' work, as text such as `1.8 times more`.
    pub fn migratable(&self) -> String {
        more_or_less(self.with.migratable_per_s, self.without.migratable_per_s)
    }

    /// The fixed task's work, as text such as `0.99 times as much`.
    pub fn fixed(&self) -> String {
        let (with, without) = (self.with.fixed_per_s, self.without.fixed_per_s);
        if without <= 0.0 {
            return "no ratio: none was done without".to_string();
        }
        format!("{:.2} times as much", with / without)
    }
}

fn more_or_less(with: f64, without: f64) -> String {
    if with <= 0.0 && without <= 0.0 {
        "none in either".to_string()
    } else if without <= 0.0 {
        "no ratio: none without".to_string()
    } else if with <= 0.0 {
        "none at all".to_string()
    } else if (with / without - 1.0).abs() < 0.05 {
        "about the same".to_string()
    } else if with > without {
        format!("{:.1} times more", with / without)
    } else {
        format!("{:.1} times less", without / with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::record::tests::phase;

    #[test]
    fn time_stolen_counts_as_far_as_the_work_was_there() {
        // Half a CPU is stolen from node 0 each second; in the second second, half of the work is there.
        let summary = Summary::of(&phase(&[(10, 0, None), (15, 15, None)]));
        assert_eq!((summary.stolen_cpu_s, summary.migratable_per_s, summary.fixed_per_s), (0.75, 20.0, 10.0));
    }

    #[test]
    fn ratios_say_which_way() {
        for (with, without, words) in [
            (2.0, 16.0, "8.0 times less"),
            (18.0, 10.0, "1.8 times more"),
            (10.2, 10.0, "about the same"),
            (0.0, 0.0, "none in either"),
            (1.0, 0.0, "no ratio: none without"),
            (0.0, 1.0, "none at all"),
        ] {
            assert_eq!(more_or_less(with, without), words);
        }
    }
}
