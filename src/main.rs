//! `scx_vnuma`: the guest's daemon.

mod cli;
mod daemon;
mod preflight;
mod shutdown;
mod workload;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use clap::Parser;
use cli::{Cli, Command, RunOptions};
use scx_vnuma::act;
use scx_vnuma::report::{self, DecisionHistory, MetricsServer};
use shutdown::Shutdown;
use simplelog::ColorChoice;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("scx_vnuma: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    init_log(cli.run.verbose)?;
    match cli.command {
        Some(Command::Exec { command }) => exec(&command),
        Some(Command::Restore) => restore(),
        Some(Command::Explain { nr }) => report::explain(nr, &mut std::io::stdout().lock()),
        None if cli.run.help_stats => report::describe_stats(&mut std::io::stdout()),
        None => schedule(&cli.run),
    }
}

fn init_log(verbose: u8) -> Result<()> {
    let level = if verbose == 0 { log::LevelFilter::Info } else { log::LevelFilter::Debug };
    let mut config = simplelog::ConfigBuilder::new();
    // What libraries say at debug level is not about decisions.
    config.add_filter_allow_str("scx_vnuma").set_target_level(simplelog::LevelFilter::Off);
    config.set_thread_level(simplelog::LevelFilter::Off).set_location_level(simplelog::LevelFilter::Off);
    let color = if std::io::stderr().is_terminal() { ColorChoice::Auto } else { ColorChoice::Never };
    let mode = simplelog::TerminalMode::Stderr;
    simplelog::TermLogger::init(level, config.build(), mode, color).context("setting up the log")
}

fn schedule(options: &RunOptions) -> Result<()> {
    let shutdown = Shutdown::of_this_thread();
    let for_handler = shutdown.clone();
    ctrlc::set_handler(move || for_handler.request()).context("setting up the signal handler")?;

    if let Some(interval) = options.monitor {
        if preflight::running_scheduler()?.is_none() {
            log::info!("no scx_vnuma is running: waiting for one");
        }
        return report::monitor(interval, || shutdown.is_requested());
    }
    let page = options.metrics.map(MetricsServer::bind).transpose()?;
    preflight::check_machine()?;
    preflight::warn_of_gaps();
    if let Some(restored) = act::restore_after_kill()? {
        log::info!("undid what a killed scx_vnuma had left: {restored}");
        // Nothing that keeps us from going on.
        restored.failure.iter().for_each(|err| log::warn!("{err}"));
    }
    if let Err(err) = act::lock_memory() {
        log::warn!("memory can't be locked ({err}): a round may wait for a page; raise RLIMIT_MEMLOCK");
    }
    let history = Arc::new(DecisionHistory::default());
    if let Some(page) = page {
        log::info!("figures for Prometheus at http://{}/metrics", page.address());
        page.serve(history.clone()).context("starting the thread that serves --metrics")?;
    }
    if let Some(interval) = options.stats {
        spawn_monitor(interval, shutdown.clone());
    }
    daemon::run(options, &history, &shutdown)
}

fn spawn_monitor(interval: Duration, shutdown: Shutdown) {
    std::thread::spawn(move || {
        if let Err(err) = report::monitor(interval, || shutdown.is_requested()) {
            log::warn!("statistics ended: {err:#}");
        }
    });
}

fn exec(command: &[OsString]) -> Result<()> {
    act::make_migratable(0).context("this kernel has no sched_ext, so no task can be migratable")?;
    let [program, args @ ..] = command else { bail!("BUG: exec without a command") };
    let err = std::process::Command::new(program).args(args).exec();
    Err(err).with_context(|| format!("running {}", program.to_string_lossy()))
}

fn restore() -> Result<()> {
    ensure!(preflight::is_root(), "restore changes other users' tasks and must run as root: try sudo");
    if let Some(name) = preflight::running_scheduler()?.filter(|name| preflight::is_ours(name)) {
        bail!("scx_vnuma is running ({name}); end it with INT or TERM and it restores everything itself");
    }
    match act::restore_after_kill()? {
        Some(restored) => {
            println!("{restored}");
            restored.failure.map_or(Ok(()), |err| Err(err.into()))
        }
        None => {
            println!("nothing to restore");
            Ok(())
        }
    }
}
