//! Globs of selectors.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

/// The bytes of a task's name that the kernel keeps, `TASK_COMM_LEN` - 1 (include/linux/sched.h).
const COMM_BYTES_MAX: usize = 15;

/// A glob of task names or of cgroup paths.
#[derive(Clone, Debug)]
pub struct Pattern(GlobMatcher);

impl Pattern {
    /// A glob of names of tasks. The error says why it is invalid or can't match.
    pub fn of_names(text: &str) -> Result<Self, String> {
        let pattern = Pattern(compile(text)?);
        if text.is_empty() {
            return Err("a name has at least one byte".into());
        }
        if fewest_bytes(text) > COMM_BYTES_MAX {
            return Err(format!(
                "it can't match, because the kernel keeps the first {COMM_BYTES_MAX} bytes of a name only; `ps -eo comm` \
                 shows them"
            ));
        }
        Ok(pattern)
    }

    /// A glob of names that may be one that can't match.
    #[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
    pub(crate) fn of_any(text: &str) -> Result<Self, String> {
        Ok(Pattern(compile(text)?))
    }

    /// A glob of cgroup paths from the hierarchy's root. The error says why it is invalid or can't match.
    pub fn of_cgroups(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("a cgroup path starts from the root, as in cgroup=/batch/**".into());
        }
        let is_impossible = |part: &str| matches!(part, "" | "." | "..");
        if text != "/" && text[1..].split('/').any(is_impossible) {
            return Err("it can't match, because no path of a cgroup ends in '/' or has '//', '.' or '..' in it".into());
        }
        Ok(Pattern(compile(&with_roots_of_subtrees(text))?))
    }

    /// Return true if the name matches.
    pub fn matches_name(&self, comm: &[u8]) -> bool {
        self.0.is_match(OsStr::from_bytes(comm))
    }

    /// Return true if the path matches.
    pub fn matches_path(&self, path: &Path) -> bool {
        self.0.is_match(path)
    }
}

fn compile(text: &str) -> Result<GlobMatcher, String> {
    // A backslash is one: systemd writes '-' as \x2d in the names of cgroups.
    let glob = GlobBuilder::new(text).backslash_escape(false).empty_alternates(true).build();
    Ok(glob.map_err(|err| err.kind().to_string())?.compile_matcher())
}

/// Make `/batch/**` match `/batch` too, as users mean a cgroup and all below it: systemd's services keep their processes in
/// the unit's own cgroup.
fn with_roots_of_subtrees(text: &str) -> String {
    const SUBTREE: &str = "/**";

    let mut changed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(SUBTREE) {
        let (before, after) = (&rest[..at], &rest[at + SUBTREE.len()..]);
        changed.push_str(before);
        let is_below_a_cgroup = !changed.is_empty() && (after.is_empty() || after.starts_with([',', '}']));
        changed.push_str(if is_below_a_cgroup { "{,/**}" } else { SUBTREE });
        rest = after;
    }
    changed + rest
}

/// The bytes of the shortest text that a valid glob matches.
fn fewest_bytes(glob: &str) -> usize {
    let mut chars = glob.chars();
    alternatives(&mut chars)
}

/// The least of the alternatives up to the closing brace, or to the end.
fn alternatives(chars: &mut std::str::Chars<'_>) -> usize {
    let (mut least, mut sum) = (usize::MAX, 0);
    while let Some(char) = chars.next() {
        match char {
            '*' => {}
            '?' => sum += 1,
            '[' => {
                skip_class(chars);
                sum += 1;
            }
            '{' => sum += alternatives(chars),
            ',' => {
                least = least.min(sum);
                sum = 0;
            }
            '}' => break,
            other => sum += other.len_utf8(),
        }
    }
    least.min(sum)
}

/// Skip `abc]` of a class. A bracket that comes first is one of its characters.
fn skip_class(chars: &mut std::str::Chars<'_>) {
    let mut inside = chars.as_str().trim_start_matches(['!', '^']);
    inside = inside.strip_prefix(']').unwrap_or(inside);
    let rest = inside.split_once(']').map_or("", |(_, rest)| rest);
    *chars = rest.chars();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_is_an_ordinary_character() {
        let glob = |text: &str| Pattern::of_cgroups(text).unwrap();
        let escaped = r"/system.slice/backup\x2dnightly.service";
        for yes in [escaped, r"/system.slice/backup\x2d*"] {
            assert!(glob(yes).matches_path(Path::new(escaped)), "{yes}");
        }
        assert!(!glob(escaped).matches_path(Path::new("/system.slice/backupx2dnightly.service")));
        assert!(glob("/a[*]b").matches_path(Path::new("/a*b")) && !glob("/a[*]b").matches_path(Path::new("/axb")));
        assert!(Pattern::of_names(r"a\b").unwrap().matches_name(br"a\b"));
    }

    #[test]
    fn a_subtree_includes_its_root() {
        for (glob, yes, no) in [
            ("/batch/**", &["/batch", "/batch/a", "/batch/a/b"][..], &["/", "/batch2", "/batc", "/x/batch"][..]),
            ("/**", &["/", "/batch", "/batch/a"], &[]),
            ("/*.slice/**", &["/a.slice", "/a.slice/b.service"], &["/a.scope"]),
            ("/{a,b/**}", &["/a", "/b", "/b/c"], &["/a/c", "/c"]),
            ("/{a,b}/**", &["/a", "/b/c/d"], &["/c"]),
            ("/a/**/z", &["/a/z", "/a/b/c/z"], &["/a", "/a/b"]),
            ("/a/**/z/**", &["/a/z", "/a/b/z", "/a/z/b"], &["/a"]),
        ] {
            let pattern = Pattern::of_cgroups(glob).unwrap();
            assert!(yes.iter().all(|path| pattern.matches_path(Path::new(path))), "{glob}");
            assert!(no.iter().all(|path| !pattern.matches_path(Path::new(path))), "{glob}");
        }
    }

    #[test]
    fn the_shortest_match_of_a_glob_is_known() {
        for (glob, bytes) in [
            ("make", 4),
            ("grün*", 5),
            ("a?c", 3),
            ("[]x]b[!]]", 3),
            ("{abc,d,}e", 1),
            ("{abc,{de,f}g}*h", 3),
            ("**", 0),
        ] {
            assert_eq!(fewest_bytes(glob), bytes, "{glob}");
        }
    }

    #[test]
    fn a_glob_that_can_match_no_name_is_refused() {
        for text in
            ["chromium-browser", "*a-name-of-sixteen", "{sixteen-letters-,sixteen.letters.}*", "grün-grün-grün", ""]
        {
            assert!(Pattern::of_names(text).is_err(), "{text}");
        }
        for text in ["chromium-browse", "chromium-browse*", "{sixteen-letters-,cc}*", "*"] {
            assert!(Pattern::of_names(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_glob_that_can_match_no_cgroup_is_refused() {
        for text in ["batch", "", "/batch/", "//batch", "/batch/../other", "/./batch"] {
            assert!(Pattern::of_cgroups(text).is_err(), "{text}");
        }
        for text in ["/", "/batch", "/batch/**", "/**", "/a.b/..c"] {
            assert!(Pattern::of_cgroups(text).is_ok(), "{text}");
        }
    }
}
