//! No damage of a prepared trace goes unnoticed.

use bytes::Bytes;

use super::read::STOPPED;
use super::read_from;
use super::tests::{earlier, earlier_with, is_same, trace, written};
use crate::sim::mutants::{check, Fate};
use crate::sim::sample;
use crate::sim::trace::{OddityKind, Trace};

/// A dozen tasks of the sample, with what the sample says of itself.
fn of_the_sample() -> Trace {
    let mut trace = sample::load(&|task| task.job % 64 == 1).unwrap();
    trace.tasks.truncate(12);
    trace
}

/// The trace, if it is read. A panic of the reader, which is caught, would still be printed.
fn read(bytes: Vec<u8>) -> Option<Trace> {
    let read = read_from("mutant".as_ref(), Bytes::from(bytes), &|_| true, &|| {});
    read.inspect_err(|error| assert!(!error.to_string().contains(STOPPED), "the reader panicked")).ok()
}

#[test]
fn no_mutant_of_a_prepared_trace_changes_unnoticed() {
    let (lens, repetition, definition) = ([2, 1], [0, 1, 0], [1; 3]);
    let files = [
        written(&trace()),
        written(&of_the_sample()),
        earlier(lens, repetition, definition),
        earlier_with(true, lens, repetition, definition),
    ];
    let good: Vec<Trace> = files.iter().map(|file| read(file.clone()).unwrap()).collect();
    assert_eq!(good[1].tasks.len(), 12);
    check(&files, |file, bytes| match read(bytes) {
        None => Fate::Refused,
        Some(found) if is_same(&found, &good[file]) => Fate::Same,
        Some(found) if found.oddities.counts().any(|(kind, _)| kind == OddityKind::Unsummed) => Fate::Reported,
        Some(_) => Fate::Changed,
    });
}
