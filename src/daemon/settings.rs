//! What the daemon was told, by its arguments and its configuration file, and what of it may change while it runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use super::neighbours::neighbours;
use super::options::{check_file, config_file, with_file};
use super::{Cli, Config, RunOptions};
use crate::cell::NodeId;
use crate::report::Setup;
use crate::sense::Nodes;

/// The options that a reload may change. All others are in force from the start to the end.
const RELOADABLE: [&str; 20] = [
    "bad",
    "bad-rounds",
    "byte-budget",
    "calm",
    "cool-down",
    "host",
    "hosts",
    "lift-quotas",
    "no-guards",
    "no-probe",
    "order",
    "page-cost",
    "policy",
    "probe",
    "select",
    "severe",
    "slo",
    "slos",
    "threshold-ticks",
    "warning",
];

/// Of these, the ones that a decision log is about: its header has them, or follows from them.
const LOGGED: [&str; 11] = [
    "bad",
    "bad-rounds",
    "byte-budget",
    "calm",
    "cool-down",
    "no-guards",
    "order",
    "policy",
    "severe",
    "threshold-ticks",
    "warning",
];

/// The options in force, and where they come from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The options in force.
    pub options: RunOptions,
    args: Vec<OsString>,
    given: ArgMatches,
    matches: ArgMatches,
    file: Option<PathBuf>,
}

impl Settings {
    /// The settings by these arguments, which include the program's name, and the configuration file. The program ends if the
    /// arguments are wrong, or if they ask for help.
    pub fn of(args: Vec<OsString>) -> Result<(Cli, Settings)> {
        let given = Cli::command().get_matches_from(&args);
        let cli = Cli::from_arg_matches(&given).unwrap_or_else(|err| err.exit());
        let settings = match cli.command {
            // These have no options of scheduling.
            Some(_) => Settings { options: cli.run.clone(), args, matches: given.clone(), given, file: None },
            None => Settings::read(args, given)?,
        };
        Ok((cli, settings))
    }

    fn read(args: Vec<OsString>, given: ArgMatches) -> Result<Settings> {
        let options = Cli::from_arg_matches(&given)?.run;
        // What asks another daemon needs no file, and must work whatever is in it.
        let asks = options.help_stats || options.monitor.is_some();
        let file = if asks { None } else { config_file(options.config.as_deref()) };
        let matches = match &file {
            Some(file) => with_file(&args, &given, file)?,
            None => given.clone(),
        };
        let options = Cli::from_arg_matches(&matches)?.run;
        Ok(Settings { options, args, given, matches, file })
    }

    /// The settings by the same arguments and the file as it is now. An option that can't change while the daemon runs is an
    /// error.
    pub fn again(&self) -> Result<Settings> {
        let new = Settings::read(self.args.clone(), self.given.clone())?;
        let changed = self.changed(&new);
        let fixed: Vec<&str> = changed.iter().map(String::as_str).filter(|name| !RELOADABLE.contains(name)).collect();
        if !fixed.is_empty() {
            bail!("{} can't change while scx_vnuma runs: restart it, or change the file back", fixed.join(", "));
        }
        let logged: Vec<&str> = changed.iter().map(String::as_str).filter(|name| LOGGED.contains(name)).collect();
        if self.options.log.is_some() && !logged.is_empty() {
            bail!("{} can't change while --log records decisions: restart scx_vnuma", logged.join(", "));
        }
        Ok(new)
    }

    /// The names of the options that differ.
    pub fn changed(&self, other: &Settings) -> Vec<String> {
        let command = Cli::command();
        let raw = |matches: &ArgMatches, id: &str| -> Vec<OsString> {
            matches.get_raw(id).map(|values| values.map(OsString::from).collect()).unwrap_or_default()
        };
        let count = |settings: &Settings| settings.options.verbose;
        let differs = |arg: &&clap::Arg| match arg.get_id().as_str() {
            "verbose" => count(self) != count(other),
            id => raw(&self.matches, id) != raw(&other.matches, id),
        };
        command.get_arguments().filter(differs).filter_map(|arg| arg.get_long().map(str::to_string)).collect()
    }

    /// How the daemon is set up, for `status`.
    pub fn setup(&self) -> Setup {
        let RunOptions { policy, dry_run, .. } = &self.options;
        let names = neighbours(Path::new("/")).into_iter().map(|note| note.neighbour.to_string());
        Setup {
            policy: policy.to_string(),
            dry_run: *dry_run,
            config_file: self.file.clone(),
            neighbours: names.collect(),
        }
    }

    /// The configuration file that was read, if any.
    pub fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }
}

/// Check a configuration file, with the hosts and selectors that it names. The first mistake is the error.
pub fn check_config(path: &Path) -> Result<()> {
    let options = Cli::from_arg_matches(&check_file(path)?)?.run;
    let config = Config::new(&options)?;
    let nodes: Vec<NodeId> =
        Nodes::from_sysfs().context("reading the NUMA nodes")?.iter().map(|(node, _)| node).collect();
    config.host_specs(&nodes)?;
    config.slos(&nodes)?;
    config.dsm_specs(&nodes)?;
    let ignored = options.without_effect();
    if !ignored.is_empty() {
        log::warn!("{} have no effect under --policy {}", ignored.join(", "), options.policy);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: &Path, args: &[&str]) -> Settings {
        let config = ["--config", file.to_str().unwrap()];
        let args: Vec<OsString> = ["scx_vnuma"].iter().chain(&config).chain(args).map(OsString::from).collect();
        Settings::of(args).unwrap().1
    }

    /// What a reload says after the file has changed from `before` to `after`.
    fn reload(before: &str, after: &str, args: &[&str]) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, before).unwrap();
        let settings = settings(&file, args);
        std::fs::write(&file, after).unwrap();
        settings.again().map_err(|err| format!("{err:#}"))
    }

    #[test]
    fn a_reload_takes_over_what_may_change_and_arguments_still_win() {
        let new =
            reload("bad = 0.1", "bad = 0.2\npolicy = \"coarse\"\nselect = [\"uid=1\"]", &["--bad", "0.3"]).unwrap();
        assert_eq!((new.options.bad, new.options.policy.as_str(), new.options.select.len()), (0.3, "coarse", 1));
    }

    #[test]
    fn what_cannot_change_while_it_runs_is_refused_by_name() {
        for (before, after, name) in [
            ("", "interval = \"1s\"", "interval"),
            ("dry-run = true", "", "dry-run"),
            ("", "all = true", "all"),
            ("verbose = 1", "verbose = 2", "verbose"),
            ("", "metrics = 9100", "metrics"),
            ("", "bad = 0.2\nmove-irqs = true", "move-irqs"),
        ] {
            let error = reload(before, after, &[]).unwrap_err();
            assert_eq!(error, format!("{name} can't change while scx_vnuma runs: restart it, or change the file back"));
        }
        let error = reload("log = \"a\"", "log = \"a\"\npolicy = \"fine\"", &[]).unwrap_err();
        assert_eq!(error, "policy can't change while --log records decisions: restart scx_vnuma");
        assert!(reload("log = \"a\"", "log = \"a\"\nselect = [\"uid=1\"]", &[]).is_ok());
    }

    #[test]
    fn a_file_with_a_mistake_is_no_change() {
        let error = reload("", "\npolcy = 1", &[]).unwrap_err();
        assert!(error.contains("config.toml:2: there is no option 'polcy'; did you mean 'policy'?"), "{error}");
    }

    #[test]
    fn what_may_change_is_called_as_the_flags_are() {
        let command = Cli::command();
        let names: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert!(RELOADABLE.iter().all(|name| names.contains(name)));
        assert!(LOGGED.iter().all(|name| RELOADABLE.contains(name)));
    }
}
