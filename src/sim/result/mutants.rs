//! No damage of a result goes unnoticed.

use std::path::Path;

use super::check::tests::shard;
use super::RunResult;
use crate::sim::mutants::{check, Fate};

fn read(bytes: &[u8]) -> Option<RunResult> {
    RunResult::parse(Path::new("mutant.json"), bytes).ok()
}

#[test]
fn no_mutant_of_a_shard_changes_unnoticed() {
    let files: Vec<Vec<u8>> = (0..2).map(|index| serde_json::to_vec(&shard(index)).unwrap()).collect();
    let good: Vec<RunResult> = files.iter().map(|file| read(file).unwrap()).collect();
    check(&files, |file, bytes| match read(&bytes) {
        None => Fate::Refused,
        Some(found) if found == good[file] => Fate::Same,
        Some(_) => Fate::Changed,
    });
}
