//! What the program does instead of scheduling.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum, ValueHint};

use super::values::{parse_interval, parse_node};

/// The exit codes and what they mean, for `--help` and the manual page.
pub const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "it did what it was asked to; the scheduler was told to end"),
    ("1", "it failed, and standard error has the reason"),
    ("2", "the command line is wrong; nothing was done"),
    ("3", "`status` only: no scx_vnuma is running"),
];

/// What the program does instead of scheduling.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command as a migratable task, whatever the selectors say. Its children are migratable too.
    Exec {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true,
              value_hint = ValueHint::CommandWithArguments)]
        command: Vec<std::ffi::OsString>,
    },
    /// Undo what a killed scx_vnuma left behind: restore tasks' policies, IRQ and workqueue affinities, and remove pinned maps.
    Restore,
    /// Check the configuration.
    Config {
        /// What to do.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make the running scx_vnuma read its configuration file again.
    ///
    /// Selectors, hosts, probes, the policy and its thresholds change without a restart. If the file has a mistake, or changes
    /// anything else, all stays as it is.
    Reload,
    /// Let work leave nodes, for maintenance of their hosts, and let none come.
    ///
    /// They stay drained, also over restarts, until `undrain`. Tasks that their users have bound to such a node stay there.
    Drain {
        /// The nodes.
        #[arg(required = true, value_name = "NODE", value_parser = parse_node)]
        nodes: Vec<u32>,
    },
    /// Take drained nodes back into service.
    Undrain {
        /// The nodes.
        #[arg(required = true, value_name = "NODE", value_parser = parse_node)]
        nodes: Vec<u32>,
    },
    /// Begin or end a dry run of the running scx_vnuma: it decides and reports, but moves nothing.
    ///
    /// The scheduler class stays loaded, and what the last plan set stays in force: limits, and where work goes at once when its
    /// node is hit. It also changes no task's policy meanwhile. A restart goes by `--dry-run` again.
    DryRun {
        /// What to do.
        #[arg(value_enum, value_name = "on|off", hide_possible_values = true)]
        state: OnOff,
    },
    /// Show whether scx_vnuma runs, the nodes, the work, and the last decision.
    ///
    /// The exit code is 3 if it does not run.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain the last decisions of the running scx_vnuma: what it measured and chose, what moved and stayed, and why.
    Explain {
        /// Number of decisions, at most 256. Consecutive rounds that moved nothing for the same reasons count as one.
        #[arg(short, value_name = "NUMBER", default_value = "20")]
        nr: usize,
        /// Print JSON: an array of decisions, the newest last.
        #[arg(long)]
        json: bool,
    },
    /// Show which processes share memory, by which signal, on which nodes they are, and what a split costs.
    ///
    /// It asks the running scx_vnuma. The costliest pairs come first.
    Links {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show nodes, groups and decisions of the running scx_vnuma on the terminal, as top(1) shows processes.
    ///
    /// Keys are on the last line. Colours are off if NO_COLOR is set.
    Top {
        /// Time between two looks, as in `500ms` or `2s`.
        #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_interval)]
        interval: Duration,
    },
    /// Make one HTML page of a decision log: where the work ran, what others took, what moved and why.
    ///
    /// It needs neither root nor a running scx_vnuma. The page loads nothing from elsewhere.
    Report {
        /// Decision log, written with --log; plain or .gz.
        #[arg(value_name = "LOG.jsonl", value_hint = ValueHint::FilePath)]
        log: PathBuf,
        /// Page to write.
        #[arg(short, long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
        output: PathBuf,
        /// Length of a round, as in `500ms`, for logs that don't record it.
        #[arg(long, value_name = "DURATION", value_parser = parse_interval)]
        interval: Option<Duration>,
    },
}

/// A switch that is turned while the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// From now on.
    On,
    /// No longer.
    Off,
}

/// What `scx_vnuma config` does.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file, with the hosts and selectors that it names. The running scx_vnuma is not changed.
    Check {
        /// The file. Default: /etc/scx_vnuma/config.toml.
        #[arg(value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
}
