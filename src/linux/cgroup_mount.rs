//! Finds the cgroup v2 hierarchy, which hybrid systems mount elsewhere than at /sys/fs/cgroup.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where the v2 hierarchy is mounted; `None` if it isn't.
pub fn cgroup2_mount() -> Option<PathBuf> {
    // A mount point may have any bytes.
    find(&std::fs::read("/proc/self/mountinfo").ok()?)
}

/// The mount of the hierarchy's root in the text of /proc/PID/mountinfo (Documentation/filesystems/proc.rst). Of several,
/// /sys/fs/cgroup, or the first.
fn find(mountinfo: &[u8]) -> Option<PathBuf> {
    let mut mounts: Vec<PathBuf> = mountinfo.split(|&byte| byte == b'\n').filter_map(parse).collect();
    mounts.sort_by_key(|mount| mount != Path::new("/sys/fs/cgroup"));
    mounts.into_iter().next()
}

/// The mount point, if the line is that of the root of a v2 hierarchy: `35 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 ...`.
fn parse(line: &[u8]) -> Option<PathBuf> {
    let mut fields = line.split(|&byte| byte == b' ');
    let (root, mount_point) = (fields.nth(3)?, fields.next()?);
    // The number of optional fields before the dash varies.
    let is_cgroup2 = fields.by_ref().any(|field| field == b"-") && fields.next() == Some(b"cgroup2");
    (is_cgroup2 && root == b"/").then(|| unescape(mount_point))
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, others)) = rest.split_first() {
        let digits =
            others.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        match digits {
            Some(digits) => {
                bytes.push(digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &others[3..];
            }
            None => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROC: &str = "22 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw\n";

    fn mount(text: &str) -> Option<PathBuf> {
        find(format!("{PROC}{text}").as_bytes())
    }

    #[test]
    fn the_v2_hierarchy_is_found_where_it_is_mounted() {
        let unified = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mount(unified), Some("/sys/fs/cgroup".into()));
        let hybrid = "32 24 0:27 / /sys/fs/cgroup ro,nosuid shared:8 - tmpfs tmpfs ro,mode=755\n\
                      33 32 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:9 master:2 - cgroup2 cgroup rw\n\
                      34 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n";
        assert_eq!(mount(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let twice = "40 24 0:30 / /mnt/my\\040cgroups rw - cgroup2 none rw\n";
        assert_eq!(mount(twice), Some("/mnt/my cgroups".into()));
        assert_eq!(mount(&format!("{twice}{unified}")), Some("/sys/fs/cgroup".into()));
    }

    #[test]
    fn a_v1_hierarchy_and_a_part_of_a_v2_one_are_none() {
        assert_eq!(mount("34 32 0:29 / /sys/fs/cgroup/cpu rw shared:10 - cgroup cgroup rw,cpu\n"), None);
        assert_eq!(mount("34 32 0:30 /batch /mnt rw - cgroup2 cgroup2 rw\n"), None);
        assert_eq!(mount("34 32 0:29 / /cgroup2 rw - ext4 cgroup2 rw\n"), None);
        assert_eq!(mount("34 32"), None);
    }
}
