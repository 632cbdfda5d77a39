//! Measures a live guest: turns counters and sources of pressure into a [`CellView`](crate::cell::CellView).

mod cpu_time;
mod dsm;
mod host;
mod memory;
mod nodes;
mod pressure;
mod probe;
mod sharing;
mod slo;
mod view;
mod window;

pub use cpu_time::{CpuTime, CpuTimeError, CpuTimeReader, CpuTimes};
pub use dsm::{check_dsm_specs, Dsm, DsmCounters, DsmError, DsmLoad, DsmSpec, DsmSpecError};
#[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
pub(crate) use host::fuzzing;
pub use host::{
    host_specs, Access, Auth, ClientFiles, HostLoad, HostSpec, HostSpecError, Hosts, HostsError, MetricsError,
    ScrapeError,
};
pub use memory::{MemoryFound, MemoryWatch, MemoryWatchError};
pub use nodes::Nodes;
pub use pressure::{NodeReadings, Reading, Spin};
pub use probe::{ProbeOptions, Probes};
pub use sharing::{group_links, group_signals, Found, ProcessLink, Sharing, SharingError};
#[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
pub(crate) use slo::fuzzing as slo_fuzzing;
pub use slo::{slo_specs, SloError, SloFileError, SloSpec, SloSpecError, Slos};
pub use view::{cell_view, ViewInputs};
pub use window::{Sampler, Window};
