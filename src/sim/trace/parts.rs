//! Expands arguments (files, globs, directories) to the parts of a table, in the order in which they are read.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Oddities, Oddity, OddityKind};
use crate::sim::error::SimError;

/// The parts of a table, each once, in natural order of their names: `part-2` before `part-10`. The order of the
/// arguments doesn't matter, except that of pipes: their names mean nothing, and they come last.
///
/// A directory stands for its `*.csv` and `*.csv.gz` files, or those in its subdirectory named after the table.
pub fn expand(patterns: &[String], table: &str, oddities: &mut Oddities) -> Result<Vec<PathBuf>, SimError> {
    let mut parts = BTreeSet::new();
    let mut pipes = Vec::new();
    for pattern in patterns {
        for part in matches(pattern, table)? {
            if !part.is_file() {
                // The path that a `/dev/fd/63` leads to can't be opened, so it isn't followed.
                if !pipes.contains(&part) {
                    pipes.push(part);
                }
                continue;
            }
            let same = part.canonicalize().map_err(SimError::file(&part))?;
            parts.insert((part.file_name().map(|name| Natural(name.to_owned())), same));
        }
    }
    let plain: BTreeSet<PathBuf> = parts.iter().map(|(_, path)| path.clone()).collect();
    let (mut kept, twice): (Vec<_>, Vec<_>) = parts
        .into_iter()
        .map(|(_, path)| path)
        .partition(|path| path.extension().is_none_or(|ext| ext != "gz") || !plain.contains(&path.with_extension("")));
    for path in twice {
        oddities.count(OddityKind::PartTwice, || Oddity {
            kind: OddityKind::PartTwice,
            path,
            line: 0,
            what: "the same part exists without .gz".to_owned(),
        });
    }
    note_missing(&kept, table, oddities);
    kept.append(&mut pipes);
    Ok(kept)
}

/// Note tables whose parts are named `part-00007-of-00500` and are not all there.
fn note_missing(parts: &[PathBuf], table: &str, oddities: &mut Oddities) {
    let mut sets: BTreeMap<SetOfParts<'_>, (BTreeSet<u64>, &Path)> = BTreeMap::new();
    for part in parts {
        if let Some((set, number)) = part.file_name().and_then(|name| SetOfParts::of(name.as_bytes())) {
            sets.entry(set).or_insert_with(|| (BTreeSet::new(), part)).0.insert(number);
        }
    }
    for (set, (numbers, first)) in sets {
        let given = numbers.len() as u64;
        if given >= set.of {
            continue;
        }
        oddities.count(OddityKind::MissingParts, || Oddity {
            kind: OddityKind::MissingParts,
            path: first.to_owned(),
            line: 0,
            what: format!("{given} of {} parts of {table}; number {} is missing", set.of, first_missing(&numbers)),
        });
    }
}

/// The least number that isn't one of these.
fn first_missing(numbers: &BTreeSet<u64>) -> u64 {
    // Whether parts are numbered from 0 or from 1 shows in the first one, if it is there.
    let from = u64::from(!numbers.contains(&0) && numbers.contains(&1));
    (from..).find(|number| !numbers.contains(number)).expect("BUG: a set has all numbers")
}

/// What the parts of a table have in common: what is in front of the number, and how many there are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SetOfParts<'a> {
    before: &'a [u8],
    of: u64,
}

impl<'a> SetOfParts<'a> {
    /// The set of a name such as `part-00007-of-00500.csv.gz`, and the part's number.
    fn of(name: &'a [u8]) -> Option<(Self, u64)> {
        const OF: &[u8] = b"-of-";

        let at = name.windows(OF.len()).rposition(|window| window == OF)?;
        let digits = |bytes: &'a [u8]| {
            let text = std::str::from_utf8(bytes).ok()?;
            text.parse().ok().filter(|_| bytes.first().is_some_and(u8::is_ascii_digit))
        };
        let after = &name[at + OF.len()..];
        let of = digits(&after[..after.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(after.len())])?;
        let start = name[..at].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |before| before + 1);
        Some((SetOfParts { before: &name[..start], of }, digits(&name[start..at])?))
    }
}

/// The files that one argument stands for, at least one.
fn matches(pattern: &str, table: &str) -> Result<Vec<PathBuf>, SimError> {
    let path = Path::new(pattern);
    let mut found = Vec::new();
    if path.is_dir() {
        found = parts_in(path)?;
        if found.is_empty() && path.join(table).is_dir() {
            found = parts_in(&path.join(table))?;
        }
    } else if path.exists() {
        found.push(path.to_owned());
    } else {
        let matches =
            glob::glob(pattern).map_err(|source| SimError::Pattern { pattern: pattern.to_owned(), source })?;
        for entry in matches {
            let entry =
                entry.map_err(|error| SimError::File { path: error.path().to_owned(), source: error.into() })?;
            if entry.is_dir() {
                found.extend(parts_in(&entry)?);
            } else {
                found.push(entry);
            }
        }
    }
    if found.is_empty() {
        return Err(SimError::NoFile { pattern: pattern.to_owned() });
    }
    Ok(found)
}

fn parts_in(directory: &Path) -> Result<Vec<PathBuf>, SimError> {
    let mut parts = Vec::new();
    for entry in directory.read_dir().map_err(SimError::file(directory))? {
        let path = entry.map_err(SimError::file(directory))?.path();
        let name = path.to_string_lossy();
        if (name.ends_with(".csv") || name.ends_with(".csv.gz")) && path.is_file() {
            parts.push(path);
        }
    }
    Ok(parts)
}

/// A name in natural order: that of its bytes, but digits that follow each other count as one number.
#[derive(Debug, PartialEq, Eq)]
struct Natural(OsString);

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        let (whole_a, whole_b) = (self.0.as_bytes(), other.0.as_bytes());
        let (mut a, mut b) = (whole_a, whole_b);
        while let (Some(first_a), Some(first_b)) = (a.first(), b.first()) {
            let order = if first_a.is_ascii_digit() && first_b.is_ascii_digit() {
                number(&mut a).cmp(&number(&mut b))
            } else {
                (a, b) = (&a[1..], &b[1..]);
                first_a.cmp(first_b)
            };
            if order.is_ne() {
                return order;
            }
        }
        // `part-2` and `part-02` are equal as numbers, but not the same part.
        a.len().cmp(&b.len()).then_with(|| whole_a.cmp(whole_b))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Split the number off that a name begins with: how many digits it has without leading zeros, and these digits. A number
/// may be of any length.
fn number<'a>(name: &mut &'a [u8]) -> (usize, &'a [u8]) {
    let is_not_digit = |byte: &u8| !byte.is_ascii_digit();
    let (digits, rest) = name.split_at(name.iter().position(is_not_digit).unwrap_or(name.len()));
    *name = rest;
    let digits = &digits[digits.iter().take_while(|&&digit| digit == b'0').count()..];
    (digits.len(), digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about parts with these names.
    fn missing(names: &[&str]) -> Vec<String> {
        let mut oddities = Oddities::default();
        note_missing(&names.iter().map(PathBuf::from).collect::<Vec<_>>(), "task_usage", &mut oddities);
        oddities.lines().collect()
    }

    #[test]
    fn parts_that_are_missing_are_counted_once_for_each_table() {
        let said = missing(&["d/part-00007-of-00500.csv.gz"]);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("1 tables of which parts are missing"), "{}", said[0]);
        let place = "d/part-00007-of-00500.csv.gz: 1 of 500 parts of task_usage; number 0 is missing";
        assert!(said[0].contains(place), "{}", said[0]);
        assert!(missing(&["part-0-of-3", "part-2-of-3"])[0].contains("2 of 3 parts of task_usage; number 1 is"));
        assert!(missing(&["part-1-of-3", "part-2-of-3"])[0].contains("number 3 is"));
        assert!(missing(&["a-0-of-1", "part-0-of-2"])[0].contains("1 of 2 parts"));
        // Two halves of different wholes are no whole.
        assert!(missing(&["part-0-of-2", "part-1-of-3"])[0].starts_with("2 tables"));
    }

    #[test]
    fn whole_tables_and_names_without_a_count_are_not_odd() {
        for names in [
            &["part-00000-of-00001.csv.gz"][..],
            &["part-0-of-2.csv", "part-00001-of-00002.csv.gz"],
            &["part-1-of-2", "part-2-of-2"],
            &["part-00007.csv", "part-of-fun.csv", "-of-", "x-of-3", "7-of-", "list-of-3"],
            &["part-0-of-0"],
            &["part-0-of-99999999999999999999"],
        ] {
            assert_eq!(missing(names), [""; 0], "{names:?}");
        }
    }

    #[test]
    fn numbers_in_names_count_by_their_value() {
        let names = [
            "part",
            "part-0.csv",
            "part-1.csv",
            "part-1a",
            "part-1b0",
            "part-002.csv",
            "part-2.csv",
            "part-2.csv.gz",
            "part-10.csv",
            "part-99999999999999999999998.csv",
            "part-99999999999999999999999.csv",
            "part-a.csv",
            "part-a2b1.csv",
            "part-a2b10.csv",
            "part.csv",
            "part2.csv",
        ];
        let mut sorted: Vec<Natural> = names.iter().rev().map(|name| Natural(name.into())).collect();
        sorted.sort();
        assert_eq!(sorted, names.map(|name| Natural(name.into())));
    }
}
