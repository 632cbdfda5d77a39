//! The daemon: loads the scheduler class, runs rounds of sense, decide, act and report, and shuts down in order.

mod absent;
mod boot_settings;
mod config;
mod control;
mod drained;
mod failures;
mod groups;
mod links;
mod lock;
mod logging;
mod neighbours;
mod options;
mod pacing;
pub mod preflight;
mod reporter;
mod requests;
mod restarts;
mod round;
mod service;
mod settings;
mod shutdown;
mod signals;
mod slo;

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use absent::status_without_daemon;
use anyhow::{bail, Context, Result};
pub use config::Config;
pub use control::{Control, StartProbes};
use crossbeam_channel::Receiver;
pub use drained::{drain, DrainedFile, DRAINED_FILE};
pub use lock::{InstanceLock, LOCK_FILE};
pub use logging::Log;
pub use options::{Cli, Command, ConfigCommand, ConfigFileError, OnOff, RunOptions, CONFIG_FILE, EXIT_CODES};
pub use reporter::{DecisionLog, Reporter};
pub use requests::{Answer, Asked, Request, Requests};
pub use round::{Rounds, Signals};
pub use settings::{check_config, Settings};
pub use shutdown::Shutdown;
pub use signals::handle_signals;

use crate::act;
use crate::bpf::{Exit, ExitCause, SchedulerClass};
use crate::cell::NodeId;
use crate::linux::memory;
use crate::report::{self, DecisionHistory, MetricsServer, StatsServer};
use crate::sense::{Dsm, Hosts, MemoryWatch, Nodes, Probes, Sampler, Sharing};
use crate::work::{give_back_all, read_tasks};
use restarts::Restarts;

/// Schedule until `shutdown` is requested, and serve the statistics and metrics that the options ask for. What comes in by
/// `requests` is done between rounds.
pub fn run(settings: Settings, requests: &Requests, asked: &Receiver<Asked>, shutdown: &Shutdown) -> Result<()> {
    let options = &settings.options;
    let page = options.metrics.map(MetricsServer::bind).transpose()?;
    preflight::check_may_run()?;
    // Checked before the lock for a better message, and again under it in case two daemons start at once.
    preflight::check_machine()?;
    let _lock = InstanceLock::acquire(Path::new(LOCK_FILE))?;
    preflight::check_machine()?;
    preflight::warn_of_gaps();
    let ignored = options.without_effect();
    if !ignored.is_empty() {
        log::warn!("{} have no effect under --policy {}", ignored.join(", "), options.policy);
    }
    if let Some(restored) = act::restore_after_kill()? {
        log::info!("undid what a killed scx_vnuma had left: {restored}");
        // A failure to restore is no reason not to start.
        restored.failures().for_each(|err| log::warn!("{err}"));
    }
    if let Err(err) = memory::lock_memory() {
        log::warn!("memory can't be locked ({err}): rounds may be delayed by page faults; raise RLIMIT_MEMLOCK");
    }
    let history = Arc::new(DecisionHistory::start());
    history.publish_setup(settings.setup());
    if let Some(page) = page {
        log::info!("serving metrics at http://{}/metrics", page.address());
        page.serve(history.clone()).context("starting the thread that serves --metrics")?;
    }
    if let Some(interval) = options.stats {
        spawn_monitor(interval, shutdown.clone());
    }
    if let Some(file) = settings.file() {
        log::info!("configured by {}", file.display());
    }
    let outside = Outside { history: &history, requests, asked, shutdown };
    run_until_shutdown(settings, &outside)
}

/// What outlives each load of the scheduler class.
struct Outside<'a> {
    history: &'a Arc<DecisionHistory>,
    requests: &'a Requests,
    asked: &'a Receiver<Asked>,
    shutdown: &'a Shutdown,
}

fn spawn_monitor(interval: Duration, shutdown: Shutdown) {
    std::thread::spawn(move || {
        if let Err(err) = report::monitor(interval, || shutdown.is_requested()) {
            log::warn!("the statistics of --stats end here: {err:#}");
        }
    });
}

/// Load the scheduler class, and load it again each time it ends for a reason that is no error.
fn run_until_shutdown(mut settings: Settings, outside: &Outside<'_>) -> Result<()> {
    let config = Config::new(&settings.options)?;
    let mut log = DecisionLog::create(settings.options.log.as_deref(), &config.log_header())?;
    let (mut restarts, mut destination) = (Restarts::default(), None);
    loop {
        let End { exit, destination: last, must_load_again } = run_once(&mut settings, &mut log, outside, destination)?;
        if !exit.dump.is_empty() {
            log::error!("what the kernel dumped:\n{}", exit.dump);
        }
        match exit.cause {
            ExitCause::Error => bail!("EXIT: {}", exit.text),
            _ if outside.shutdown.is_requested() => return Ok(()),
            ExitCause::Unloaded if must_load_again => log::info!("starting again by the settings that were reloaded"),
            ExitCause::Unloaded => return Ok(()),
            ExitCause::Hotplug => log::info!("starting again with the CPUs as they are now ({})", exit.text),
            ExitCause::Silence => log::warn!(
                "starting again: the daemon was stopped or got no CPU, so all tasks were in the fair class ({})",
                exit.text
            ),
            ExitCause::Restart => {
                restarts.note(Instant::now())?;
                log::info!("starting again at the kernel's request ({})", exit.text);
            }
        }
        destination = Some(last);
    }
}

/// How one load of the scheduler class ended.
struct End {
    exit: Exit,
    /// The last destination.
    destination: NodeId,
    /// The settings have changed to some that need more of the class.
    must_load_again: bool,
}

/// Run the rounds of one load of the scheduler class. `destination` is the last one of the load before.
fn run_once(
    settings: &mut Settings,
    log: &mut DecisionLog,
    outside: &Outside<'_>,
    destination: Option<NodeId>,
) -> Result<End> {
    let Outside { history, requests, asked, shutdown } = *outside;
    let config = &Config::new(&settings.options)?;
    let nodes = preflight::supported_nodes(&Nodes::from_sysfs().context("reading the NUMA nodes")?)?;
    let drained_file = DrainedFile::default();
    let drained = drained_file.read()?;
    if !drained.is_empty() {
        log::warn!("{}: `scx_vnuma undrain` takes them back", drained::said(&drained));
    }
    let start = start_node(settings, &nodes, &drained, destination)?;
    let ids: Vec<NodeId> = nodes.iter().map(|(node, _)| node).collect();
    let specs = config.host_specs(&ids)?;
    config.slos(&ids)?;
    let hosts = Hosts::start(specs, config.interval)?;
    let mut object = MaybeUninit::uninit();
    let class = SchedulerClass::load(&config.load_options(start), nodes.iter(), &mut object)
        .inspect_err(|_| crate::bpf::pins().remove())
        .context("loading the scheduler class")?;
    log::info!("enabled on {} nodes; migratable work goes to node {start}", nodes.with_cpus().len());

    if let Err(err) = crate::bpf::Class::note_alive(&class) {
        log::warn!("if this daemon stops, the scheduler class won't notice: {err:#}");
    }

    // Rounds work without the server; only --monitor and explain don't.
    let stats_server = StatsServer::launch(history.clone(), controls(requests));
    let _stats_server = stats_server
        .inspect_err(|err| log::warn!("--monitor, explain and reload won't work: no statistics server: {err:#}"))
        .ok();
    let start_probes = |config: &Config, asked: &dyn Fn(NodeId) -> bool| {
        let Some(options) = config.probes else { return Ok(None) };
        Probes::start(&nodes, asked, options, || class.steal_reader()).map(Some)
    };
    // Nodes with a configured host are probed only before a move.
    let probes = start_probes(config, &|node| hosts.reading(node).is_none())?;
    let reporter = Reporter::new(history, log, config.interval, start);
    let hits = config.steers().then(|| class.hits()).transpose()?;
    let sharing = config.links.then(|| Ok::<_, anyhow::Error>(Sharing::start(class.wakeup_reader()?)?)).transpose()?;
    let ids: Vec<NodeId> = nodes.iter().map(|(node, _)| node).collect();
    let memory = config.decider().weighs_memory().then(|| MemoryWatch::start(ids.clone())).transpose()?;
    let mut sampler = Sampler::open(hosts, probes)?;
    if let Some(specs) = config.dsm_specs(&ids)? {
        sampler = sampler.with_dsm(Dsm::start(specs, config.interval)?);
    }
    let rounds = Rounds::new(config, &class, &nodes, start, sampler, reporter, Signals { hits, sharing, memory })?;
    let mut rounds =
        rounds.controlled_by(Control { asked, settings, drained: &drained_file, start_probes: &start_probes });
    rounds.set_drained(drained);
    service::ready();
    let outcome = rounds.run(shutdown);
    if shutdown.is_requested() {
        service::stopping();
    }
    let (destination, must_load_again) = (rounds.destination(), rounds.must_load_again());
    // This also restores the affinities of IRQs and workqueues.
    drop(rounds);

    // The class is still attached, so that children continue to inherit the record of their own policy.
    let given_back = give_back_all(|tasks| Ok(read_tasks(crate::bpf::Class::task_records(&class)?, tasks)?));
    let exit = class.unload();
    log::info!("disabled; {} tasks went back to the policy they had", given_back?);
    outcome?;
    Ok(End { exit, destination, must_load_again })
}

/// Where work starts: on the last destination of the load before, otherwise as the options say. Not on a drained node, while
/// there is another.
fn start_node(
    settings: &Settings,
    nodes: &Nodes,
    drained: &BTreeSet<NodeId>,
    destination: Option<NodeId>,
) -> Result<NodeId> {
    let RunOptions { start_node, allow_single_node, .. } = settings.options;
    let chosen = match destination.filter(|node| nodes.with_cpus().contains(node)) {
        Some(destination) => destination,
        None => preflight::choose_start_node(nodes, start_node, allow_single_node)?,
    };
    let is_open = |node: &NodeId| !drained.contains(node);
    Ok(Some(chosen).filter(is_open).or_else(|| nodes.with_cpus().into_iter().find(is_open)).unwrap_or(chosen))
}

/// What the statistics server can be asked to do.
fn controls(requests: &Requests) -> Vec<(&'static str, report::Control)> {
    let control = |request| {
        let requests = requests.clone();
        Box::new(move || requests.ask(request)) as report::Control
    };
    vec![
        (report::RELOAD, control(Request::Reload)),
        (report::DRAINED, control(Request::Drained)),
        (report::DRY_RUN_BEGIN, control(Request::DryRun(true))),
        (report::DRY_RUN_END, control(Request::DryRun(false))),
    ]
}
