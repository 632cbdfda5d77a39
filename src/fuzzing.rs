//! What the targets of `fuzz/` check: for each parser of input from outside, a function that takes any bytes and panics if
//! a promise is broken. Compiled for tests, which run it on the seeds, and with the feature `fuzzing`.

use crate::act;
use crate::cell::Move;
use crate::decision_log::{LogReader, LogWriter, LoggedRound};
use crate::linux::CpuSet;
use crate::policy::{Decider, GuardOptions, PolicyName, PolicySettings, World};
use crate::report;
use crate::sense;
use crate::sim::advise::{advise, Judged};
use crate::sim::replay::replay;
use crate::sim::what_if::what_if;
use crate::work;

/// A target: its name, which is also that of its folder of seeds, and its check.
pub struct Target {
    /// As in `cargo fuzz run NAME`.
    pub name: &'static str,
    /// Panics if a promise is broken.
    pub check: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 14] = [
    Target { name: "metrics_text", check: sense::fuzzing::metrics_text },
    Target { name: "host_option", check: sense::fuzzing::host_option },
    Target { name: "hosts_file", check: sense::fuzzing::hosts_file },
    Target { name: "slo_option", check: sense::slo_fuzzing::slo_option },
    Target { name: "slos_file", check: sense::slo_fuzzing::slos_file },
    Target { name: "slo_answer", check: sense::slo_fuzzing::slo_answer },
    Target { name: "selector", check: work::fuzzing::selector },
    Target { name: "cpu_list", check: cpu_list },
    Target { name: "undo_log", check: act::fuzzing::undo_log },
    Target { name: "task_records", check: work::fuzzing::task_records },
    Target { name: "decision_log", check: decision_log },
    Target { name: "trace_csv", check: crate::sim::fuzzing::trace_csv },
    Target { name: "parquet", check: crate::sim::fuzzing::parquet },
    Target { name: "result_json", check: crate::sim::fuzzing::result_json },
];

/// Run the check of the target with this name.
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("BUG: the target has no check");
    (target.check)(bytes);
}

/// The kernel's two text forms of a set of CPUs. A set that is printed is parsed to the same set.
fn cpu_list(bytes: &[u8]) {
    /// Ids are below this, so a set takes a few megabytes at most.
    const IDS: usize = 100_000;

    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for cpus in [CpuSet::from_list(text), CpuSet::from_mask(text)].into_iter().flatten() {
        assert!(cpus.len() <= IDS && cpus.iter().all(|cpu| (cpu as usize) < IDS));
        // The largest sets take a millisecond each, and show nothing more.
        if cpus.len() > IDS / 50 {
            continue;
        }
        assert_eq!(CpuSet::from_list(&cpus.to_string()).as_ref(), Ok(&cpus));
        assert_eq!(CpuSet::from_mask(&cpus.to_mask()).as_ref(), Ok(&cpus));
        let json = serde_json::to_string(&cpus).expect("BUG: it is plain data");
        assert_eq!(serde_json::from_str::<CpuSet>(&json).ok(), Some(cpus));
    }
}

/// A decision log. Its rounds are the same after they were written again, it has a page and advice, and every policy decides in the rounds;
/// a policy may only move groups that the round has, to nodes that it has.
fn decision_log(bytes: &[u8]) {
    let Ok(log) = LogReader::new(bytes) else { return };
    let header = log.header.clone();
    let rounds: Vec<LoggedRound> = log.map_while(Result::ok).collect();
    let mut written = Vec::new();
    let mut writer = LogWriter::new(&mut written, &header).expect("BUG: writing to a Vec fails");
    for round in &rounds {
        let LoggedRound { round, view, plan, observed } = round;
        writer.append(*round, view, plan, observed.as_deref()).expect("BUG: writing to a Vec fails");
    }
    let log = LogReader::new(written.as_slice()).expect("a written log is read");
    assert_eq!(log.header, header);
    let again: Vec<LoggedRound> = log.map(|round| round.expect("a written round is read")).collect();
    assert_eq!(again, rounds);
    let page = report::page_of(written.as_slice(), "it", None).expect("a written log is read");
    assert_eq!(page.is_some(), !rounds.is_empty());
    for policy in PolicyName::all(World::Simulated) {
        let decider = || {
            let guards = header.guards.unwrap_or(GuardOptions::with_cool_down(3));
            Decider::new(policy.make(&PolicySettings::default()), Some(guards))
        };
        let mut replaying = decider();
        for round in rounds.clone() {
            let view = round.view.clone();
            let plan = replay(round, Some(&mut replaying)).replayed_plan;
            for Move { group, from, to } in plan.moves {
                assert!(view.groups.iter().any(|it| it.id == group && it.node == from), "{policy} moves {group:?}");
                assert!(view.node(to).is_some(), "{policy} moves to {to:?}");
            }
        }
        what_if(rounds.clone(), Some(decider()));
    }
    // It simulates some ten settings twice.
    if let Ok(advice) = advise(&header, &rounds[..rounds.len().min(50)]) {
        let is_known = |judged: &Judged| judged.got_cpus[0] <= judged.got_cpus[1];
        assert!(advice.settings.iter().all(is_known), "{advice:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn fuzz() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
    }

    #[test]
    fn every_seed_passes_its_check() {
        for Target { name, check } in TARGETS {
            let folder = fuzz().join("seeds").join(name);
            let seeds: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(!seeds.is_empty(), "{name} has no seeds");
            for seed in seeds {
                println!("{}", seed.display());
                check(&std::fs::read(seed).unwrap());
            }
        }
    }

    #[test]
    fn every_check_has_a_target_and_every_target_a_check() {
        let files = fuzz().join("targets").read_dir().unwrap();
        let targets: BTreeSet<String> =
            files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(targets, TARGETS.iter().map(|target| target.name.to_owned()).collect());
    }
}
