//! Selectors (`--select`): which tasks are migratable.

use std::fmt;
use std::str::FromStr;

use super::cgroups::CgroupPaths;
use super::glob::Pattern;
use super::{policy, TaskRecord};

/// One `--select`. A task is migratable if any selector matches it. Displayed as it was given.
#[derive(Clone, Debug)]
pub struct Selector {
    text: String,
    criterion: Criterion,
}

/// What a selector goes by.
#[derive(Clone, Debug)]
enum Criterion {
    /// The task's cgroup path, from the root of the v2 hierarchy, matches: `cgroup=/batch/**`.
    Cgroup(Pattern),
    /// The task's name matches: `comm=make*`.
    Comm(Pattern),
    /// The task has this effective user id: `uid=1000`.
    Uid(u32),
    /// The task's nice value is at least this: `nice>=1`.
    NiceAtLeast(i32),
    /// The task has one of these policies: `policy=batch|idle`.
    Policy(Vec<u32>),
}

/// The selectors used without `--select` and `--all`.
pub const DEFAULT_SELECTORS: [&str; 2] = ["nice>=1", "policy=batch|idle"];

/// A selector that can't be parsed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("bad selector '{text}': {reason}")]
pub struct SelectorError {
    text: String,
    reason: String,
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_string();
        match parse(&text) {
            Ok(criterion) => Ok(Selector { text, criterion }),
            Err(reason) => Err(SelectorError { text, reason }),
        }
    }
}

fn parse(text: &str) -> Result<Criterion, String> {
    if let Some(nice) = text.strip_prefix("nice>=") {
        return match nice.parse() {
            Ok(nice @ -20..=19) => Ok(Criterion::NiceAtLeast(nice)),
            _ => Err("nice>= takes a number from -20 to 19".into()),
        };
    }
    let Some((key, value)) = text.split_once('=') else {
        return Err("expected cgroup=GLOB, comm=GLOB, uid=N, nice>=N or policy=batch|idle".into());
    };
    match key {
        "cgroup" => Pattern::of_cgroups(value).map(Criterion::Cgroup),
        "comm" => Pattern::of_names(value).map(Criterion::Comm),
        "uid" => parse_uid(value).map(Criterion::Uid),
        "policy" => value.split('|').map(parse_policy).collect::<Result<_, _>>().map(Criterion::Policy),
        _ => Err(unknown_key(key)),
    }
}

fn unknown_key(key: &str) -> String {
    /// Names that are less alike are no help.
    const ALIKE: f64 = 0.8;
    const KEYS: [&str; 5] = ["cgroup", "comm", "uid", "nice", "policy"];

    let name = key.trim_end_matches(['<', '>']);
    let likeness = |known: &str| strsim::jaro_winkler(known, name);
    let nearest = KEYS.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = match nearest.filter(|known| likeness(known) >= ALIKE) {
        Some("nice") => "; did you mean 'nice>='?".to_owned(),
        Some(known) => format!("; did you mean '{known}='?"),
        None => String::new(),
    };
    format!("'{key}' is not one of cgroup, comm, uid, nice, policy{hint}")
}

fn parse_uid(text: &str) -> Result<u32, String> {
    /// Stands for no user in system calls, so no task has it.
    const NOBODY_AT_ALL: u32 = u32::MAX;

    match text.parse() {
        Ok(uid) if uid != NOBODY_AT_ALL => Ok(uid),
        _ => Err("uid= takes a number, as `id -u NAME` prints it".into()),
    }
}

fn parse_policy(name: &str) -> Result<u32, String> {
    match name {
        "normal" | "other" => Ok(policy::NORMAL),
        "batch" => Ok(policy::BATCH),
        "idle" => Ok(policy::IDLE),
        "fifo" | "rr" | "deadline" => Err(format!("'{name}' tasks are never migrated; use normal, batch or idle")),
        _ => Err(format!("'{name}' is not one of normal, batch, idle")),
    }
}

impl Selector {
    /// Return true if `task` matches. A migratable task is matched by its own policy, not by SCHED_EXT.
    pub fn matches(&self, task: &TaskRecord, cgroups: &mut CgroupPaths) -> bool {
        match &self.criterion {
            Criterion::Cgroup(glob) => cgroups.path(task.cgroup_id).is_some_and(|path| glob.matches_path(path)),
            Criterion::Comm(glob) => glob.matches_name(task.comm_bytes()),
            Criterion::Uid(uid) => task.uid == *uid,
            Criterion::NiceAtLeast(nice) => task.nice >= *nice,
            Criterion::Policy(policies) => policies.contains(&task.own_policy),
        }
    }

    /// Return true if it goes by the paths of cgroups.
    pub fn needs_cgroup_paths(&self) -> bool {
        matches!(self.criterion, Criterion::Cgroup(_))
    }

    /// The selector as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::task::tests::task;
    use super::*;

    fn selects(selector: &str, task: &TaskRecord) -> bool {
        selector.parse::<Selector>().unwrap().matches(task, &mut CgroupPaths::default())
    }

    #[test]
    fn each_selector_matches_what_it_names_and_nothing_else() {
        let make = TaskRecord { uid: 1000, nice: 5, own_policy: policy::BATCH, ..task(7, "make") };
        for yes in ["comm=ma*", "comm=make", "uid=1000", "nice>=5", "nice>=-20", "policy=batch", "policy=idle|batch"] {
            assert!(selects(yes, &make), "{yes}");
        }
        for no in ["comm=cmake", "comm=mak", "uid=0", "nice>=6", "policy=idle", "policy=normal"] {
            assert!(!selects(no, &make), "{no}");
        }
    }

    #[test]
    fn a_migratable_task_is_matched_by_its_own_policy() {
        let selected = TaskRecord { policy: policy::EXT, own_policy: policy::IDLE, ..task(7, "sh") };
        assert!(selects("policy=idle", &selected));
    }

    #[test]
    fn a_name_that_is_cut_within_a_character_matches_by_its_bytes() {
        let cut = task(7, &"hintergrundjobü".as_bytes()[..15]);
        for yes in ["comm=hintergrundjob*", "comm=*job*", "comm=hintergrundjob?"] {
            assert!(selects(yes, &cut), "{yes}");
        }
        assert!(!selects("comm=hintergrundjob", &cut));
    }

    #[test]
    fn the_default_selectors_are_valid() {
        for text in DEFAULT_SELECTORS {
            text.parse::<Selector>().unwrap();
        }
    }

    #[test]
    fn a_bad_selector_is_refused_with_the_remedy() {
        for (text, remedy) in [
            ("make", "expected cgroup=GLOB"),
            ("nice>=x", "-20 to 19"),
            ("nice>=20", "-20 to 19"),
            ("nice=3", "not one of cgroup, comm, uid, nice, policy; did you mean 'nice>='?"),
            ("niec>=1", "did you mean 'nice>='?"),
            ("cgruop=/batch", "did you mean 'cgroup='?"),
            ("tgid=7", "not one of cgroup, comm, uid, nice, policy"),
            ("uid=bob", "id -u"),
            ("uid=4294967295", "id -u"),
            ("comm=systemd-journald", "first 15 bytes"),
            ("cgroup=/batch/", "can't match"),
            ("policy=fifo", "never migrated"),
            ("policy=bacth", "not one of normal, batch, idle"),
            ("cgroup=batch", "from the root"),
            ("comm=[", "unclosed"),
        ] {
            let message = text.parse::<Selector>().unwrap_err().to_string();
            assert!(message.contains(text) && message.contains(remedy), "{message}");
        }
    }
}
