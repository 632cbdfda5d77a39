//! Which nodes are drained: kept in a file, so that a restart of the daemon and of the guest changes nothing.
//!
//! A host that is under maintenance stays so while its guest starts again. Had it been forgotten, work would go there.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};

use super::preflight;
use crate::cell::NodeId;
use crate::report::{self, NotRunning};
use crate::sense::Nodes;

/// Where it is kept: a node's id in each line.
pub const DRAINED_FILE: &str = "/var/lib/scx_vnuma/drained";

/// The file with the drained nodes.
#[derive(Clone, Debug)]
pub struct DrainedFile(PathBuf);

impl Default for DrainedFile {
    fn default() -> Self {
        DrainedFile(DRAINED_FILE.into())
    }
}

impl DrainedFile {
    /// Keep them in this file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        DrainedFile(path.into())
    }

    /// The drained nodes; none without a file.
    pub fn read(&self) -> Result<BTreeSet<NodeId>> {
        let path = self.0.display();
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(err) => return Err(err).with_context(|| format!("reading which nodes are drained from {path}")),
        };
        let node = |line: &str| {
            let id = line.trim().parse().ok().map(NodeId);
            id.with_context(|| format!("{path}: '{}' is no node; remove the file, and drain nodes again", line.trim()))
        };
        text.lines().filter(|line| !line.trim().is_empty()).map(node).collect()
    }

    /// Replace the file. A reader sees the old one or the new one.
    fn write(&self, nodes: &BTreeSet<NodeId>) -> Result<()> {
        let text: String = nodes.iter().map(|node| format!("{node}\n")).collect();
        let new = self.0.with_extension("new");
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o644).custom_flags(libc::O_NOFOLLOW);
            let mut file = options.open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.0)
        };
        write().with_context(|| format!("writing {}", self.0.display()))
    }

    /// Drain nodes of a guest that has `known` nodes with CPUs, or take them back into service. Returns all that are drained
    /// then.
    pub fn change(&self, nodes: &BTreeSet<NodeId>, drain: bool, known: &[NodeId]) -> Result<BTreeSet<NodeId>> {
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        // Two changes at once must not lose one.
        let lock = std::fs::File::open(folder).with_context(|| format!("opening {}", folder.display()))?;
        lock.lock().with_context(|| format!("locking {}", folder.display()))?;
        let present = self.read()?;
        if let Some(node) = nodes.iter().find(|node| !known.contains(node) && !present.contains(node)) {
            bail!("there is no node {node}: the nodes with CPUs are {}", listed(known.iter()));
        }
        let new: BTreeSet<NodeId> = if drain { &present | nodes } else { &present - nodes };
        ensure!(
            known.iter().any(|node| !new.contains(node)),
            "no node would be left for work: undrain another one first, or stop scx_vnuma"
        );
        self.write(&new)?;
        Ok(new)
    }
}

/// `0, 2`.
pub(super) fn listed<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> String {
    nodes.map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// Drain nodes, or take them back into service, and tell the daemon if one runs. Returns what to say.
pub fn drain(nodes: &[u32], drain: bool) -> Result<String> {
    ensure!(preflight::is_root(), "draining changes where all users' work runs and must be done as root; try sudo");
    let command = if drain { "drain" } else { "undrain" };
    let known = Nodes::from_sysfs().context("reading the NUMA nodes")?.with_cpus();
    let nodes = nodes.iter().map(|&node| NodeId(node)).collect();
    let drained = DrainedFile::default().change(&nodes, drain, &known)?;
    match report::control(command, report::DRAINED, "it takes effect when one starts") {
        Ok(done) => Ok(done),
        Err(err) if err.is::<NotRunning>() => {
            Ok(format!("{}; no scx_vnuma is running: it takes effect when one starts", said(&drained)))
        }
        Err(err) => Err(err.context(format!("{}, but the daemon does not know yet", said(&drained)))),
    }
}

/// What to say of the drained nodes.
pub(super) fn said(drained: &BTreeSet<NodeId>) -> String {
    match drained.len() {
        0 => "no node is drained".into(),
        1 => format!("node {} is drained", listed(drained.iter())),
        _ => format!("nodes {} are drained", listed(drained.iter())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nodes: &[u32]) -> BTreeSet<NodeId> {
        nodes.iter().map(|&node| NodeId(node)).collect()
    }

    #[test]
    fn what_is_drained_is_kept_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = DrainedFile::at(folder.path().join("state/drained"));
        let known = [0, 1, 2].map(NodeId);
        assert_eq!(file.read().unwrap(), set(&[]));
        file.change(&set(&[2]), true, &known).unwrap();
        file.change(&set(&[0]), true, &known).unwrap();
        assert_eq!(file.read().unwrap(), set(&[0, 2]));
        assert_eq!(file.change(&set(&[2, 1]), false, &known).unwrap(), set(&[0]));
        // A node that the guest no longer has can be taken back.
        assert_eq!(file.change(&set(&[0]), false, &known[1..]).unwrap(), set(&[]));
    }

    #[test]
    fn an_unknown_node_and_the_last_one_are_refused_and_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = DrainedFile::at(folder.path().join("drained"));
        let known = [0, 1].map(NodeId);
        let message = |nodes: &[u32]| file.change(&set(nodes), true, &known).unwrap_err().to_string();
        assert_eq!(message(&[7]), "there is no node 7: the nodes with CPUs are 0, 1");
        file.change(&set(&[1]), true, &known).unwrap();
        assert!(file.change(&set(&[0]), true, &known).unwrap_err().to_string().contains("no node would be left"));
        assert_eq!(file.read().unwrap(), set(&[1]));
    }

    #[test]
    fn a_damaged_file_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drained");
        std::fs::write(&path, "1\nx y\n").unwrap();
        let message = DrainedFile::at(&path).read().unwrap_err().to_string();
        assert!(message.contains("'x y' is no node; remove the file"), "{message}");
    }
}
