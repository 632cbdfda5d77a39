//! A round: sense, decide, confirm, act, report.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::config::Config;
use super::control::{Abilities, Control};
use super::failures::Failures;
use super::groups::busiest_groups;
use super::links::links_report;
use super::pacing::{Cause, Pace};
use super::reporter::Reporter;
use super::service::Watchdog;
use super::slo::SloLoops;
use super::Shutdown;
use crate::act::{AffinityMover, AffinityThread, MemoryMover, OwnThreads};
use crate::bpf::{Class, Hits};
use crate::cell::{CellView, Link, NodeId, Plan};
use crate::linux::clock::{thread_cpu_time, time_since_boot};
use crate::policy::{Confirmation, Decider};
use crate::report::Round;
use crate::sense::{
    self, Found, HostSpec, MemoryFound, MemoryWatch, NodeReadings, Nodes, Sampler, Sharing, ViewInputs, Window,
};
use crate::work::Workload;

/// A confirmation loads every node, including busy ones: for work that is stuck there is at most one per this time.
const CONFIRMATION_PAUSE: Duration = Duration::from_secs(1);

/// Signals that not every policy asks for.
#[derive(Default)]
pub struct Signals<'a> {
    /// Where the kernel side reports nodes that are hit, if the policy steers.
    pub hits: Option<Hits<'a>>,
    /// Who shares memory with whom, if the policy goes by it.
    pub sharing: Option<Sharing>,
    /// Free memory and where the work's memory is, if the policy goes by it.
    pub memory: Option<MemoryWatch>,
}

/// The rounds between loading and unloading the scheduler class.
pub struct Rounds<'a> {
    pub(super) config: Config,
    pub(super) class: &'a dyn Class,
    pub(super) nodes: &'a Nodes,
    pub(super) decider: Decider,
    pub(super) workload: Workload,
    pub(super) sampler: Sampler,
    /// How much room latency objectives leave.
    pub(super) slos: SloLoops,
    /// Nodes that work leaves and that get none.
    pub(super) drained: BTreeSet<NodeId>,
    /// The hosts that are asked.
    pub(super) hosts: Vec<HostSpec>,
    /// What the scheduler class was loaded for.
    pub(super) abilities: Abilities,
    /// The class lacks something that the configuration needs by now.
    pub(super) must_load_again: bool,
    pub(super) control: Option<Control<'a>>,
    watchdog: Watchdog,
    /// Moves IRQs and workqueues to where the work goes.
    affinity: AffinityThread,
    memory_mover: Option<MemoryMover>,
    own_threads: OwnThreads,
    pub(super) reporter: Reporter<'a>,
    signals: Signals<'a>,
    /// What [`Signals::sharing`] had found when it was last reported.
    reported: Option<Arc<Found>>,
    confirmed_at: Option<Instant>,
}

impl<'a> Rounds<'a> {
    /// Start before the first round, with all migratable work sent to `start`.
    pub fn new(
        config: &Config,
        class: &'a dyn Class,
        nodes: &'a Nodes,
        start: NodeId,
        sampler: Sampler,
        reporter: Reporter<'a>,
        signals: Signals<'a>,
    ) -> Result<Self> {
        let ids: Vec<NodeId> = nodes.iter().map(|(node, _)| node).collect();
        Ok(Rounds {
            config: config.clone(),
            hosts: config.host_specs(&ids)?,
            abilities: Abilities::needed_by(config),
            must_load_again: false,
            slos: SloLoops::start(config.slos(&ids)?, config.interval, None)?,
            drained: BTreeSet::new(),
            control: None,
            watchdog: Watchdog::from_environment(),
            class,
            nodes,
            decider: config.decider(),
            workload: config.workload(start),
            sampler,
            affinity: AffinityThread::start(AffinityMover::new(config.affinity, "/")?)?,
            memory_mover: config.memory_bytes_per_s.map(MemoryMover::start).transpose()?,
            own_threads: OwnThreads::as_they_are(),
            reporter,
            signals,
            reported: None,
            confirmed_at: None,
        })
    }

    /// Let what runs be changed.
    pub fn controlled_by(mut self, control: Control<'a>) -> Self {
        self.control = Some(control);
        self
    }

    /// Return true if the rounds have ended because the scheduler class must be loaded again for the present settings.
    pub fn must_load_again(&self) -> bool {
        self.must_load_again
    }

    /// Run rounds at a steady pace until `shutdown` is requested or the kernel ends the scheduler class.
    pub fn run(&mut self, shutdown: &Shutdown) -> Result<()> {
        let (mut pace, mut failures) = (Pace::new(self.config.interval), Failures::default());
        let mut cause = Cause::Due;
        while !self.class.has_exited() {
            self.note_alive();
            let cpu_before = thread_cpu_time();
            match self.round() {
                Ok(()) => failures.succeeded(),
                Err(err) => {
                    failures.failed(err)?;
                    self.reporter.note_failed_round();
                }
            }
            let due = pace.next_due(cause, thread_cpu_time() - cpu_before);
            match self.wait_until(due, shutdown) {
                Some(next) => cause = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Sleep until a round is `due`, or a hit wants one. Returns `None` if it is time to shut down.
    fn wait_until(&mut self, due: Instant, shutdown: &Shutdown) -> Option<Cause> {
        /// The kernel doesn't wake the daemon when it ends the scheduler class, and the class wants signs of life.
        const CHECK_EVERY: Duration = Duration::from_millis(250);

        while !shutdown.is_requested() && !self.class.has_exited() {
            self.note_alive();
            let is_changed = self.serve_requests();
            if self.must_load_again {
                return None;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || is_changed {
                return Some(Cause::Due);
            }
            // A node was hit: its work is on its way elsewhere already, and wants a plan.
            if shutdown.sleep(left.min(CHECK_EVERY), self.signals.hits.as_ref().map(AsFd::as_fd)) {
                return Some(Cause::Hit);
            }
        }
        None
    }

    fn note_alive(&mut self) {
        self.watchdog.note_alive();
        if let Err(err) = self.class.note_alive() {
            log::debug!("{err:#}");
        }
    }

    /// Where the present plan sends migratable work.
    pub fn destination(&self) -> NodeId {
        self.workload.destination()
    }

    /// Run one round. The first only takes the baselines for later rounds.
    pub fn round(&mut self) -> Result<()> {
        // Sense. Tasks are selected first, so that a new task's time counts from the window that begins now.
        let changes = self.workload.refresh(self.class, self.config.dry_run)?;
        self.reporter.note_selection(changes, self.workload.nr_migratable());
        if !self.config.dry_run {
            self.reporter.publish_idle_selectors(self.workload.idle_selectors());
        }
        // Under --all, tasks run that were never selected.
        let processes = (!self.config.all).then(|| self.workload.processes());
        let Some(window) = self.sampler.window(self.class, processes.as_deref())? else { return Ok(()) };
        if window.spans_a_pause(self.config.interval) {
            log::warn!("{:.0} s have passed since the last round, so it decides nothing", window.wall.as_secs_f64());
            // Hits stay queued for the next round: the kernel side waits for a plan that knows of them.
            return Ok(());
        }
        self.slos.step(window.wall);
        let mut readings = self.sampler.readings(&window, self.nodes);
        let destination = self.workload.destination();
        let hit_nodes = self.take_hits()?;
        let found = self.found_links();
        let links = sense::group_links(&found.links, self.workload.groups(), self.config.interval);
        let memory = self.signals.memory.as_ref().map(MemoryWatch::found).unwrap_or_default();
        let mut view = self.view(&window, &readings, &hit_nodes, &links, &memory);
        if let Some(watch) = &self.signals.memory {
            watch.note(&view, self.workload.groups(), window.wall);
        }
        let mut observed = None;

        // Decide, and confirm before work moves or stays under severe pressure.
        self.decider.observe(&view);
        let mut plan = self.decider.decide(&view);
        let mut confirmed = BTreeSet::new();
        while self.must_confirm(&view, &plan) {
            let nodes: BTreeSet<NodeId> = &self.decider.nodes_to_confirm(&view, &plan) - &confirmed;
            if nodes.is_empty() || !self.sampler.confirm(&mut readings, &nodes) {
                break;
            }
            confirmed.extend(nodes);
            self.confirmed_at = Some(Instant::now());
            let fresher = self.view(&window, &readings, &hit_nodes, &links, &memory);
            observed.get_or_insert(std::mem::replace(&mut view, fresher).nodes);
            plan = self.decider.decide(&view);
        }
        self.decider.commit(&view, &plan);
        self.sampler.watch(&plan.watch);

        // Act.
        let cpu_before = thread_cpu_time();
        let epoch = self.reporter.epoch();
        let retargeted = match self.config.dry_run {
            true => None,
            false => self.workload.carry_out(self.class, &plan, epoch, &hit_nodes)?,
        };
        let retarget_cpu_us = (thread_cpu_time() - cpu_before).as_micros() as u64;
        if retargeted.is_some() {
            self.move_along(&plan, destination);
        }

        // Report.
        self.reporter.note_dry_run(self.config.dry_run);
        self.report_links(found, &plan);
        self.reporter.publish_groups(busiest_groups(&view, self.workload.groups()));
        let round = Round {
            number: self.reporter.round_number(),
            destination,
            readings,
            view,
            plan,
            observed,
            retargeted,
            retarget_cpu_us,
            nr_queued: window.nr_queued,
            probed: self.sampler.probed(),
            page_faults: self.reporter.new_page_faults(),
            slos: self.slos.reports(),
            page_s: self.sampler.page_s(),
            picked_by: self.config.picks_by_accesses().then(|| self.workload.accesses().name()),
        };
        let memory = self.memory_mover.as_ref().map(MemoryMover::counts).unwrap_or_default();
        let destination = self.workload.destination();
        self.reporter.report(&round, destination, self.class, &self.affinity.counts(), &memory)
    }

    /// The nodes that the kernel side saw hit since the last round.
    fn take_hits(&self) -> Result<BTreeSet<NodeId>> {
        let Some(hits) = &self.signals.hits else { return Ok(BTreeSet::new()) };
        Ok(hits.take()?.iter().map(|hit| hit.node).collect())
    }

    /// Which processes share memory, as far as known. The thread that looks for that learns which there are.
    fn found_links(&self) -> Arc<Found> {
        let Some(sharing) = self.signals.sharing.as_ref().filter(|_| self.config.links) else { return Arc::default() };
        sharing.note_processes(self.workload.groups());
        sharing.found()
    }

    /// Report what is known of sharing, if there is more than at the last report or work has moved.
    fn report_links(&mut self, found: Arc<Found>, plan: &Plan) {
        let is_known = self.reported.as_ref().is_some_and(|reported| Arc::ptr_eq(reported, &found));
        if self.signals.sharing.is_none() || (is_known && plan.moves.is_empty()) {
            return;
        }
        let report = links_report(&found, &self.workload, self.decider.clusters(), self.page_s());
        self.reporter.publish_links(report);
        self.reported = Some(found);
    }

    /// What a page of another node costs, in seconds, if it is known.
    fn page_s(&self) -> Option<f64> {
        self.sampler.page_s().or(self.config.page_s)
    }

    fn view(
        &self,
        window: &Window,
        readings: &BTreeMap<NodeId, NodeReadings>,
        hit_nodes: &BTreeSet<NodeId>,
        links: &[Link],
        memory: &MemoryFound,
    ) -> CellView {
        let mut view = sense::cell_view(&ViewInputs {
            window,
            readings,
            nodes: self.nodes,
            groups: self.workload.groups(),
            accesses: self.workload.accesses(),
            destination: self.workload.destination(),
            homes: self.workload.homes(),
            links,
            interval: self.config.interval,
            hit_nodes,
            now_ns: time_since_boot().as_nanos() as u64,
        });
        self.slos.set_room(&mut view);
        view.nodes.iter_mut().for_each(|node| node.drained = self.drained.contains(&node.id));
        memory.add_to(&mut view, self.workload.groups());
        view.memory_follows = self.memory_mover.is_some();
        view.page_cost_rounds = self.page_s().map(|page_s| page_s / self.config.interval.as_secs_f64());
        view
    }

    fn must_confirm(&self, view: &CellView, plan: &Plan) -> bool {
        match self.decider.needs_confirmation(view, plan) {
            Confirmation::NotNeeded => false,
            Confirmation::Now => true,
            Confirmation::WhenRested => self.confirmed_at.is_none_or(|at| at.elapsed() >= CONFIRMATION_PAUSE),
        }
    }

    /// Move along what accompanies the tasks. `from` was the first destination until now.
    fn move_along(&mut self, plan: &Plan, from: NodeId) {
        let first = plan.first.filter(|&first| first != from);
        if let Some((_, cpus)) = self.nodes.iter().find(|&(node, _)| Some(node) == first) {
            self.own_threads.retarget(cpus, &self.sampler.bound_threads());
            self.affinity.retarget(cpus);
        }
        for step in &plan.moves {
            let members = self.workload.groups().get(step.group);
            for &tgid in members.iter().flat_map(|members| &members.tgids) {
                self.sampler.moved(tgid, step.from, step.to);
                if let Some(watch) = &self.signals.memory {
                    watch.note_moved(tgid);
                }
                if let Some(memory_mover) = &self.memory_mover {
                    memory_mover.enqueue(tgid, step.from, step.to);
                }
            }
        }
    }
}
