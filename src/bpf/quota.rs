//! A CPU quota as the BPF scheduler keeps it.

use super::intf;

/// A cgroup's quota. The class holds migratable tasks of the cgroup, and of those below it, to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelQuota {
    /// Its place among the quotas, below [`KernelQuota::NR_MAX`].
    pub index: u32,
    /// The cgroup's id.
    pub cgroup_id: u64,
    /// Run time in each period, ns; 0 ends the quota.
    pub quota_ns: u64,
    /// Length of a period, ns.
    pub period_ns: u64,
    /// The index of the nearest quota above it.
    pub parent: Option<u32>,
}

impl KernelQuota {
    /// Number of quotas that can be kept at a time.
    pub const NR_MAX: u32 = intf::vnuma_quotas_VNUMA_MAX_QUOTAS as u32;
    /// Number of quotas that may be on the path to one cgroup.
    pub const DEPTH_MAX: usize = intf::vnuma_quotas_VNUMA_QUOTA_DEPTH as usize;

    pub(super) fn to_args(self) -> intf::vnuma_quota_args {
        intf::vnuma_quota_args {
            cgroup_id: self.cgroup_id,
            period_ns: self.period_ns,
            quota_ns: self.quota_ns,
            index: self.index as i32,
            parent: self.parent.map_or(intf::vnuma_quotas_VNUMA_NO_QUOTA, |index| index as i32),
        }
    }
}
