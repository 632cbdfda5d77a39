//! `scx_vnuma`: the scheduler's daemon in the guest.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use clap::Parser;
use scx_vnuma::daemon::{self, preflight, Cli, Command, InstanceLock, Log, RunOptions, Shutdown, LOCK_FILE};
use scx_vnuma::report::OutputError;
use scx_vnuma::work::make_migratable;
use scx_vnuma::{act, report};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = match Log::start(cli.run.verbose) {
        Ok(log) => log,
        Err(err) => {
            // Not eprintln!, which panics if standard error can't be written.
            let _ = writeln!(io::stderr(), "scx_vnuma: {err:#}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = run(cli);
    if log.nr_dropped() > 0 {
        log::warn!("{} log lines were dropped because standard error wasn't read", log.nr_dropped());
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) if err.downcast_ref().is_some_and(OutputError::is_reader_gone) => ExitCode::SUCCESS,
        Err(err) => {
            // By the log's queue: a standard error that nobody reads must not keep the process from ending.
            log.print(&format!("scx_vnuma: {err:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Some(Command::Exec { command }) => exec(&command),
        Some(Command::Restore) => restore(),
        Some(Command::Explain { nr }) => report::explain(nr, &mut io::stdout().lock()),
        Some(Command::Links { json }) => report::links(json, &mut io::stdout().lock()),
        Some(Command::Report { log, output, interval }) => report_run(&log, &output, interval),
        None if cli.run.help_stats => report::describe_stats(&mut io::stdout()),
        None => schedule(&cli.run),
    }
}

fn schedule(options: &RunOptions) -> Result<()> {
    let shutdown = Shutdown::new().context("making the event that ends the rounds")?;
    let for_handler = shutdown.clone();
    ctrlc::set_handler(move || for_handler.request()).context("setting up the signal handler")?;

    if let Some(interval) = options.monitor {
        if preflight::running_scheduler()?.is_none() {
            log::info!("no scx_vnuma is running yet; waiting for one");
        }
        return report::monitor(interval, || shutdown.is_requested());
    }
    daemon::run(options, &shutdown)
}

fn report_run(log: &Path, output: &Path, interval: Option<Duration>) -> Result<()> {
    if let Some(line) = report::write_run_page(log, output, interval)? {
        log::warn!("{}: line {line} is cut short and left out", log.display());
    }
    Ok(())
}

fn exec(command: &[OsString]) -> Result<()> {
    preflight::check_pid_namespace()?;
    make_migratable().context("this kernel has no sched_ext, so no task can be made migratable")?;
    let [program, args @ ..] = command else { bail!("BUG: exec without a command") };
    let err = std::process::Command::new(program).args(args).exec();
    Err(err).with_context(|| format!("running {}", program.to_string_lossy()))
}

fn restore() -> Result<()> {
    ensure!(preflight::is_root(), "restore changes other users' tasks and must run as root; try sudo");
    preflight::check_pid_namespace()?;
    if let Some(name) = preflight::running_scheduler()?.filter(|name| preflight::is_ours(name)) {
        bail!("scx_vnuma is running ({name}); stop it with SIGINT or SIGTERM, and it restores everything itself");
    }
    let _lock = InstanceLock::acquire(Path::new(LOCK_FILE))?;
    let Some(restored) = act::restore_after_kill()? else {
        return Ok(report::print(&mut io::stdout(), "nothing to restore\n")?);
    };
    let printed = report::print(&mut io::stdout(), format!("{restored}\n"));
    let failures: Vec<String> = restored.failures().map(ToString::to_string).collect();
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(printed?)
}
