//! What a live guest looks like: counters, sources of pressure and tasks, made a [`CellView`](crate::cell::CellView).

mod accesses;
mod cgroups;
mod cpu_time;
mod groups;
mod host;
mod nodes;
mod pmu;
mod pressure;
mod probe;
mod quota;
mod selector;
mod tasks;
mod view;
mod window;

pub use accesses::Accesses;
pub use cgroups::CgroupPaths;
pub use cpu_time::{CpuTime, CpuTimeError, CpuTimeReader, CpuTimes};
pub use groups::{Grouping, Groups, Members, Quotas};
pub use host::{host_specs, Auth, HostLoad, HostSpec, HostSpecError, Hosts, HostsError, MetricsError, ScrapeError};
pub use nodes::Nodes;
pub use pmu::NoPmu;
pub use pressure::{NodeReadings, Reading};
pub use probe::{ProbeOptions, Probes};
pub use selector::{Selector, SelectorError, DEFAULT_SELECTORS};
pub use tasks::{policy, read_tasks, TaskRecord};
pub use view::{cell_view, ViewInputs};
pub use window::{Sampler, Window};

#[cfg(test)]
pub(crate) use tasks::tests::task as test_task;
