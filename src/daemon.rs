//! The round loop: sense, decide, act, report; and an orderly end.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use scx_utils::UserExitInfo;
use scx_vnuma::act::{self, Follower, OwnThreads, Selection, SelectionChanges, Surroundings};
use scx_vnuma::bpf::{LoadOptions, SchedulerClass};
use scx_vnuma::cell::{CellView, NodeId, Plan};
use scx_vnuma::decision_log::LogWriter;
use scx_vnuma::policy::{Confirmation, Decider};
use scx_vnuma::report::{self, Decision, DecisionHistory, Metrics, Round, StatsServer, Visibility};
use scx_vnuma::sense::{
    self, Accesses, Hosts, NodeReadings, Nodes, ProbeOptions, Probes, Sampler, Selector, ViewInputs, Window,
    DEFAULT_SELECTORS,
};

use crate::cli::RunOptions;
use crate::preflight;
use crate::shutdown::Shutdown;
use crate::workload::Workload;

/// Loads the scheduler class and runs it until `shutdown` is told; starts again when the kernel asks for it. Leaves every
/// round on `history`.
pub fn run(options: &RunOptions, history: &Arc<DecisionHistory>, shutdown: &Shutdown) -> Result<()> {
    let mut log = options.log.as_deref().map(|path| open_log(path, options)).transpose()?;
    let mut restarts = Restarts::default();
    loop {
        let exit = run_once(options, history, &mut log, shutdown)?;
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
    LogWriter::new(file, options.policy().name(), options.guards())
        .with_context(|| format!("writing {}", path.display()))
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

fn run_once(
    options: &RunOptions,
    history: &Arc<DecisionHistory>,
    log: &mut Option<LogWriter<File>>,
    shutdown: &Shutdown,
) -> Result<UserExitInfo> {
    let nodes = Nodes::from_sysfs().context("reading the NUMA nodes")?;
    let start_node = preflight::choose_start_node(&nodes, options.start_node, options.allow_single_node)?;
    let specs = options.host_specs(&nodes.iter().map(|(node, _)| node).collect::<Vec<_>>())?;
    let hosts = Hosts::start(specs, options.interval)?;
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

    let mut daemon = Daemon::new(options, history, log, &class, &nodes, start_node, hosts)?;
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
    history: &'a Arc<DecisionHistory>,
    log: &'a mut Option<LogWriter<File>>,
    class: &'a SchedulerClass<'a>,
    nodes: &'a Nodes,
    decider: Decider,
    workload: Workload,
    sampler: Sampler,
    surroundings: Follower,
    own_threads: OwnThreads,
    _stats_server: Option<StatsServer>,
    last_plan: Option<Plan>,
    page_faults: u64,
    metrics: Metrics,
    /// What groups are picked by, where that depends on the guest.
    picked_by: Option<&'static str>,
    visibility: Visibility,
    confirmed_at: Option<Instant>,
}

impl<'a> Daemon<'a> {
    fn new(
        options: &'a RunOptions,
        history: &'a Arc<DecisionHistory>,
        log: &'a mut Option<LogWriter<File>>,
        class: &'a SchedulerClass<'a>,
        nodes: &'a Nodes,
        start: NodeId,
        hosts: Hosts,
    ) -> Result<Self> {
        let selectors = match (options.all, options.select.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => {
                DEFAULT_SELECTORS.map(|text| text.parse::<Selector>()).into_iter().collect::<Result<_, _>>()?
            }
            (false, false) => options.select.clone(),
        };
        // Without it rounds go on; only nobody can watch.
        let stats_server = StatsServer::launch(history.clone());
        let stats_server = stats_server.inspect_err(|err| log::warn!("no statistics server: {err:#}")).ok();
        let workload = Workload::new(
            Selection::new(selectors),
            options.group.into(),
            choose_accesses(options),
            options.places_processes(),
            start,
        );
        let picked_by = options.picks_by_accesses().then(|| workload.accesses().name());
        let probes = start_probes(options, class, nodes, &hosts)?;
        Ok(Daemon {
            options,
            history,
            log,
            class,
            nodes,
            decider: Decider::new(options.policy(), options.guards()),
            workload,
            sampler: Sampler::open(hosts, probes)?,
            surroundings: Follower::start(Surroundings::new(options.surroundings(), "/")?)?,
            own_threads: OwnThreads::as_they_are(),
            _stats_server: stats_server,
            last_plan: None,
            page_faults: act::page_faults(),
            metrics: Metrics::new(start),
            picked_by,
            visibility: Visibility::new(options.interval),
            confirmed_at: None,
        })
    }

    /// Rounds at a steady pace until `shutdown` is told or the kernel ends the scheduler class. Later than that where they
    /// would take too much of the CPU on which they run: that is the work's.
    fn rounds(&mut self, shutdown: &Shutdown) -> Result<()> {
        /// So many rounds in a row tell that it isn't for the moment.
        const LATE_ROUNDS: u32 = 20;

        let interval = self.options.interval;
        let (mut due, mut late_rounds, mut pace) = (Instant::now(), 0u32, Pace::default());
        while !self.class.has_exited() {
            let cpu_before = thread_cpu_time();
            self.round()?;
            let pause = pace.pause_after(thread_cpu_time() - cpu_before);
            late_rounds = if pace.usual_cpu + pause > interval { late_rounds.saturating_add(1) } else { 0 };
            if late_rounds == LATE_ROUNDS {
                log::warn!(
                    "a round takes {} ms of CPU time, so it comes later than every --interval {} ms: a longer one is kept",
                    pace.usual_cpu.as_millis(),
                    interval.as_millis()
                );
            }
            // A guest that was paused doesn't catch up on the rounds it missed.
            due = (due + interval).max(Instant::now() + pause);
            if !self.wait_until(due, shutdown) {
                break;
            }
        }
        Ok(())
    }

    /// Sleeps until `due`. Returns false when it is time to leave.
    fn wait_until(&self, due: Instant, shutdown: &Shutdown) -> bool {
        /// The kernel doesn't wake us when it ends the scheduler class.
        const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(250);

        while !shutdown.is_requested() && !self.class.has_exited() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            shutdown.sleep(left.min(LOOK_AT_LEAST_EVERY));
        }
        false
    }

    fn round(&mut self) -> Result<()> {
        // Sense. Selected first, so that a new task's time counts from the window that begins now.
        let changes = self.workload.look(self.class, self.options.dry_run)?;
        self.note_selection(changes);
        // Under --all, what runs is not what has been selected.
        let processes = (!self.options.all).then(|| self.workload.processes());
        let Some(window) = self.sampler.window(self.class, processes.as_deref())? else { return Ok(()) };
        let mut readings = self.sampler.readings(&window, self.nodes);
        let destination = self.workload.destination();
        let mut view = self.view(&window, &readings);

        // Decide. Before work goes anywhere, or stays in trouble, the other nodes are looked at once more.
        self.decider.observe(&view);
        let mut plan = self.decider.decide(&view);
        if self.must_confirm(&view, &plan) && self.sampler.confirm(&mut readings) {
            self.confirmed_at = Some(Instant::now());
            view = self.view(&window, &readings);
            plan = self.decider.decide(&view);
        }
        self.decider.commit(&plan);

        // Act.
        let cpu_before = thread_cpu_time();
        let epoch = self.metrics.epoch;
        let retargeted = if self.options.dry_run { None } else { self.workload.carry_out(self.class, &plan, epoch)? };
        let retarget_cpu_us = (thread_cpu_time() - cpu_before).as_micros() as u64;
        if retargeted.is_some() {
            self.follow(&plan, destination);
        }

        // Report.
        let page_faults = act::page_faults();
        let number = self.metrics.nr_rounds + 1;
        let new_faults = page_faults - std::mem::replace(&mut self.page_faults, page_faults);
        self.report(&Round {
            number,
            destination,
            readings,
            view,
            plan,
            retargeted,
            retarget_cpu_us,
            nr_queued: window.nr_queued,
            probed: self.sampler.probed(),
            page_faults: new_faults,
            picked_by: self.picked_by,
        })
    }

    fn view(&self, window: &Window, readings: &BTreeMap<NodeId, NodeReadings>) -> CellView {
        sense::cell_view(&ViewInputs {
            window,
            readings,
            nodes: self.nodes,
            groups: self.workload.groups(),
            accesses: self.workload.accesses(),
            destination: self.workload.destination(),
            homes: self.workload.homes(),
            interval: self.options.interval,
        })
    }

    fn must_confirm(&self, view: &CellView, plan: &Plan) -> bool {
        /// Looking is load on every node, also the busy ones.
        const PAUSE: Duration = Duration::from_secs(1);

        match self.decider.needs_confirmation(view, plan) {
            Confirmation::NotNeeded => false,
            Confirmation::Now => true,
            Confirmation::WhenRested => self.confirmed_at.is_none_or(|at| at.elapsed() >= PAUSE),
        }
    }

    /// What follows when tasks have been sent elsewhere: `from` was the first destination until now.
    fn follow(&mut self, plan: &Plan, from: NodeId) {
        let first = plan.first.filter(|&first| first != from);
        if let Some((_, cpus)) = self.nodes.iter().find(|&(node, _)| Some(node) == first) {
            self.own_threads.follow(cpus, &self.sampler.bound_threads());
            self.surroundings.follow(cpus);
        }
        for step in &plan.moves {
            let members = self.workload.groups().get(step.group);
            for &tgid in members.iter().flat_map(|members| &members.tgids) {
                self.sampler.moved(tgid, step.from, step.to);
                self.surroundings.moved(tgid, step.from, step.to);
            }
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
        self.metrics.nr_migratable = self.workload.nr_migratable();
    }

    fn report(&mut self, round: &Round) -> Result<()> {
        self.visibility.note(&round.view, Instant::now());
        let decision = Decision::of(round);
        self.metrics.note(round, &decision, self.workload.destination(), |node| self.class.node_stats(node))?;
        self.metrics.note_surroundings(&self.surroundings.counts());
        let text = &self.metrics.decision;
        if report::is_news(self.last_plan.as_ref(), &round.plan) {
            log::info!("{text}");
        } else {
            log::debug!("{text}");
        }
        self.history.publish(self.metrics.clone(), decision);
        self.append_to_log(round);
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

/// What `--order mai` goes by.
fn choose_accesses(options: &RunOptions) -> Accesses {
    if !options.picks_by_accesses() {
        return Accesses::by_faults();
    }
    let accesses = Accesses::by_pmu();
    let accesses = accesses.inspect_err(|err| log::info!("no memory accesses are counted: {err}"));
    let accesses = accesses.unwrap_or_else(|_| Accesses::by_faults());
    log::info!("--order mai goes by {}", accesses.name());
    accesses
}

/// Probes for every node, unless they are off. Those whose host is asked are only probed before a move.
fn start_probes(
    options: &RunOptions,
    class: &SchedulerClass<'_>,
    nodes: &Nodes,
    hosts: &Hosts,
) -> Result<Option<Probes>> {
    if options.no_probe {
        return Ok(None);
    }
    let asked = |node| hosts.reading(node).is_none();
    let probes = Probes::start(nodes, asked, ProbeOptions::new(options.probe), || class.steal_reader())?;
    Ok(Some(probes))
}

/// How closely rounds may follow each other.
#[derive(Default)]
struct Pace {
    /// CPU time of a round, a mean over the last eight or so.
    usual_cpu: Duration,
}

impl Pace {
    /// How long nothing is done after a round that took so much CPU time: rounds take a fifth of a CPU at most. By what is
    /// usual: one that takes long, as it moves work, isn't to keep the next from seeing what came of it.
    fn pause_after(&mut self, round_cpu: Duration) -> Duration {
        self.usual_cpu = (self.usual_cpu * 7 + round_cpu) / 8;
        self.usual_cpu * 4
    }
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
    fn rounds_take_a_fifth_of_a_cpu_at_most_and_one_that_takes_long_hardly_delays_the_next() {
        let (round_cpu, mut pace) = (Duration::from_millis(30), Pace::default());
        let pauses = [(); 100].map(|()| pace.pause_after(round_cpu));
        let share = round_cpu.as_secs_f64() / (round_cpu + pauses[99]).as_secs_f64();
        assert!((share - 0.2).abs() < 0.001, "{share}");
        assert!(pace.pause_after(6 * round_cpu) < 2 * pauses[99]);
    }

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
