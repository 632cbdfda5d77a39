//! The configuration file: the options of the command line, as TOML.
//!
//! There is no second definition of any option. A key is the name of a flag, and its value goes through the flag's own
//! parser, as an argument `--key=value`. Arguments that are really given win.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, ValueHint};
use toml::de::{DeTable, DeValue};

use super::Cli;

/// The file that is read without `--config`, if it exists.
pub const CONFIG_FILE: &str = "/etc/scx_vnuma/config.toml";

/// Flags that ask for something else than scheduling, or name the file itself.
const NOT_IN_FILES: [&str; 5] = ["config", "help", "help-stats", "monitor", "version"];

/// Why a configuration file was refused: one sentence with the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The file can't be read.
    #[error("{}: it must be a readable file: {cause}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Each line is right, but not all together, or not with the arguments.
    #[error("{}: {reason}", path.display())]
    Together {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The file to read: that of `--config`, otherwise the usual one if it exists.
pub fn config_file(named: Option<&Path>) -> Option<PathBuf> {
    let usual = || Some(PathBuf::from(CONFIG_FILE)).filter(|path| path.exists());
    named.map(Path::to_path_buf).or_else(usual)
}

/// The arguments and the file together. `given` are the matches of `args`, which include the program's name.
pub fn with_file(args: &[OsString], given: &ArgMatches, path: &Path) -> Result<ArgMatches, ConfigFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ConfigFileError::Unreadable { path: path.to_path_buf(), cause })?;
    let command = built_command();
    let overridden = overridden(&command, given);
    let mut all: Vec<OsString> = args.iter().take(1).cloned().collect();
    for (name, mut from_file) in arguments(&command, &text, path)? {
        if !overridden.contains(&name) {
            all.append(&mut from_file);
        }
    }
    all.extend(args.iter().skip(1).cloned());
    let together = |err: &clap::Error| ConfigFileError::Together { path: path.to_path_buf(), reason: first_line(err) };
    command.try_get_matches_from(all).map_err(|err| together(&err))
}

/// Check a file by itself. The first mistake is the error.
pub fn check_file(path: &Path) -> Result<ArgMatches, ConfigFileError> {
    let args = [OsString::from("scx_vnuma")];
    let given = built_command().get_matches_from(&args);
    with_file(&args, &given, path)
}

fn built_command() -> Command {
    let mut command = Cli::command();
    // So that conflicts between arguments are known.
    command.build();
    command
}

fn long(arg: &Arg) -> Option<&str> {
    arg.get_long().filter(|name| !NOT_IN_FILES.contains(name))
}

/// The flags that are given, and those that can't be given beside them.
fn overridden(command: &Command, given: &ArgMatches) -> BTreeSet<String> {
    let is_given = |arg: &&Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let args = || command.get_arguments().filter(|arg| long(arg).is_some());
    let excludes = |arg: &Arg| -> Vec<String> {
        let others =
            args().filter(|other| command.get_arg_conflicts_with(other).iter().any(|it| it.get_id() == arg.get_id()));
        let own = command.get_arg_conflicts_with(arg).into_iter();
        own.chain(others).filter_map(|arg| arg.get_long().map(str::to_string)).collect()
    };
    let names = args()
        .filter(is_given)
        .flat_map(|arg| [long(arg).map(str::to_string)].into_iter().flatten().chain(excludes(arg)));
    names.collect()
}

/// The arguments that a file stands for, by the name of their flag, each checked by itself.
fn arguments(command: &Command, text: &str, path: &Path) -> Result<Vec<(String, Vec<OsString>)>, ConfigFileError> {
    let refuse = |span: Range<usize>, reason: String| {
        let line = 1 + text[..span.start.min(text.len())].matches('\n').count();
        ConfigFileError::Line { path: path.to_path_buf(), line, reason }
    };
    let table = DeTable::parse(text)
        .map_err(|err| refuse(err.span().unwrap_or_default(), err.message().trim().to_string()))?
        .into_inner();
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut arguments = Vec::new();
    for (key, value) in &table {
        let name: &str = key.get_ref();
        let arg = command.get_arguments().find(|arg| long(arg) == Some(name));
        let arg = arg.ok_or_else(|| refuse(key.span(), unknown_key(command, name)))?;
        let from_file = arguments_of(arg, name, value.get_ref(), folder);
        let from_file = from_file.map_err(|reason| refuse(value.span(), format!("{name}: {reason}")))?;
        for argument in &from_file {
            check_alone(command, argument).map_err(|reason| refuse(value.span(), format!("{name}: {reason}")))?;
        }
        arguments.push((name.to_string(), from_file));
    }
    Ok(arguments)
}

fn unknown_key(command: &Command, name: &str) -> String {
    /// Names that are less alike are no help.
    const ALIKE: f64 = 0.8;

    if NOT_IN_FILES.contains(&name) {
        return format!("'{name}' is a flag only: it can't be in a file");
    }
    let names = command.get_arguments().filter_map(long);
    let likeness = |known: &str| strsim::jaro_winkler(known, &name.replace('_', "-"));
    let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|known| likeness(known) >= ALIKE);
    let hint = nearest.map_or("`scx_vnuma --help` lists the options, which are the keys".into(), |it| {
        format!("did you mean '{it}'?")
    });
    format!("there is no option '{name}'; {hint}")
}

/// The arguments that one key stands for.
fn arguments_of(arg: &Arg, name: &str, value: &DeValue<'_>, folder: &Path) -> Result<Vec<OsString>, String> {
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(is_set)) => {
            Ok(is_set.then(|| format!("--{name}").into()).into_iter().collect())
        }
        (ArgAction::SetTrue, _) => Err("takes true or false".into()),
        (ArgAction::Count, DeValue::Integer(nr)) => {
            let nr = nr.as_str().parse::<u8>().map_err(|_| "takes a number from 0 to 255".to_string())?;
            Ok(vec![format!("--{name}").into(); nr.into()])
        }
        (ArgAction::Count, _) => Err("takes a number, of how often the flag would be given".into()),
        (ArgAction::Append, DeValue::Array(values)) => {
            values.iter().map(|value| argument(arg, name, value.get_ref(), folder)).collect()
        }
        (_, DeValue::Array(_)) => Err("takes one value, not a list".into()),
        _ => Ok(vec![argument(arg, name, value, folder)?]),
    }
}

/// `--name=value`. Relative paths start from the folder of the file.
fn argument(arg: &Arg, name: &str, value: &DeValue<'_>, folder: &Path) -> Result<OsString, String> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_string(),
        DeValue::Float(number) => number.as_str().to_string(),
        DeValue::Boolean(value) => value.to_string(),
        other => return Err(format!("takes a string or a number, not a {}", other.type_str())),
    };
    let mut argument = OsString::from(format!("--{name}="));
    match arg.get_value_hint() {
        ValueHint::FilePath => argument.push(folder.join(text)),
        _ => argument.push(text),
    }
    Ok(argument)
}

/// Check one argument by its own parser.
fn check_alone(command: &Command, argument: &OsString) -> Result<(), String> {
    let Err(err) = command.clone().try_get_matches_from([&OsString::from("scx_vnuma"), argument]) else {
        return Ok(());
    };
    match err.kind() {
        // What it needs beside it may be elsewhere in the file.
        ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict => Ok(()),
        ErrorKind::ValueValidation => {
            Err(std::error::Error::source(&err).map_or_else(|| first_line(&err), ToString::to_string))
        }
        _ => {
            let known = err.get(ContextKind::ValidValue).map(|values| format!("; it takes one of {values}"));
            Err(format!("{}{}", first_line(&err), known.unwrap_or_default()))
        }
    }
}

/// What clap says, without the usage and the name of the flag as an argument.
fn first_line(err: &clap::Error) -> String {
    let text = err.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::FromArgMatches;

    use super::*;
    use crate::daemon::RunOptions;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn resolved(text: &str, args: &[&str]) -> Result<RunOptions, String> {
        let file = file(text);
        let args: Vec<OsString> = ["scx_vnuma"].iter().chain(args).map(OsString::from).collect();
        let given = built_command().try_get_matches_from(&args).unwrap();
        let matches = with_file(&args, &given, file.path())
            .map_err(|err| err.to_string().replace(&file.path().display().to_string(), "FILE"))?;
        Ok(Cli::from_arg_matches(&matches).unwrap().run)
    }

    #[test]
    fn keys_are_the_flags_names_and_values_go_through_their_parsers() {
        let text = "policy = \"fine\"\norder = 2\nbad = 0.1\nno-probe = true\ndry-run = false\nverbose = 2\n\
                    select = [\"uid=1000\", \"comm=make\"]\nmove-irqs = true\nhost = \"0=http://a:9100\"\nhosts = \"hosts.toml\"";
        let options = resolved(text, &[]).unwrap();
        assert_eq!((options.policy.as_str(), options.bad, options.verbose), ("fine", 0.1, 2));
        assert_eq!(options.order, crate::policy::Order::Cpu);
        assert!(options.no_probe && !options.dry_run);
        assert_eq!(options.select.len(), 2);
        assert_eq!((options.move_irqs, options.host.len()), (Some(true), 1));
        let hosts = options.hosts.unwrap();
        assert!(hosts.is_absolute() && hosts.ends_with("hosts.toml"), "it is beside the file: {hosts:?}");
    }

    #[test]
    fn flags_win_also_over_keys_that_exclude_them() {
        let options = resolved("interval = \"2s\"\nall = true", &["--interval", "1s", "--select", "uid=7"]).unwrap();
        assert_eq!((options.interval.as_secs(), options.all), (1, false));
        let options = resolved("select = [\"uid=1\", \"uid=2\"]", &["--select", "uid=7"]).unwrap();
        assert_eq!(options.select.len(), 1);
        assert!(resolved("select = [\"uid=1\"]", &["--all"]).unwrap().select.is_empty());
    }

    #[test]
    fn mistakes_are_named_with_file_line_key_and_remedy() {
        for (text, message) in [
            (
                "interval = \"1s\"\nbad_rounds = 3",
                "FILE:2: there is no option 'bad_rounds'; did you mean 'bad-rounds'?",
            ),
            ("\npolcy = \"fine\"", "FILE:2: there is no option 'polcy'; did you mean 'policy'?"),
            ("colour = true", "FILE:1: there is no option 'colour'; `scx_vnuma --help` lists"),
            ("interval = 2", "FILE:1: interval: takes a duration such as 100ms or 2s"),
            ("\n\npolicy = \"finest\"", "FILE:3: policy: invalid value 'finest'"),
            ("dry-run = \"yes\"", "FILE:1: dry-run: takes true or false"),
            ("bad = [0.1, 0.2]", "FILE:1: bad: takes one value, not a list"),
            ("select = [\n\"uid=1\",\n\"nice=3\"]", "FILE:1: select: "),
            ("bad = ", "FILE:1: "),
            ("monitor = 1", "FILE:1: 'monitor' is a flag only"),
            ("[host]\nnode = 1", "FILE:1: host: takes a string or a number, not a table"),
            ("all = true\nselect = [\"uid=1\"]", "FILE: the argument '--all' cannot be used with"),
            ("memory-rate = 1000", "FILE: the following required arguments"),
        ] {
            let error = resolved(text, &[]).unwrap_err();
            assert!(error.starts_with(message) && error.lines().count() == 1, "{text}: {error}");
        }
        let missing = check_file(Path::new("/nonexistent/config.toml")).unwrap_err().to_string();
        assert!(missing.starts_with("/nonexistent/config.toml: it must be a readable file"), "{missing}");
    }

    #[test]
    fn every_option_of_scheduling_can_be_in_a_file() {
        let command = built_command();
        for arg in command.get_arguments().filter(|arg| long(arg).is_some()) {
            let name = long(arg).unwrap();
            let value = match (arg.get_action(), name) {
                (ArgAction::SetTrue, _) => "true",
                (ArgAction::Count, _) => "1",
                (_, "policy") => "\"coarse\"",
                (_, "group") => "\"cgroup\"",
                (_, "interval" | "cool-down") => "\"3s\"",
                (_, "probe" | "page-cost") => "\"20ms\"",
                (_, "select") => "[\"uid=3\"]",
                (_, "host" | "dsm") => "[\"1=http://a:9100\"]",
                (_, "slo") => "[\"http://a#p99<5ms\"]",
                (_, "hosts" | "log" | "slos") => "\"a\"",
                (_, "move-irqs" | "move-workqueues") => "true",
                (_, "stats") => "0.5",
                (_, "metrics") => "9100",
                _ => "1",
            };
            let file =
                file(&format!("{name} = {value}\n{}", if name == "memory-rate" { "move-memory = true" } else { "" }));
            if let Err(err) = check_file(file.path()) {
                panic!("{name} = {value}: {err}");
            }
        }
    }
}
