//! Where a process's pages are: `/proc/PID/numa_maps`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

use crate::cell::NodeId;

/// A page where the file doesn't say how large pages are.
const PAGE_BYTES: u64 = 4096;

/// Bytes of a process by node. Mappings of files that other processes map too are left out: each node soon has copies of them.
///
/// # Errors
///
/// The process has ended, or the kernel has no NUMA.
pub(super) fn bytes_by_node(tgid: u32) -> io::Result<BTreeMap<NodeId, u64>> {
    parse(std::fs::File::open(format!("/proc/{tgid}/numa_maps"))?)
}

fn parse(text: impl Read) -> io::Result<BTreeMap<NodeId, u64>> {
    let mut bytes = BTreeMap::new();
    let (mut reader, mut line) = (BufReader::new(text), Vec::new());
    // A file's name may be any bytes.
    while reader.read_until(b'\n', &mut line)? > 0 {
        add(&String::from_utf8_lossy(&line), &mut bytes);
        line.clear();
    }
    Ok(bytes)
}

/// Add a line: address, policy, and fields such as `anon=2 dirty=2 N0=1 N1=1 kernelpagesize_kB=4`. A file's name comes before these
/// and has blanks escaped.
fn add(line: &str, bytes: &mut BTreeMap<NodeId, u64>) {
    let fields = || line.split_ascii_whitespace().skip(2).filter_map(|field| field.split_once('='));
    let number = |name: &str| fields().find(|(key, _)| *key == name).and_then(|(_, value)| value.parse::<u64>().ok());
    let is_file = fields().any(|(key, _)| key == "file");
    if is_file && number("mapmax").is_some_and(|processes| processes > 1) {
        return;
    }
    let page_bytes = number("kernelpagesize_kB").map_or(PAGE_BYTES, |kib| kib.saturating_mul(1024));
    for (key, value) in fields() {
        let node = key.strip_prefix('N').and_then(|id| id.parse().ok());
        if let (Some(node), Ok(pages)) = (node, value.parse::<u64>()) {
            let sum: &mut u64 = bytes.entry(NodeId(node)).or_default();
            *sum = sum.saturating_add(pages.saturating_mul(page_bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_summed_by_node_in_their_size_without_files_that_others_map_too() {
        let text = b"\
55e11cdd8000 default file=/usr/bin/work mapped=2 active=0 N0=2 kernelpagesize_kB=4
55e11cde2000 default anon=3 dirty=3 N0=1 N10=2 kernelpagesize_kB=4
7f0000000000 bind:1-2 anon=2 dirty=2 N2=2 kernelpagesize_kB=2048
7f2000000000 default file=/usr/lib/libc.so.6 mapped=300 mapmax=42 N1=300 kernelpagesize_kB=4
7f3000000000 interleave:0-3 file=/tmp/N9=7\\040\xff mapped=1 N3=1 kernelpagesize_kB=4
7f4000000000 default file=/dev/zero\\040(deleted) dirty=4 mapmax=2 N1=4
7f5000000000 default stack
7f6000000000 default anon=1 dirty=1 Nx=4 N4=many N5=1
";
        let bytes = parse(&text[..]).unwrap();
        let expected = [(0, 3 << 12), (2, 2 << 21), (3, 1 << 12), (5, 1 << 12), (10, 2 << 12)];
        assert_eq!(bytes, expected.map(|(node, bytes)| (NodeId(node), bytes)).into());
    }

    #[test]
    fn this_process_has_memory_somewhere_if_the_kernel_tells_and_one_that_has_ended_gives_an_error() {
        match bytes_by_node(std::process::id()) {
            Ok(bytes) => assert!(bytes.values().sum::<u64>() > 1 << 16, "{bytes:?}"),
            Err(err) => assert_eq!(err.kind(), io::ErrorKind::NotFound),
        }
        // Process ids are below 2^22.
        assert!(bytes_by_node(1 << 23).is_err());
    }
}
