//! Checks of selectors and task records on any input.

use std::io::{self, Read};
use std::path::Path;

use super::glob::Pattern;
use super::{read_tasks, Selector};

/// A selector, and a name or path on the second line to match it with. A printed selector is the same selector, and a
/// pattern that is refused as one that can't match doesn't match.
pub(crate) fn selector(bytes: &[u8]) {
    let (text, name) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &b""[..]),
    };
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(selector) = text.parse::<Selector>() {
        assert_eq!(selector.to_string(), text);
        assert!(selector.to_string().parse::<Selector>().is_ok());
    }
    if let Some(glob) = text.strip_prefix("comm=") {
        let comm = &name[..name.len().min(15)];
        match (Pattern::of_names(glob), Pattern::of_any(glob)) {
            (Ok(pattern), _) => _ = pattern.matches_name(comm),
            (Err(why), Ok(any)) if why.contains("can't match") => {
                assert!(!any.matches_name(comm), "{glob} matches {comm:?}");
            }
            _ => {}
        }
    }
    if let (Some(glob), Ok(path)) = (text.strip_prefix("cgroup="), std::str::from_utf8(name)) {
        if let Ok(pattern) = Pattern::of_cgroups(glob) {
            pattern.matches_path(Path::new(path));
            // A path without special characters matches itself, and with `/**` also itself.
            if !glob.contains(['*', '?', '[', ']', '{', '}']) {
                assert!(pattern.matches_path(Path::new(glob)), "{glob}");
                let below = Pattern::of_cgroups(&format!("{}/**", glob.trim_end_matches('/'))).expect("a valid glob");
                assert!(glob == "/" || below.matches_path(Path::new(glob)), "{glob}");
            }
        }
    }
}

/// Returns its bytes in reads of changing length.
struct Pieces<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step = self.step % 97 + 1;
        let len = self.step.min(self.bytes.len()).min(buffer.len());
        let (now, rest) = self.bytes.split_at(len);
        buffer[..len].copy_from_slice(now);
        self.bytes = rest;
        Ok(len)
    }
}

/// What the task iterator returned. However it is divided into reads, the records are the same.
pub(crate) fn task_records(bytes: &[u8]) {
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let is_whole = read_tasks(bytes, &mut whole).is_ok();
    assert_eq!(is_whole, read_tasks(Pieces { bytes, step: bytes.len() }, &mut pieces).is_ok());
    assert_eq!(whole, pieces);
    assert!(whole.len() * 64 <= bytes.len().max(64), "{} tasks of {} bytes", whole.len(), bytes.len());
    for task in &whole {
        assert!(task.comm_bytes().len() <= 16 && task.comm().chars().count() <= 16);
    }
}
