//! The co-location experiment, as in section 5.1 of the thesis: latency-critical (LC) work on the hosts, best-effort (BE)
//! work in the guest.
//!
//! `arms` is the guest's part, with the arms that are compared; `hosts` puts the LC load on the hosts and measures it;
//! `report` puts both together.

pub mod arms;
mod client;
pub mod hosts;
mod load_map;
mod record;
pub mod report;

pub use record::Arm;
