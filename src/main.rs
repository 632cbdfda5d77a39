//! `scx_vnuma`: the scheduler's daemon in the guest.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use scx_vnuma::daemon::{
    self, preflight, Cli, Command, ConfigCommand, InstanceLock, Log, OnOff, Requests, Settings, Shutdown, CONFIG_FILE,
    LOCK_FILE,
};
use scx_vnuma::report::{NotRunning, OutputError, TopAction};
use scx_vnuma::work::make_migratable;
use scx_vnuma::{act, report};

fn main() -> ExitCode {
    let (cli, settings) = match Settings::of(std::env::args_os().collect()) {
        Ok(parsed) => parsed,
        Err(err) => {
            let _ = writeln!(io::stderr(), "scx_vnuma: {err:#}");
            return ExitCode::FAILURE;
        }
    };
    let log = match Log::start(settings.options.verbose) {
        Ok(log) => log,
        Err(err) => {
            // Not eprintln!, which panics if standard error can't be written.
            let _ = writeln!(io::stderr(), "scx_vnuma: {err:#}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = run(cli, settings);
    if log.nr_dropped() > 0 {
        log::warn!("{} log lines were dropped because standard error wasn't read", log.nr_dropped());
    }
    match outcome {
        Ok(code) => code,
        Err(err) if err.downcast_ref().is_some_and(OutputError::is_reader_gone) => ExitCode::SUCCESS,
        Err(err) => {
            // By the log's queue: a standard error that nobody reads must not keep the process from ending.
            log.print(&format!("scx_vnuma: {err:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, settings: Settings) -> Result<ExitCode> {
    match cli.command {
        Some(Command::DryRun { state }) => dry_run(state == OnOff::On),
        Some(Command::Status { json }) => return status(json),
        Some(Command::Exec { command }) => exec(&command),
        Some(Command::Restore) => restore(),
        Some(Command::Explain { nr, json }) => report::explain(nr, json, &mut io::stdout().lock()),
        Some(Command::Links { json }) => report::links(json, &mut io::stdout().lock()),
        Some(Command::Report { log, output, interval }) => report_run(&log, &output, interval),
        Some(Command::Top { interval }) => top(interval),
        None if cli.run.help_stats => report::describe_stats(&mut io::stdout()),
        Some(Command::Config { command: ConfigCommand::Check { file } }) => check_config(file),
        Some(Command::Reload) => tell("reload", report::RELOAD, "there is nothing to reload"),
        Some(Command::Drain { nodes }) => change_drained(&nodes, true),
        Some(Command::Undrain { nodes }) => change_drained(&nodes, false),
        None => schedule(settings),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Print what the running daemon does. The exit code without one is systemctl's for a service that is not running.
fn status(json: bool) -> Result<ExitCode> {
    const NOT_RUNNING: u8 = 3;

    // Colours are for a terminal, and for users that haven't set NO_COLOR.
    let mut out = anstream::AutoStream::auto(io::stdout());
    match report::status() {
        Ok(status) => {
            let text = if json { serde_json::to_string(&status)? + "\n" } else { status.text() };
            report::print(&mut out, text)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(err) if err.is::<NotRunning>() => {
            let text = if json { "{\"running\":false}\n".to_string() } else { daemon::status_without_daemon()? };
            report::print(&mut out, text)?;
            Ok(ExitCode::from(NOT_RUNNING))
        }
        Err(err) => Err(err),
    }
}

/// Tell the running daemon to do something, and print what it did.
fn tell(command: &str, target: &str, none: &'static str) -> Result<()> {
    let done = report::control(command, target, none)?;
    Ok(report::print(&mut io::stdout(), done + "\n")?)
}

fn turn_dry_run(begins: bool) -> Result<String> {
    let target = if begins { report::DRY_RUN_BEGIN } else { report::DRY_RUN_END };
    report::control("dry-run", target, "there is nothing to turn into a dry run; start it with --dry-run")
}

fn dry_run(begins: bool) -> Result<()> {
    Ok(report::print(&mut io::stdout(), turn_dry_run(begins)? + "\n")?)
}

fn change_drained(nodes: &[u32], drain: bool) -> Result<()> {
    let done = daemon::drain(nodes, drain)?;
    Ok(report::print(&mut io::stdout(), done + "\n")?)
}

fn check_config(file: Option<PathBuf>) -> Result<()> {
    let file = file.unwrap_or_else(|| CONFIG_FILE.into());
    daemon::check_config(&file)?;
    Ok(report::print(&mut io::stdout(), format!("{} is fine\n", file.display()))?)
}

fn schedule(settings: Settings) -> Result<()> {
    let shutdown = Shutdown::new().context("making the event that ends the rounds")?;
    let (requests, asked) = Requests::channel();
    daemon::handle_signals(shutdown.clone(), Some(requests.clone())).context("setting up the signal handler")?;

    if let Some(interval) = settings.options.monitor {
        if preflight::running_scheduler()?.is_none() {
            log::info!("no scx_vnuma is running yet; waiting for one");
        }
        return report::monitor(interval, || shutdown.is_requested());
    }
    daemon::run(settings, &requests, &asked, &shutdown)
}

fn top(interval: Duration) -> Result<()> {
    let shutdown = Shutdown::new().context("making the event that ends the screen")?;
    daemon::handle_signals(shutdown.clone(), None).context("setting up the signal handler")?;
    let act = |action| match action {
        TopAction::Drain(node) => daemon::drain(&[node], true),
        TopAction::Undrain(node) => daemon::drain(&[node], false),
        TopAction::DryRun(begins) => turn_dry_run(begins),
    };
    report::top(interval, Arc::new(act), || shutdown.is_requested())
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
