//! Oddities: errors in a trace that don't make it unusable. They are counted, or fatal with `--strict`.

use std::fmt;
use std::path::PathBuf;

use crate::sim::error::SimError;

/// The kinds of oddity, and how each is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OddityKind {
    /// A row has too few or too many fields. It is skipped.
    FieldCount,
    /// A field is not a number, or out of range. The row is skipped.
    Number,
    /// A row has an earlier time than the row before it, or a part than the part before it. It is used.
    TimeBackwards,
    /// A usage window ends before it starts. The row is skipped.
    WindowBackwards,
    /// The task of a usage row has no event. The row counts for the trace's span only.
    UsageWithoutEvents,
    /// A part exists both plain and compressed. The plain one is used.
    PartTwice,
    /// A part has no row at all. It adds nothing.
    EmptyPart,
    /// A table's parts say how many there are, and some are missing. The others are used.
    MissingParts,
    /// A usage window is many times as long as those of the published trace. It is used.
    LongWindow,
    /// A task requests or uses more than the largest machine has. The row is used.
    AboveMachine,
    /// A row of another format says what the model has no place for. It is skipped.
    Unmapped,
    /// A prepared trace of an earlier release has no checksums, so that a change of it would go unnoticed. It is used.
    Unsummed,
}

impl OddityKind {
    const ALL: [OddityKind; 12] = [
        OddityKind::FieldCount,
        OddityKind::Number,
        OddityKind::TimeBackwards,
        OddityKind::WindowBackwards,
        OddityKind::UsageWithoutEvents,
        OddityKind::PartTwice,
        OddityKind::EmptyPart,
        OddityKind::MissingParts,
        OddityKind::LongWindow,
        OddityKind::AboveMachine,
        OddityKind::Unmapped,
        OddityKind::Unsummed,
    ];

    fn consequence(self) -> &'static str {
        match self {
            OddityKind::FieldCount => "rows with a wrong number of fields, skipped",
            OddityKind::Number => "rows with a field that is not a number in its range, skipped",
            OddityKind::TimeBackwards => "rows or parts whose time is before the row above's, used",
            OddityKind::WindowBackwards => "usage windows that end before they start, skipped",
            OddityKind::UsageWithoutEvents => "usage rows of tasks without events, used for the trace's span only",
            OddityKind::PartTwice => "parts found both plain and compressed, the compressed ones skipped",
            OddityKind::EmptyPart => "parts without a row, which may not have been fetched or written",
            OddityKind::MissingParts => "tables of which parts are missing, so all figures are those of the rest",
            OddityKind::LongWindow => "usage windows of more than an hour, used",
            OddityKind::AboveMachine => "rows with more than the largest machine has, used",
            OddityKind::Unmapped => "rows for which the model has no place, skipped",
            OddityKind::Unsummed => "prepared traces without checksums, used",
        }
    }
}

/// An oddity and its place.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Oddity {
    /// Kind of the oddity.
    pub kind: OddityKind,
    /// The path of the file.
    pub path: PathBuf,
    /// Line number, from 1; 0 if the oddity is the file itself.
    pub line: u64,
    /// The field, by its name in the published schema, and what is wrong with it.
    pub what: String,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.what),
        }
    }
}

/// The number of oddities of each kind, and the first of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Oddities {
    met: Vec<(Oddity, u64)>,
}

impl Oddities {
    /// Count an oddity. Only the first of each kind is kept, so `oddity` is called only then.
    pub fn count(&mut self, kind: OddityKind, oddity: impl FnOnce() -> Oddity) {
        match self.met.iter_mut().find(|(first, _)| first.kind == kind) {
            Some((_, count)) => *count += 1,
            None => self.met.push((oddity(), 1)),
        }
    }

    /// Add to what is told about the first oddity of a kind, once all of the input has been read.
    pub(super) fn explain(&mut self, kind: OddityKind, more: impl FnOnce() -> String) {
        if let Some((first, _)) = self.met.iter_mut().find(|(first, _)| first.kind == kind) {
            first.what += &more();
        }
    }

    /// Count an oddity, or fail with it if the trace is read strictly.
    pub(super) fn note(&mut self, oddity: Oddity, strict: bool) -> Result<(), SimError> {
        if strict {
            return Err(SimError::Strict(oddity));
        }
        self.count(oddity.kind, || oddity);
        Ok(())
    }

    /// Add the oddities of a later part of the input.
    pub fn merge(&mut self, later: Oddities) {
        for (oddity, count) in later.met {
            match self.met.iter_mut().find(|(first, _)| first.kind == oddity.kind) {
                Some((_, sum)) => *sum += count,
                None => self.met.push((oddity, count)),
            }
        }
    }

    /// Add those oddities of another pass over the same files that depend on which tasks it keeps.
    pub fn merge_of_tasks(&mut self, mut later: Oddities) {
        later.met.retain(|(oddity, _)| oddity.kind == OddityKind::UsageWithoutEvents);
        self.merge(later);
    }

    /// Forget those oddities that are about single tasks.
    pub fn forget_those_of_tasks(&mut self) {
        self.met.retain(|(oddity, _)| oddity.kind != OddityKind::UsageWithoutEvents);
    }

    /// The first oddity found, if any.
    pub fn first(&self) -> Option<&Oddity> {
        self.met.first().map(|(oddity, _)| oddity)
    }

    /// Counts by kind, in a fixed order.
    pub fn counts(&self) -> impl Iterator<Item = (OddityKind, u64)> + '_ {
        OddityKind::ALL.into_iter().filter_map(|kind| {
            let (_, count) = self.met.iter().find(|(first, _)| first.kind == kind)?;
            Some((kind, *count))
        })
    }

    /// One line per kind: the number, how they were handled, and the first.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        OddityKind::ALL.into_iter().filter_map(|kind| {
            let (first, count) = self.met.iter().find(|(first, _)| first.kind == kind)?;
            Some(format!("{count} {} (first: {first})", kind.consequence()))
        })
    }
}
