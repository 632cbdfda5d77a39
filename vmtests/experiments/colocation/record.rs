//! The messages between the levels of the lab, and the records of their measurements: a line of JSON for each arm and round.

use serde::{Deserialize, Serialize};

/// The port of the loopback interface on which the host level waits for the guest to start an arm.
pub const PORT: u16 = 7000;
/// File with the host level's measurements, a [`HostRecord`] per line.
pub const HOSTS_FILE: &str = "hosts.jsonl";
/// File with the guest's measurements, a [`GuestRecord`] per line.
pub const GUEST_FILE: &str = "guest.jsonl";
/// File with the configuration of both levels, a [`Setup`].
pub const SETUP_FILE: &str = "setup.json";

/// What runs in addition to the latency-critical (LC) load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// Nothing.
    LcOnly,
    /// Best-effort (BE) work under the guest's own fair class, on any node: what a guest without scx_vnuma does.
    Unbound,
    /// BE work that always stays on node 0, as in a virtual machine on one host.
    PlainVm,
    /// BE work, moved by the thesis's shell script.
    Rebalance,
    /// BE work under scx_vnuma, `--policy coarse`, with probes.
    Coarse,
    /// BE work under scx_vnuma, `--policy fine`, with the hosts' metrics.
    Fine,
    /// BE work under scx_vnuma, `--policy auto`, with probes.
    AutoProbes,
    /// BE work under scx_vnuma, `--policy auto`, with the hosts' metrics.
    AutoHosts,
}

impl Arm {
    /// In the order in which they take turns.
    pub const ALL: [Arm; 8] = [
        Arm::LcOnly,
        Arm::Unbound,
        Arm::PlainVm,
        Arm::Rebalance,
        Arm::Coarse,
        Arm::Fine,
        Arm::AutoProbes,
        Arm::AutoHosts,
    ];

    /// Its name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Arm::LcOnly => "LC only",
            Arm::Unbound => "+ kernel, unbound",
            Arm::PlainVm => "+ plain VM",
            Arm::Rebalance => "+ rebalance.sh",
            Arm::Coarse => "+ scx_vnuma coarse",
            Arm::Fine => "+ scx_vnuma fine",
            Arm::AutoProbes => "+ scx_vnuma auto, probes",
            Arm::AutoHosts => "+ scx_vnuma auto, hosts",
        }
    }

    /// Its name in records and file names.
    pub fn name(self) -> &'static str {
        match self {
            Arm::LcOnly => "lc-only",
            Arm::Unbound => "unbound",
            Arm::PlainVm => "plain-vm",
            Arm::Rebalance => "rebalance",
            Arm::Coarse => "coarse",
            Arm::Fine => "fine",
            Arm::AutoProbes => "auto-probes",
            Arm::AutoHosts => "auto-hosts",
        }
    }
}

/// How much CPU the BE work wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// As much as one node has
    Node,
    /// All that there is
    All,
}

/// The guest's message: the arm is ready, start the load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Go {
    pub arm: Arm,
    pub round: u32,
}

/// The host level's message: the load has ended, or the error that prevented it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    pub error: Option<String>,
}

/// The load, the same for each arm of a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub nr_hosts: usize,
    pub cpus_per_host: usize,
    pub demand: Demand,
    /// Mean time between two batches of requests to a host, ms.
    pub mean_ms: f64,
    /// Its standard deviation, ms.
    pub deviation_ms: f64,
    /// Duration of a phase, in which the same hosts are busy, s.
    pub phase_s: f64,
    /// Requests in a batch from one of a busy host's clients.
    pub batch: u32,
    /// Requests per second that one CPU of a host can answer.
    pub capacity_per_s: f64,
    pub seed: u64,
}

/// Latency over the requests of an arm, us: from when a request was due until its answer was read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub mean: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// The host level's measurements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostRecord {
    pub arm: Arm,
    pub round: u32,
    pub lasted_s: f64,
    /// Requests answered.
    pub requests: u64,
    pub latency_us: Latency,
    /// About a second each.
    pub seconds: Vec<HostSecond>,
    /// By client, the 99th percentile of the latency of each second, us; 0 where none was answered. A host has as many clients
    /// as CPUs.
    pub p99_us: Vec<Vec<f64>>,
}

/// About a second of the host level.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostSecond {
    /// When it ended, seconds since the load began.
    pub at_s: f64,
    /// By host, the share of its CPUs on which its server or the guest ran, 0..=1.
    pub busy: Vec<f64>,
    /// The guest's part of `busy`.
    pub guest_busy: Vec<f64>,
}

/// The guest's measurements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuestRecord {
    pub arm: Arm,
    pub round: u32,
    pub lasted_s: f64,
    /// Number of decisions to send all or some of the work to another node.
    pub moves: u64,
    /// Interval between two rounds of scx_vnuma; `None` in arms without it.
    pub interval_ms: Option<u64>,
    /// About a second each.
    pub seconds: Vec<GuestSecond>,
}

/// About a second of the guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuestSecond {
    /// When it ended, seconds since the load began.
    pub at_s: f64,
    /// By node, the number of signatures that the BE work made there.
    pub signs: Vec<u64>,
    /// By node, the time stolen, in CPUs.
    pub stolen_cpus: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The experiment's `run` finds an arm's records by its name.
    #[test]
    fn arms_are_recorded_under_their_names() {
        for arm in Arm::ALL {
            assert_eq!(serde_json::to_string(&arm).unwrap(), format!("\"{}\"", arm.name()));
        }
    }
}
