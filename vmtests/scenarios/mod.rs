//! Scenarios. Each is named after the behaviour that it tests. [`SCENARIOS`] lists them all.

mod all;
mod boots;
mod bound;
mod distributed;
mod experiment;
pub mod fake_exporter;
mod faults;
mod fine;
mod fixed;
mod following;
mod harvesting;
mod hosts;
mod hotplug;
mod killing;
mod leaving;
pub(crate) mod moving;
mod objectives;
mod operating;
mod quotas;
mod real_time;
mod register;
mod room;
mod runner;
pub(crate) mod scale;
mod shapes;
mod sharing;
mod short_tasks;
mod steering;
mod storms;
mod watching;

pub use boots::{list, plan, Boot, UnknownName};
pub use register::{groups, Group, Place, Scenario, SCENARIOS};
pub use runner::run;
