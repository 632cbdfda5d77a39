//! Where a node's host exports what its distributed memory does: `--dsm NODE=URL`.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::cell::NodeId;
use crate::sense::{HostSpec, HostSpecError};

/// How to ask for one node's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DsmSpec(pub(super) HostSpec);

/// Why `--dsm` was refused.
#[derive(Debug, thiserror::Error)]
pub enum DsmSpecError {
    /// There is no URL.
    #[error("'{0}' has no URL: expected NODE=URL, as in 0=http://host-a:9401")]
    NoUrl(String),
    /// A value isn't NODE=URL.
    #[error(transparent)]
    Spec(#[from] HostSpecError),
    /// A list of CPUs makes no sense here.
    #[error("cpus= has no meaning for --dsm: the counters are of the node; leave it out")]
    Cpus,
    /// A node is named twice.
    #[error("--dsm names node {0} twice: give one URL per node")]
    Twice(NodeId),
    /// The guest has no node of this id.
    #[error("no node {0} for --dsm: the guest's nodes are {1}")]
    UnknownNode(NodeId, String),
}

impl FromStr for DsmSpec {
    type Err = DsmSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains('=') {
            return Err(DsmSpecError::NoUrl(text.to_string()));
        }
        let spec: HostSpec = text.parse()?;
        match spec.cpus {
            Some(_) => Err(DsmSpecError::Cpus),
            None => Ok(DsmSpec(spec)),
        }
    }
}

/// Check that each node exists and is named once.
///
/// # Errors
///
/// [`DsmSpecError`] names the node.
pub fn check_dsm_specs(specs: &[DsmSpec], known: &[NodeId]) -> Result<(), DsmSpecError> {
    let mut seen = BTreeSet::new();
    for DsmSpec(spec) in specs {
        if !known.contains(&spec.node) {
            let known: Vec<String> = known.iter().map(NodeId::to_string).collect();
            return Err(DsmSpecError::UnknownNode(spec.node, known.join(", ")));
        }
        if !seen.insert(spec.node) {
            return Err(DsmSpecError::Twice(spec.node));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_named_with_the_remedy() {
        let error = |text: &str| text.parse::<DsmSpec>().unwrap_err().to_string();
        assert_eq!(error("host:9401"), "'host:9401' has no URL: expected NODE=URL, as in 0=http://host-a:9401");
        assert!(error("a=http://b").contains("'a' is not a node number"), "{}", error("a=http://b"));
        assert!(error("0=http://a?cpus=3").contains("leave it out"));
        let specs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<DsmSpec>>();
        let check =
            |texts: &[&str]| check_dsm_specs(&specs(texts), &[NodeId(0), NodeId(7)]).map_err(|err| err.to_string());
        assert_eq!(check(&["0=http://a:9400", "7=https://a:9400/dsm"]), Ok(()));
        assert_eq!(check(&["3=http://a"]).unwrap_err(), "no node 3 for --dsm: the guest's nodes are 0, 7");
        assert!(check(&["0=http://a", "0=http://b"]).unwrap_err().contains("node 0 twice"));
    }
}
