//! The options, resolved once into what the scheduler class and its rounds are made from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Result};

use super::options::RunOptions;
use crate::act::AffinityOptions;
use crate::bpf::{LoadOptions, Steering};
use crate::cell::NodeId;
use crate::decision_log::Header;
use crate::linux::cgroup_mount::cgroup2_mount;
use crate::policy::{Decider, GuardOptions, Order, Policy, PolicyName, PolicySettings};
use crate::sense::{
    check_dsm_specs, host_specs, slo_specs, DsmSpec, DsmSpecError, HostSpec, HostSpecError, ProbeOptions, SloFileError,
    SloSpec,
};
use crate::work::{Accesses, Grouping, Selection, Selector, Workload, DEFAULT_SELECTORS};

/// The resolved options.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time between two rounds.
    pub interval: Duration,
    /// Decide and report, but change nothing.
    pub dry_run: bool,
    /// Make every ordinary task migratable.
    pub all: bool,
    /// Which IRQs and workqueues move along with the work.
    pub affinity: AffinityOptions,
    /// Rate at which memory moves to its processes' nodes; `None` if it stays where it is.
    pub memory_bytes_per_s: Option<u64>,
    /// Look for groups that share memory.
    pub links: bool,
    /// What a page of another node costs where hosts don't tell, in seconds; `None` for the policy's own assumption.
    pub page_s: Option<f64>,
    /// Probes of empty nodes; `None` if they are off.
    pub probes: Option<ProbeOptions>,
    /// The policy that decides.
    pub policy: PolicyName,
    /// The guards that hold moves back; `None` with --no-guards.
    pub guards: Option<GuardOptions>,
    policy_settings: PolicySettings,
    selectors: Vec<Selector>,
    lifts_quotas: bool,
    /// Where the v2 hierarchy is mounted, if it is.
    cgroup_root: Option<PathBuf>,
    grouping: Grouping,
    slos: Vec<SloSpec>,
    slos_file: Option<PathBuf>,
    hosts: Vec<HostSpec>,
    hosts_file: Option<PathBuf>,
    dsm: Vec<DsmSpec>,
    exit_dump_len: u32,
    verbose: u8,
}

impl Config {
    /// Resolve options that clap has already checked one by one.
    pub fn new(options: &RunOptions) -> Result<Self> {
        let selectors = match (options.all, options.select.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => {
                DEFAULT_SELECTORS.map(|text| text.parse::<Selector>()).into_iter().collect::<Result<_, _>>()?
            }
            (false, false) => options.select.clone(),
        };
        let cgroup_root = cgroup2_mount();
        check_selectors(&selectors, cgroup_root.as_deref())?;
        let mut config = Config {
            interval: options.interval,
            dry_run: options.dry_run,
            all: options.all,
            affinity: options.affinity(),
            memory_bytes_per_s: options.memory_bytes_per_s(),
            links: false,
            page_s: options.page_cost.map(|cost| cost.as_secs_f64()),
            probes: (!options.no_probe).then(|| ProbeOptions::new(options.probe)),
            policy: options.policy,
            guards: options.guards(),
            policy_settings: options.policy_settings(),
            selectors,
            lifts_quotas: options.lift_quotas,
            cgroup_root,
            grouping: options.group.into(),
            slos: options.slo.clone(),
            slos_file: options.slos.clone(),
            hosts: options.host.clone(),
            hosts_file: options.hosts.clone(),
            dsm: options.dsm.clone(),
            exit_dump_len: options.exit_dump_len,
            verbose: options.verbose,
        };
        let has_slos = !config.slos.is_empty() || config.slos_file.is_some();
        if has_slos && !config.steers() {
            bail!("--slo and --slos need --policy auto: {} has no limits that could make room", config.policy);
        }
        config.links = !options.no_links && config.decider().uses_links();
        Ok(config)
    }

    /// The policy with its guards.
    pub fn decider(&self) -> Decider {
        let (policy, guards) = self.policy_and_guards();
        Decider::new(policy, guards)
    }

    /// What a decider is made from.
    pub fn policy_and_guards(&self) -> (Box<dyn Policy>, Option<GuardOptions>) {
        (self.policy.make(&self.policy_settings), self.guards)
    }

    /// What makes tasks migratable.
    pub fn selection(&self) -> Selection {
        let mut selection = Selection::new(self.selectors.clone(), self.cgroup_root.as_deref());
        if self.lifts_quotas {
            selection = selection.lift_quotas();
        }
        if self.all {
            selection = selection.take_all();
        }
        selection
    }

    /// Return true if other tasks are to be migratable than by another configuration.
    pub fn selects_otherwise_than(&self, other: &Config) -> bool {
        let texts = |config: &Config| config.selectors.iter().map(Selector::to_string).collect::<Vec<_>>();
        texts(self) != texts(other) || self.lifts_quotas != other.lifts_quotas
    }

    /// The header of a decision log of these options.
    pub fn log_header(&self) -> Header {
        Header {
            interval_s: Some(self.interval.as_secs_f64()),
            byte_budget: self.policy_settings.byte_budget,
            ..Header::new(self.policy.as_str(), self.guards)
        }
    }

    /// The workload before the first round. New migratable tasks go to `start`.
    pub fn workload(&self, start: NodeId) -> Workload {
        let cgroup_root = self.cgroup_root.as_deref();
        Workload::new(self.selection(), self.grouping, self.accesses(), self.places_processes(), start, cgroup_root)
    }

    /// The options of loading the scheduler class.
    pub fn load_options(&self, start_node: NodeId) -> LoadOptions {
        LoadOptions {
            start_node,
            switch_all: self.all,
            places_processes: self.places_processes(),
            steering: self.steers().then(Steering::default),
            samples_wakeups: self.links,
            exit_dump_len: self.exit_dump_len,
            verbose: self.verbose > 1,
        }
    }

    /// All hosts of `--host` and `--hosts`, checked against the guest's `nodes`.
    pub fn host_specs(&self, nodes: &[NodeId]) -> Result<Vec<HostSpec>, HostSpecError> {
        host_specs(&self.hosts, self.hosts_file.as_deref(), nodes)
    }

    /// All latency objectives of `--slo` and `--slos`, checked against the guest's `nodes`.
    pub fn slos(&self, nodes: &[NodeId]) -> Result<Vec<SloSpec>, SloFileError> {
        slo_specs(&self.slos, self.slos_file.as_deref(), nodes)
    }

    /// Where hosts export what their distributed memory does, checked against the guest's `nodes`; `None` if nobody is asked.
    pub fn dsm_specs(&self, nodes: &[NodeId]) -> Result<Option<&[DsmSpec]>, DsmSpecError> {
        check_dsm_specs(&self.dsm, nodes)?;
        Ok((!self.dsm.is_empty()).then_some(self.dsm.as_slice()))
    }

    /// Return true if plans have limits, weights for new processes and fallbacks.
    pub fn steers(&self) -> bool {
        self.decider().steers()
    }

    /// Return true if the policy's plans place processes one by one.
    pub fn places_processes(&self) -> bool {
        self.decider().places_groups()
    }

    /// Return true if groups are picked by their memory accesses per instruction.
    pub fn picks_by_accesses(&self) -> bool {
        self.policy.has_orders() && self.policy_settings.order == Order::Mai
    }

    /// What `--order mai` picks by in this guest.
    pub fn accesses(&self) -> Accesses {
        if !self.picks_by_accesses() {
            return Accesses::by_faults();
        }
        let accesses = Accesses::by_pmu();
        let accesses = accesses.inspect_err(|err| log::info!("no memory accesses are counted: {err}"));
        let accesses = accesses.unwrap_or_else(|_| Accesses::by_faults());
        log::info!("--order mai goes by {}", accesses.name());
        accesses
    }
}

/// Check that what the selectors go by can be read.
fn check_selectors(selectors: &[Selector], cgroup_root: Option<&Path>) -> Result<()> {
    let by_path = selectors.iter().find(|selector| selector.needs_cgroup_paths());
    if let (Some(selector), None) = (by_path, cgroup_root) {
        bail!(
            "--select '{selector}' needs the cgroup v2 hierarchy, and none is mounted; run mount -t cgroup2 none \
             /mnt, or select by another criterion"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;
    use super::*;

    #[test]
    fn links_are_looked_for_only_under_policies_that_go_by_them() {
        let links = |args: &[&str]| {
            let cli = Cli::try_parse_from([&["scx_vnuma"], args].concat()).unwrap();
            Config::new(&cli.run).unwrap().links
        };
        assert!(links(&[]));
        assert!(!links(&["--no-links"]) && !links(&["--policy", "coarse"]) && !links(&["--policy", "fine"]));
    }

    #[test]
    fn an_objective_needs_a_policy_with_limits() {
        let config = |policy| {
            let cli = Cli::try_parse_from(["scx_vnuma", "--policy", policy, "--slo", "http://db#p99<5ms"]).unwrap();
            Config::new(&cli.run).map(|config| config.slos.len()).map_err(|err| err.to_string())
        };
        assert_eq!(config("auto"), Ok(1));
        let elsewhere = Cli::try_parse_from(["scx_vnuma", "--slo", "7=http://db#p99<5ms"]).unwrap();
        let message = Config::new(&elsewhere.run).unwrap().slos(&[0, 1].map(NodeId)).unwrap_err().to_string();
        assert_eq!(message, "no node 7 for --slo '7=http://db#p99<5ms': the guest's nodes are 0, 1");
        assert_eq!(
            config("fine").unwrap_err(),
            "--slo and --slos need --policy auto: fine has no limits that could make room"
        );
    }

    #[test]
    fn selecting_by_cgroup_needs_the_v2_hierarchy() {
        let selectors = |text: &str| [text.parse::<Selector>().unwrap()];
        let message = check_selectors(&selectors("cgroup=/batch/**"), None).unwrap_err().to_string();
        assert!(message.contains("--select 'cgroup=/batch/**'") && message.contains("mount -t cgroup2"), "{message}");
        check_selectors(&selectors("cgroup=/batch/**"), Some(Path::new("/sys/fs/cgroup/unified"))).unwrap();
        check_selectors(&selectors("nice>=1"), None).unwrap();
    }
}
