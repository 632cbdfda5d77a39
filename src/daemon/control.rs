//! Changes a daemon that runs: what a reload of its settings means for the rounds.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use crossbeam_channel::Receiver;

use super::config::Config;
use super::drained::{said, DrainedFile};
use super::requests::{Answer, Asked, Request};
use super::round::Rounds;
use super::settings::Settings;
use super::slo::SloLoops;
use crate::cell::NodeId;
use crate::sense::{Hosts, Probes};

/// How a daemon that runs is told to change.
pub struct Control<'a> {
    /// What it is asked to do.
    pub asked: &'a Receiver<Asked>,
    /// The settings in force.
    pub settings: &'a mut Settings,
    /// Which nodes are drained.
    pub drained: &'a DrainedFile,
    /// Starts probes by a configuration; those of the nodes for which the function holds begin at once.
    pub start_probes: &'a StartProbes<'a>,
}

/// See [`Control::start_probes`].
pub type StartProbes<'a> = dyn Fn(&Config, &dyn Fn(NodeId) -> bool) -> Result<Option<Probes>> + 'a;

/// What the scheduler class was loaded for. Policies that need more of it have it loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    steers: bool,
    places_processes: bool,
    samples_wakeups: bool,
}

impl Abilities {
    /// What a configuration needs.
    pub(super) fn needed_by(config: &Config) -> Self {
        Abilities {
            steers: config.steers(),
            places_processes: config.places_processes() || config.steers(),
            samples_wakeups: config.links,
        }
    }

    fn include(self, needed: Abilities) -> bool {
        let has = |loaded: bool, needed: bool| loaded || !needed;
        has(self.steers, needed.steers)
            && has(self.places_processes, needed.places_processes)
            && has(self.samples_wakeups, needed.samples_wakeups)
    }
}

impl Rounds<'_> {
    /// Do what was asked since the last call. Return true if the next round should begin at once.
    pub fn serve_requests(&mut self) -> bool {
        let mut is_changed = false;
        while let Some(asked) = self.control.as_ref().and_then(|control| control.asked.try_recv().ok()) {
            let answer: Answer = match asked.request {
                Request::Drained => self.drain().map_err(|err| format!("{err:#}")),
                Request::DryRun(begins) => Ok(self.set_dry_run(begins)),
                Request::Reload => self.reload().map_err(|err| format!("nothing is changed: {err:#}")),
            };
            match &answer {
                Ok(done) => log::info!("{done}"),
                Err(reason) => log::warn!("{reason}"),
            }
            is_changed |= answer.is_ok();
            if let Some(waiting) = asked.answer {
                // It may have lost its patience.
                let _ = waiting.send(answer);
            }
        }
        is_changed
    }

    /// Read again which nodes are drained.
    fn drain(&mut self) -> Result<String> {
        let Some(control) = &self.control else { return Ok("nothing can be drained".into()) };
        self.set_drained(control.drained.read()?);
        let leaves = if self.drained.is_empty() { "" } else { ": work leaves, and none comes" };
        Ok(format!("{}{leaves}", said(&self.drained)))
    }

    /// Let work leave these nodes, and none come.
    pub fn set_drained(&mut self, drained: BTreeSet<NodeId>) {
        self.workload.set_drained(drained.clone());
        self.sampler.set_drained(drained.clone());
        self.drained = drained;
    }

    /// Make plans without carrying them out from now on, or carry them out again. It ends with the daemon.
    fn set_dry_run(&mut self, begins: bool) -> String {
        let was = std::mem::replace(&mut self.config.dry_run, begins);
        if let Some(control) = &mut self.control {
            control.settings.options.dry_run = begins;
            self.reporter.publish_setup(control.settings.setup());
        }
        match (was, begins) {
            (false, true) => "dry run: plans are made, but not carried out; the last one stays in force",
            (true, true) => "it is a dry run already",
            (true, false) => "the dry run is over: plans are carried out",
            (false, false) => "it is no dry run: plans are carried out",
        }
        .to_owned()
    }

    /// Read the settings again and go by them. After an error all is as it was.
    fn reload(&mut self) -> Result<String> {
        let Some(control) = &self.control else { return Ok("there is nothing to reload".into()) };
        let mut new = control.settings.again()?;
        // Whether this is a dry run is not asked of the file again.
        new.options.dry_run = control.settings.options.dry_run;
        let changed = control.settings.changed(&new);
        let mut config = Config::new(&new.options)?;
        // What goes along with the work is decided at the start.
        config.affinity = self.config.affinity;
        let hosts = self.new_hosts(&config)?;
        self.follow(config, hosts)?;
        if let Some(control) = &mut self.control {
            self.reporter.publish_setup(new.setup());
            *control.settings = new;
        }
        let again = if self.must_load_again {
            "; the scheduler class is loaded again for that, and work stays where it is"
        } else {
            ""
        };
        Ok(match changed.as_slice() {
            [] => "reloaded: no option has changed; the files that options name were read again".to_string(),
            names => format!("reloaded: {} changed{again}", names.join(", ")),
        })
    }

    /// Hosts to ask, if they are others than now.
    fn new_hosts(&self, config: &Config) -> Result<Option<Hosts>> {
        let nodes: Vec<_> = self.nodes.iter().map(|(node, _)| node).collect();
        let specs = config.host_specs(&nodes)?;
        if specs == self.hosts {
            return Ok(None);
        }
        Ok(Some(Hosts::start(specs, config.interval)?))
    }

    /// Go by a configuration from now on. Only the first steps can fail.
    fn follow(&mut self, config: Config, hosts: Option<Hosts>) -> Result<()> {
        let nodes: Vec<_> = self.nodes.iter().map(|(node, _)| node).collect();
        let specs = config.host_specs(&nodes)?;
        let slo_specs = config.slos(&nodes)?;
        let is_new = !self.slos.are_about(&slo_specs);
        let slos = is_new.then(|| SloLoops::start(slo_specs, config.interval, Some(&self.slos))).transpose()?;
        let with_host: BTreeSet<_> = specs.iter().map(|spec| spec.node).collect();
        let had_host: BTreeSet<_> = self.hosts.iter().map(|spec| spec.node).collect();
        if config.probes != self.config.probes || with_host != had_host {
            let has_no_host = |node| !with_host.contains(&node);
            if let Some(control) = &self.control {
                let probes = (control.start_probes)(&config, &has_no_host).context("starting the probes")?;
                self.sampler.set_probes(probes);
            }
        }
        if let Some(hosts) = hosts {
            self.sampler.set_hosts(hosts);
            self.hosts = specs;
        }
        if let Some(slos) = slos {
            self.slos = slos;
        }
        if config.selects_otherwise_than(&self.config) {
            self.workload.set_selection(config.selection());
        }
        if config.picks_by_accesses() != self.config.picks_by_accesses() {
            self.workload.set_accesses(config.accesses());
        }
        let (policy, guards) = config.policy_and_guards();
        self.decider.reconfigure(policy, guards);
        self.workload.set_places_groups(config.places_processes());
        self.must_load_again |= !self.abilities.include(Abilities::needed_by(&config));
        self.config = config;
        Ok(())
    }
}
