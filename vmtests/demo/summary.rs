//! The totals of each phase, and the comparison of the two phases.

use super::record::{NodeSecond, Phase};

/// One phase in a few numbers. The unit of work is arbitrary: only ratios are meaningful.
#[derive(Debug, PartialEq)]
pub struct Summary {
    pub lasted_s: f64,
    /// What the hogs got of the CPU time that they wanted, 0..=1, as their hosts measured it; `None` without a hog.
    pub hogs_share: Option<f64>,
    /// What the migratable work used of the CPUs of hosts without a hog, 0..=1; `None` if all had one all the time.
    pub idle_used_share: Option<f64>,
    /// CPU-seconds stolen from the guest.
    pub stolen_cpu_s: f64,
    pub work_per_s: f64,
    pub fixed_per_s: f64,
}

impl Summary {
    pub fn of(phase: &Phase) -> Self {
        let lasted_s = phase.lasted_s();
        // The integral of a value in CPUs over the time of the nodes that count.
        let cpu_s = |counts: fn(&NodeSecond) -> bool, cpus: fn(&NodeSecond) -> f64| -> f64 {
            let of_second = |second: &super::record::Second| {
                second.nodes.iter().filter(|node| counts(node)).map(cpus).sum::<f64>() * second.lasted_s()
            };
            phase.seconds.iter().map(of_second).sum()
        };
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let hogs_cpu_s = cpu_s(|_| true, |node| node.hog_cpus);
        let waited_cpu_s = cpu_s(|_| true, |node| node.hog_waited_cpus);
        let work: u64 = phase.seconds.iter().flat_map(|second| &second.nodes).map(|node| node.work).sum();
        let fixed: u64 = phase.seconds.iter().map(|second| second.fixed_work).sum();
        Summary {
            lasted_s,
            hogs_share: share(hogs_cpu_s, hogs_cpu_s + waited_cpu_s),
            idle_used_share: share(
                cpu_s(|node| !node.has_hog, |node| node.work_cpus),
                cpu_s(|node| !node.has_hog, |_| 1.0),
            ),
            stolen_cpu_s: cpu_s(|_| true, |node| node.stolen_cpus),
            work_per_s: work as f64 / lasted_s,
            fixed_per_s: fixed as f64 / lasted_s,
        }
    }
}

/// The two phases side by side. Ratios are of rates per second, because one phase may have lasted longer.
#[derive(Debug)]
pub struct Comparison {
    pub alone: Summary,
    pub with: Summary,
}

impl Comparison {
    pub fn of(alone: &Phase, with: &Phase) -> Self {
        Comparison { alone: Summary::of(alone), with: Summary::of(with) }
    }

    /// The time stolen with scx_vnuma over that under Linux alone; `None` if there was none.
    pub fn stolen(&self) -> Option<f64> {
        let rate = |summary: &Summary| summary.stolen_cpu_s / summary.lasted_s;
        ratio(rate(&self.with), rate(&self.alone))
    }

    /// The migratable tasks' work.
    pub fn work(&self) -> Option<f64> {
        ratio(self.with.work_per_s, self.alone.work_per_s)
    }

    /// The fixed task's work.
    pub fn fixed(&self) -> Option<f64> {
        ratio(self.with.fixed_per_s, self.alone.fixed_per_s)
    }

    /// Linux alone does more work, clearly.
    pub fn linux_does_more(&self) -> bool {
        self.work().is_some_and(|ratio| ratio < 0.98)
    }
}

fn ratio(with: f64, alone: f64) -> Option<f64> {
    (alone > 0.0).then(|| with / alone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::record::tests::{calm, hogged, phase};

    #[test]
    fn hogs_share_and_idle_hosts_are_counted_apart() {
        // In the second second a hog gets three quarters of host 1.
        let summary = Summary::of(&phase(&[&[calm(1.0), calm(0.5)], &[calm(0.75), hogged(0.25, 0.125)]]));
        assert_eq!(summary.hogs_share, Some(0.75));
        assert_eq!(summary.idle_used_share, Some(0.75));
        assert_eq!((summary.stolen_cpu_s, summary.work_per_s, summary.fixed_per_s), (0.125, 125.0, 10.0));
    }

    #[test]
    fn without_a_hog_or_without_an_idle_host_there_is_no_share() {
        assert_eq!(Summary::of(&phase(&[&[calm(1.0)]])).hogs_share, None);
        assert_eq!(Summary::of(&phase(&[&[hogged(0.5, 0.5)]])).idle_used_share, None);
    }

    #[test]
    fn ratios_are_of_rates() {
        let alone = phase(&[&[hogged(0.5, 0.5)]]);
        let with = phase(&[&[hogged(0.25, 0.125)], &[hogged(0.25, 0.125)]]);
        let comparison = Comparison::of(&alone, &with);
        assert_eq!((comparison.work(), comparison.stolen(), comparison.fixed()), (Some(0.5), Some(0.25), Some(1.0)));
        assert!(comparison.linux_does_more());
    }
}
