//! The plugin's arguments: `name=value` each.

use std::path::PathBuf;

use crate::sites::MAX_PAGES;
use crate::{MAX_NODES, PAGE_BYTES};

/// What the plugin is told on QEMU's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// `nodes=0:0:1:-`: the node of each virtual CPU. `-` is a CPU that belongs to no node, as are those after the last.
    pub cpu_nodes: Vec<Option<usize>>,
    /// `base=0x40000000`: the physical address at which the distributed memory begins (0).
    pub base: u64,
    /// `bytes=1073741824`: its size. Memory outside is not charged for.
    pub bytes: u64,
    /// `cost_ns=20000`: how long a virtual CPU waits for a page (0: count only).
    pub cost_ns: u64,
    /// `out=FILE`: where the record is written.
    pub out: PathBuf,
}

/// An argument that isn't understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadArgument {
    /// The name is unknown, or there is no `=`.
    #[error("unknown argument {0}: nodes, base, bytes, cost_ns and out are accepted")]
    Unknown(String),
    /// The value doesn't fit.
    #[error("{0} accepts {2}, not {1:?}")]
    Value(&'static str, String, &'static str),
    /// A required argument is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl Arguments {
    /// Parses `name=value` arguments.
    ///
    /// # Errors
    ///
    /// [`BadArgument`] names the one that isn't understood, or what is missing.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, BadArgument> {
        let (mut cpu_nodes, mut bytes, mut out) = (None, None, None);
        let (mut base, mut cost_ns) = (0, 0);
        for argument in arguments {
            match argument.split_once('=') {
                Some(("nodes", value)) => cpu_nodes = Some(parse_nodes(value)?),
                Some(("base", value)) => base = parse_number("base", value)?,
                Some(("bytes", value)) => bytes = Some(parse_number("bytes", value)?),
                Some(("cost_ns", value)) => cost_ns = parse_number("cost_ns", value)?,
                Some(("out", value)) => out = Some(PathBuf::from(value)),
                _ => return Err(BadArgument::Unknown(argument.to_string())),
            }
        }
        let bytes = bytes.ok_or(BadArgument::Missing("bytes"))?;
        if bytes == 0 || bytes / PAGE_BYTES > MAX_PAGES {
            return Err(BadArgument::Value("bytes", bytes.to_string(), "up to 16 GiB"));
        }
        let cpu_nodes = cpu_nodes.ok_or(BadArgument::Missing("nodes"))?;
        Ok(Arguments { cpu_nodes, base, bytes, cost_ns, out: out.ok_or(BadArgument::Missing("out"))? })
    }

    /// Nodes, by the highest number.
    pub fn nr_nodes(&self) -> usize {
        self.cpu_nodes.iter().flatten().max().map_or(0, |highest| highest + 1)
    }
}

fn parse_nodes(value: &str) -> Result<Vec<Option<usize>>, BadArgument> {
    let bad = || BadArgument::Value("nodes", value.to_string(), "numbers below 16 or -, separated by colons");
    let node = |word: &str| match word.parse() {
        _ if word == "-" => Ok(None),
        Ok(node) if node < MAX_NODES => Ok(Some(node)),
        _ => Err(bad()),
    };
    value.split(':').map(node).collect()
}

fn parse_number(name: &'static str, value: &str) -> Result<u64, BadArgument> {
    let number = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    number.map_err(|_| BadArgument::Value(name, value.to_string(), "a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_arguments_are_understood() {
        let words = ["nodes=0:0:2:-", "base=0x1000", "bytes=8192", "cost_ns=20000", "out=/tmp/dsm.json"];
        let arguments = Arguments::parse(words).unwrap();
        assert_eq!(arguments.cpu_nodes, [Some(0), Some(0), Some(2), None]);
        assert_eq!((arguments.base, arguments.bytes, arguments.cost_ns), (4096, 8192, 20000));
        assert_eq!(arguments.nr_nodes(), 3);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |words: &[&str]| Arguments::parse(words.iter().copied()).unwrap_err().to_string();
        assert_eq!(error(&["nodes=0", "out=x"]), "bytes is missing");
        assert!(error(&["nodes=16"]).contains("nodes accepts numbers below 16"));
        assert!(error(&["size=3"]).contains("unknown argument size=3"));
        assert!(error(&["nodes=0", "out=x", "bytes=0x1000000000"]).contains("up to 16 GiB"));
    }
}
