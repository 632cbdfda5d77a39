//! The daemon: loads the scheduler class, runs rounds of sense, decide, act and report, and shuts down in order.

mod boot_settings;
mod config;
mod failures;
mod links;
mod lock;
mod logging;
mod options;
mod pacing;
pub mod preflight;
mod reporter;
mod restarts;
mod round;
mod shutdown;

use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
pub use config::Config;
pub use lock::{InstanceLock, LOCK_FILE};
pub use logging::Log;
pub use options::{Cli, Command, RunOptions};
pub use reporter::{DecisionLog, Reporter};
pub use round::{Rounds, Signals};
pub use shutdown::Shutdown;

use crate::act;
use crate::bpf::{Exit, ExitCause, SchedulerClass};
use crate::cell::NodeId;
use crate::linux::memory;
use crate::report::{self, DecisionHistory, MetricsServer, StatsServer};
use crate::sense::{Hosts, Nodes, Probes, Sampler, Sharing};
use crate::work::{give_back_all, read_tasks};
use restarts::Restarts;

/// Schedule until `shutdown` is requested, and serve the statistics and metrics that the options ask for.
pub fn run(options: &RunOptions, shutdown: &Shutdown) -> Result<()> {
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
    let history = Arc::new(DecisionHistory::default());
    if let Some(page) = page {
        log::info!("serving metrics at http://{}/metrics", page.address());
        page.serve(history.clone()).context("starting the thread that serves --metrics")?;
    }
    if let Some(interval) = options.stats {
        spawn_monitor(interval, shutdown.clone());
    }
    run_until_shutdown(&Config::new(options)?, options, &history, shutdown)
}

fn spawn_monitor(interval: Duration, shutdown: Shutdown) {
    std::thread::spawn(move || {
        if let Err(err) = report::monitor(interval, || shutdown.is_requested()) {
            log::warn!("the statistics of --stats end here: {err:#}");
        }
    });
}

/// Load the scheduler class, and load it again each time it ends for a reason that is no error.
fn run_until_shutdown(
    config: &Config,
    options: &RunOptions,
    history: &Arc<DecisionHistory>,
    shutdown: &Shutdown,
) -> Result<()> {
    let mut log = DecisionLog::create(options.log.as_deref(), &config.log_header())?;
    let (mut restarts, mut destination) = (Restarts::default(), None);
    loop {
        let (exit, last) = run_once(config, options, history, &mut log, shutdown, destination)?;
        if !exit.dump.is_empty() {
            log::error!("what the kernel dumped:\n{}", exit.dump);
        }
        match exit.cause {
            ExitCause::Error => bail!("EXIT: {}", exit.text),
            ExitCause::Unloaded => return Ok(()),
            _ if shutdown.is_requested() => return Ok(()),
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

/// Run the rounds of one load of the scheduler class. `destination` is the last one of the load before. Returns how the class
/// ended, and its last destination.
fn run_once(
    config: &Config,
    options: &RunOptions,
    history: &Arc<DecisionHistory>,
    log: &mut DecisionLog,
    shutdown: &Shutdown,
    destination: Option<NodeId>,
) -> Result<(Exit, NodeId)> {
    let nodes = preflight::supported_nodes(&Nodes::from_sysfs().context("reading the NUMA nodes")?)?;
    let start = match destination.filter(|node| nodes.with_cpus().contains(node)) {
        Some(destination) => destination,
        None => preflight::choose_start_node(&nodes, options.start_node, options.allow_single_node)?,
    };
    let specs = config.host_specs(&nodes.iter().map(|(node, _)| node).collect::<Vec<_>>())?;
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
    let stats_server = StatsServer::launch(history.clone());
    let _stats_server = stats_server
        .inspect_err(|err| log::warn!("--monitor and explain won't work: no statistics server: {err:#}"))
        .ok();
    let probes = start_probes(config, &class, &nodes, &hosts)?;
    let reporter = Reporter::new(history, log, config.interval, start);
    let hits = config.steers().then(|| class.hits()).transpose()?;
    let sharing = config.links.then(|| Ok::<_, anyhow::Error>(Sharing::start(class.wakeup_reader()?)?)).transpose()?;
    let sampler = Sampler::open(hosts, probes)?;
    let mut rounds = Rounds::new(config, &class, &nodes, start, sampler, reporter, Signals { hits, sharing })?;
    let outcome = rounds.run(shutdown);
    let destination = rounds.destination();
    // This also restores the affinities of IRQs and workqueues.
    drop(rounds);

    // The class is still attached, so that children continue to inherit the record of their own policy.
    let given_back = give_back_all(|tasks| Ok(read_tasks(crate::bpf::Class::task_records(&class)?, tasks)?));
    let exit = class.unload();
    log::info!("disabled; {} tasks went back to the policy they had", given_back?);
    outcome?;
    Ok((exit, destination))
}

/// Start the probes, unless they are off. Nodes with a configured host are probed only before a move.
fn start_probes(config: &Config, class: &SchedulerClass<'_>, nodes: &Nodes, hosts: &Hosts) -> Result<Option<Probes>> {
    let Some(options) = config.probes else { return Ok(None) };
    let has_no_host = |node| hosts.reading(node).is_none();
    Probes::start(nodes, has_no_host, options, || class.steal_reader()).map(Some)
}
