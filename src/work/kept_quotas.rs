//! The CPU quotas that the scheduler class keeps: those on the paths to the cgroups of migratable tasks.

use std::collections::HashMap;

use anyhow::Result;

use super::quota::Quota;
use crate::bpf::{Class, KernelQuota};

/// The quotas that the class has been told of.
#[derive(Default)]
pub struct KeptQuotas {
    /// By cgroup id.
    kept: HashMap<u64, Kept>,
    free: Vec<u32>,
    nr_ever: u32,
}

struct Kept {
    quota: KernelQuota,
    /// It was asked for in this round.
    is_asked: bool,
}

impl KeptQuotas {
    /// Make the class keep the quotas on the path to a cgroup, given from the nearest to the outermost. Returns false if that are
    /// too many for it, or if it can't keep any.
    pub fn keep(&mut self, class: &dyn Class, path: &[Quota]) -> Result<bool> {
        let nr_new = path.iter().filter(|quota| !self.kept.contains_key(&quota.cgroup_id)).count();
        let nr_free = KernelQuota::NR_MAX as usize - self.kept.len();
        if !class.keeps_quotas() || path.len() > KernelQuota::DEPTH_MAX || nr_new > nr_free {
            return Ok(false);
        }
        let mut parent = None;
        for quota in path.iter().rev() {
            let index = match self.kept.get(&quota.cgroup_id) {
                Some(kept) => kept.quota.index,
                None => self.free.pop().unwrap_or_else(|| {
                    self.nr_ever += 1;
                    self.nr_ever - 1
                }),
            };
            let wanted = KernelQuota {
                index,
                cgroup_id: quota.cgroup_id,
                quota_ns: quota.quota_us * 1000,
                period_ns: quota.period_us * 1000,
                parent,
            };
            if self.kept.get(&quota.cgroup_id).is_none_or(|kept| kept.quota != wanted) {
                class.set_quota(&wanted)?;
            }
            self.kept.insert(quota.cgroup_id, Kept { quota: wanted, is_asked: true });
            parent = Some(index);
        }
        Ok(true)
    }

    /// End the quotas that nobody asked for in this round.
    pub fn end_round(&mut self, class: &dyn Class) -> Result<()> {
        let unasked: Vec<u64> = self.kept.iter().filter(|(_, kept)| !kept.is_asked).map(|(&id, _)| id).collect();
        for id in unasked {
            let Some(Kept { quota, .. }) = self.kept.remove(&id) else { continue };
            class.set_quota(&KernelQuota { quota_ns: 0, parent: None, ..quota })?;
            self.free.push(quota.index);
        }
        self.kept.values_mut().for_each(|kept| kept.is_asked = false);
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::io::Read;

    use super::*;
    use crate::bpf::{KernelCounters, KernelPlan, NodeStats, Retargeted, RunTimes};
    use crate::cell::NodeId;

    /// A class that notes which quotas it is told of, and has no tasks.
    #[derive(Default)]
    pub(in crate::work) struct FakeClass {
        pub(in crate::work) quotas: RefCell<Vec<KernelQuota>>,
        pub(in crate::work) keeps_none: bool,
    }

    impl Class for FakeClass {
        fn keeps_quotas(&self) -> bool {
            !self.keeps_none
        }

        fn set_quota(&self, quota: &KernelQuota) -> Result<()> {
            self.quotas.borrow_mut().push(*quota);
            Ok(())
        }

        fn task_records(&self) -> Result<Box<dyn Read + '_>> {
            Ok(Box::new(std::io::empty()))
        }

        fn select(&self, _tid: i32, _started_at_ns: u64) -> Result<Option<u32>> {
            Ok(None)
        }

        fn unselect(&self, _tid: i32, _started_at_ns: u64) -> Result<bool> {
            Ok(false)
        }

        fn counters(&self) -> Result<KernelCounters> {
            Ok(KernelCounters::default())
        }

        fn run_times(&self, _processes: Option<&[u32]>) -> Result<RunTimes> {
            Ok(RunTimes::new())
        }

        fn place(&self, _epoch: u64, _placements: &[(u32, NodeId)]) -> Result<()> {
            Ok(())
        }

        fn placement(&self, _tgid: u32) -> Result<Option<NodeId>> {
            Ok(None)
        }

        fn retarget(&self, _plan: &KernelPlan) -> Result<Retargeted> {
            Ok(Retargeted::default())
        }

        fn update(&self, _plan: &KernelPlan) -> Result<Retargeted> {
            Ok(Retargeted::default())
        }

        fn node_stats(&self, _node: NodeId) -> Result<NodeStats> {
            Ok(NodeStats::default())
        }

        fn note_alive(&self) -> Result<()> {
            Ok(())
        }

        fn has_exited(&self) -> bool {
            false
        }
    }

    fn quota(cgroup_id: u64, quota_us: u64) -> Quota {
        Quota { cgroup_id, quota_us, period_us: 100_000 }
    }

    /// The index, cgroup, quota and parent of each quota that the class was told of since the last call.
    fn told(class: &FakeClass) -> Vec<(u32, u64, u64, Option<u32>)> {
        let quotas = class.quotas.take();
        quotas.iter().map(|quota| (quota.index, quota.cgroup_id, quota.quota_ns / 1000, quota.parent)).collect()
    }

    #[test]
    fn an_outer_quota_is_set_before_those_below_it_which_name_it() {
        let (class, mut kept) = (FakeClass::default(), KeptQuotas::default());
        assert!(kept.keep(&class, &[quota(12, 25), quota(10, 50)]).unwrap());
        assert!(kept.keep(&class, &[quota(13, 30), quota(10, 50)]).unwrap());
        assert_eq!(told(&class), [(0, 10, 50, None), (1, 12, 25, Some(0)), (2, 13, 30, Some(0))]);
    }

    #[test]
    fn a_quota_that_nobody_asks_for_any_more_ends_and_its_place_is_free() {
        let (class, mut kept) = (FakeClass::default(), KeptQuotas::default());
        kept.keep(&class, &[quota(12, 25), quota(10, 50)]).unwrap();
        kept.end_round(&class).unwrap();
        told(&class);
        kept.keep(&class, &[quota(12, 25)]).unwrap();
        assert_eq!(told(&class), [(1, 12, 25, None)], "no quota is above it now");
        kept.end_round(&class).unwrap();
        assert_eq!(told(&class), [(0, 10, 0, None)]);
        kept.keep(&class, &[quota(20, 70)]).unwrap();
        assert_eq!(told(&class), [(0, 20, 70, None)]);
    }

    #[test]
    fn more_quotas_than_the_class_has_room_for_are_not_kept() {
        let (class, mut kept) = (FakeClass::default(), KeptQuotas::default());
        for id in 0..u64::from(KernelQuota::NR_MAX) {
            assert!(kept.keep(&class, &[quota(id, 25)]).unwrap());
        }
        assert!(!kept.keep(&class, &[quota(1000, 25)]).unwrap());
        assert!(kept.keep(&class, &[quota(7, 25)]).unwrap(), "kept already");
        let deep: Vec<Quota> = (0..=KernelQuota::DEPTH_MAX as u64).map(|id| quota(id, 25)).collect();
        assert!(!kept.keep(&class, &deep).unwrap());
    }
}
