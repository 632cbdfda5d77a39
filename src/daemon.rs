//! The round loop: sense, decide, act, report; and an orderly end.

use std::collections::VecDeque;
use std::fs::File;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::{select, Receiver};
use scx_stats::prelude::StatsServer;
use scx_utils::UserExitInfo;
use scx_vnuma::act::{self, Selection, SelectionChanges, Surroundings};
use scx_vnuma::bpf::{LoadOptions, SchedulerClass};
use scx_vnuma::cell::{CellView, NodeId, Plan, Pressure};
use scx_vnuma::decision_log::LogWriter;
use scx_vnuma::policy::{Guards, Policy};
use scx_vnuma::report::{self, Metrics, NodeMetrics, Round};
use scx_vnuma::sense::{self, Nodes, ProbeOptions, Probes, Scene, Selector, Senses, DEFAULT_SELECTORS};

use crate::cli::RunOptions;
use crate::crowd::Crowd;
use crate::preflight;

/// Loads the scheduler class and runs it until `shutdown` speaks; starts again when the kernel asks for it.
pub fn run(options: &RunOptions, shutdown: &Receiver<()>) -> Result<()> {
    let mut log = options.log.as_deref().map(|path| open_log(path, options)).transpose()?;
    let mut restarts = Restarts::default();
    loop {
        let exit = run_once(options, &mut log, shutdown)?;
        exit.report()?;
        if !exit.should_restart() {
            return Ok(());
        }
        restarts.note(Instant::now())?;
        log::info!("starting again, as the kernel asks");
    }
}

/// A new log: an old one is somebody's record.
fn open_log(path: &Path, options: &RunOptions) -> Result<LogWriter<File>> {
    let file = File::create_new(path);
    let file =
        file.with_context(|| format!("--log {}: it must be a new file in a folder that exists", path.display()))?;
    LogWriter::new(file, options.policy().name()).with_context(|| format!("writing {}", path.display()))
}

/// At most so many restarts in so much time: a restart loop is worse than staying off.
#[derive(Default)]
struct Restarts {
    at: VecDeque<Instant>,
}

impl Restarts {
    const MAX: usize = 3;
    const WITHIN: Duration = Duration::from_secs(60);

    fn note(&mut self, now: Instant) -> Result<()> {
        self.at.retain(|&at| now.duration_since(at) < Self::WITHIN);
        anyhow::ensure!(
            self.at.len() < Self::MAX,
            "the kernel ended scx_vnuma {} times within {} s: it stays off, all tasks run under the fair class",
            self.at.len() + 1,
            Self::WITHIN.as_secs()
        );
        self.at.push_back(now);
        Ok(())
    }
}

fn run_once(options: &RunOptions, log: &mut Option<LogWriter<File>>, shutdown: &Receiver<()>) -> Result<UserExitInfo> {
    let nodes = Nodes::from_sysfs().context("reading the NUMA nodes")?;
    let start_node = preflight::choose_start_node(&nodes, options.start_node, options.allow_single_node)?;
    let load_options = LoadOptions {
        start_node,
        switch_all: options.all,
        places_processes: options.places_processes(),
        exit_dump_len: options.exit_dump_len,
        verbose: options.verbose > 1,
    };
    let mut object = MaybeUninit::uninit();
    let class = SchedulerClass::load(&load_options, nodes.iter(), &mut object)
        .inspect_err(|_| scx_vnuma::bpf::remove_pins())
        .context("loading the scheduler class")?;
    log::info!("enabled on {} nodes; migratable work goes to node {start_node}", nodes.with_cpus().len());

    let mut daemon = Daemon::new(options, log, &class, &nodes, start_node)?;
    let outcome = daemon.rounds(shutdown);
    // IRQs and workqueues go back with it.
    drop(daemon);

    // While still attached, so that children go on inheriting the record of their own policy.
    let given_back = act::give_back_all(|tasks| Ok(sense::read_tasks(class.task_records()?, tasks)?));
    let exit = class.unload();
    log::info!("disabled; {} tasks went back to the policy they had", given_back?);
    outcome?;
    Ok(exit)
}

struct Daemon<'a> {
    options: &'a RunOptions,
    log: &'a mut Option<LogWriter<File>>,
    class: &'a SchedulerClass<'a>,
    nodes: &'a Nodes,
    policy: Box<dyn Policy>,
    guards: Option<Guards>,
    crowd: Crowd,
    senses: Senses,
    surroundings: Surroundings,
    stats_server: Option<StatsServer<(), Metrics>>,
    last_plan: Option<Plan>,
    page_faults: u64,
    metrics: Metrics,
}

impl<'a> Daemon<'a> {
    fn new(
        options: &'a RunOptions,
        log: &'a mut Option<LogWriter<File>>,
        class: &'a SchedulerClass<'a>,
        nodes: &'a Nodes,
        start: NodeId,
    ) -> Result<Self> {
        let selectors = match (options.all, options.select.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => {
                DEFAULT_SELECTORS.map(|text| text.parse::<Selector>()).into_iter().collect::<Result<_, _>>()?
            }
            (false, false) => options.select.clone(),
        };
        // Without it rounds go on; only nobody can watch.
        let stats_server = StatsServer::new(report::server_data()).launch();
        let stats_server = stats_server.inspect_err(|err| log::warn!("no statistics server: {err:#}")).ok();
        let places = options.places_processes();
        Ok(Daemon {
            options,
            log,
            class,
            nodes,
            policy: options.policy(),
            guards: options.guards().map(Guards::new),
            crowd: Crowd::new(Selection::new(selectors), options.group.into(), places, start),
            senses: Senses::open(start_probes(options, class, nodes)?)?,
            surroundings: Surroundings::new(options.surroundings(), "/")?,
            stats_server,
            last_plan: None,
            page_faults: act::page_faults(),
            metrics: Metrics { destination: start.0, ..Metrics::default() },
        })
    }

    /// Rounds at a steady pace until `shutdown` speaks or the kernel ends the scheduler class.
    fn rounds(&mut self, shutdown: &Receiver<()>) -> Result<()> {
        let mut due = Instant::now();
        while !self.class.has_exited() {
            self.round()?;
            // A guest that was paused doesn't catch up on the rounds it missed.
            due = (due + self.options.interval).max(Instant::now());
            if !self.wait_until(due, shutdown)? {
                break;
            }
        }
        Ok(())
    }

    /// Answers the statistics server until `due`. Returns false when it is time to leave.
    fn wait_until(&self, due: Instant, shutdown: &Receiver<()>) -> Result<bool> {
        /// The kernel doesn't wake us when it ends the scheduler class.
        const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(250);

        let never = (crossbeam_channel::bounded(1).0, crossbeam_channel::never());
        let (response, request) = self.stats_server.as_ref().map_or(never, StatsServer::channels);
        while !self.class.has_exited() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            select! {
                recv(shutdown) -> _ => return Ok(false),
                recv(request) -> request => {
                    request.context("the statistics server has gone")?;
                    response.send(self.metrics.clone())?;
                }
                default(left.min(LOOK_AT_LEAST_EVERY)) => {}
            }
        }
        Ok(false)
    }

    fn round(&mut self) -> Result<()> {
        // Sense. Selected first, so that a new task's time counts from the window that begins now.
        let changes = self.crowd.look(self.class, self.options.dry_run)?;
        self.note_selection(changes);
        let Some(window) = self.senses.window(self.class)? else { return Ok(()) };
        let words = self.senses.words(&window, self.nodes);
        let destination = self.crowd.destination();
        let view = sense::cell_view(&Scene {
            window: &window,
            words: &words,
            nodes: self.nodes,
            groups: self.crowd.groups(),
            new_faults: self.crowd.new_faults(),
            destination,
            homes: self.crowd.homes(),
            interval: self.options.interval,
        });

        // Decide.
        let mut plan = self.policy.decide(&view);
        if let Some(guards) = &mut self.guards {
            plan = guards.admit(&view, plan);
        }

        // Act.
        let cpu_before = thread_cpu_time();
        let epoch = self.metrics.epoch;
        let retargeted = if self.options.dry_run { None } else { self.crowd.carry_out(self.class, &plan, epoch)? };
        let retarget_cpu_us = (thread_cpu_time() - cpu_before).as_micros() as u64;
        if retargeted.is_some() {
            self.move_surroundings(&plan, destination);
        }

        // Report.
        let page_faults = act::page_faults();
        let number = self.metrics.nr_rounds + 1;
        let new_faults = page_faults - std::mem::replace(&mut self.page_faults, page_faults);
        self.report(&Round { number, destination, view, plan, retargeted, retarget_cpu_us, page_faults: new_faults })
    }

    /// What follows the work beside tasks: `from` was the first destination until now.
    fn move_surroundings(&mut self, plan: &Plan, from: NodeId) {
        let first = plan.first.filter(|&first| first != from);
        if let Some((_, cpus)) = self.nodes.iter().find(|&(node, _)| Some(node) == first) {
            self.surroundings.follow(cpus);
        }
        for step in &plan.moves {
            let members = self.crowd.groups().get(step.group);
            let tgids = members.iter().flat_map(|members| &members.tgids);
            tgids.for_each(|&tgid| self.surroundings.moved(tgid, step.from, step.to));
        }
    }

    fn note_selection(&mut self, changes: SelectionChanges) {
        let SelectionChanges { nr_selected, nr_given_back, nr_refused } = changes;
        if changes != SelectionChanges::default() {
            log::info!("{nr_selected} tasks became migratable, {nr_given_back} went back, {nr_refused} were refused");
        }
        self.metrics.nr_selected += nr_selected;
        self.metrics.nr_given_back += nr_given_back;
        self.metrics.nr_refused += nr_refused;
        self.metrics.nr_migratable = self.crowd.nr_migratable();
    }

    fn report(&mut self, round: &Round) -> Result<()> {
        let words = report::in_words(round);
        if report::is_news(self.last_plan.as_ref(), &round.plan) {
            log::info!("{words}");
        } else {
            log::debug!("{words}");
        }
        self.append_to_log(round);
        let metrics = &mut self.metrics;
        metrics.nr_rounds = round.number;
        metrics.decision = words;
        metrics.destination = self.crowd.destination().0;
        metrics.page_faults = round.page_faults;
        if let Some(done) = round.retargeted {
            metrics.epoch = done.epoch;
            metrics.retarget_cpu_us = round.retarget_cpu_us;
        }
        let surroundings = self.surroundings.counts();
        metrics.nr_irqs_moved = surroundings.nr_irqs_moved;
        metrics.nr_irqs_skipped = surroundings.nr_irqs_skipped;
        metrics.nr_irqs_refused = surroundings.nr_irqs_refused;
        metrics.nr_workqueues_moved = surroundings.nr_workqueues_moved;
        metrics.nr_left = surroundings.nr_left;
        metrics.moved_memory_bytes = surroundings.memory.bytes;
        metrics.nr_pages_not_moved = surroundings.memory.nr_pages_not_moved;
        metrics.nodes = node_metrics(self.class, &round.view)?;
        self.last_plan = Some(round.plan.clone());
        Ok(())
    }
}

impl Daemon<'_> {
    /// A full disk ends the log, not the scheduling.
    fn append_to_log(&mut self, round: &Round) {
        let Some(log) = self.log else { return };
        if let Err(err) = log.append(round.number, &round.view, &round.plan) {
            log::warn!("the decision log ends here: {err}");
            *self.log = None;
        }
    }
}

/// Probes for every node, unless they are off.
fn start_probes(options: &RunOptions, class: &SchedulerClass<'_>, nodes: &Nodes) -> Result<Option<Probes>> {
    if options.no_probe {
        return Ok(None);
    }
    let probes = Probes::start(nodes, ProbeOptions::new(options.probe), || class.steal_reader())?;
    Ok(Some(probes))
}

fn node_metrics(class: &SchedulerClass<'_>, view: &CellView) -> Result<std::collections::BTreeMap<u32, NodeMetrics>> {
    let metrics = view.nodes.iter().map(|node| {
        let stats = class.node_stats(node.id)?;
        let pressure_pct = match node.pressure {
            Pressure::Fresh { share } => share * 100.0,
            Pressure::Stale { .. } | Pressure::Unknown => -1.0,
        };
        let metrics = NodeMetrics {
            nr_cpus: node.capacity_cpus as u32,
            pressure_pct,
            load_cpus: node.load_cpus,
            run_ms: stats.run_ns / 1_000_000,
            stolen_ms: stats.stolen_ns / 1_000_000,
            nr_runs: stats.nr_runs,
            nr_elsewhere: stats.nr_elsewhere,
            nr_stragglers: stats.nr_stragglers,
            nr_arrived: stats.nr_arrived,
        };
        Ok((node.id.0, metrics))
    });
    metrics.collect()
}

/// CPU time of this thread so far.
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time outlives the call, which fills it in; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_restart_within_a_minute_is_refused() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        for s in [0, 10, 20] {
            restarts.note(start + Duration::from_secs(s)).unwrap();
        }
        let message = restarts.note(start + Duration::from_secs(30)).unwrap_err().to_string();
        assert!(message.contains("stays off"), "{message}");
        restarts.note(start + Duration::from_secs(61)).unwrap();
    }
}
