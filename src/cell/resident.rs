//! Where a group's memory is.

use std::collections::BTreeMap;

use super::{is_amount, GroupId, NodeId};

/// The memory of a group by node, as the guest's kernel has it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Resident {
    /// The group.
    pub group: GroupId,
    /// Bytes on each node that has some. They may have been counted a minute ago, and pages that processes share count for each of
    /// them: only the proportions are good.
    pub bytes: BTreeMap<NodeId, f64>,
}

impl Resident {
    /// The share of the group's memory that is on a node, 0..=1.
    pub fn share_on(&self, node: NodeId) -> f64 {
        let all: f64 = self.bytes.values().sum();
        match self.bytes.get(&node) {
            Some(bytes) if all > 0.0 => bytes / all,
            _ => 0.0,
        }
    }
}

/// Check residents as [`CellView::check`](super::CellView::check) does.
pub(super) fn check_residents(residents: &[Resident]) -> Result<(), String> {
    if !residents.is_sorted_by(|a, b| a.group < b.group) {
        return Err("the groups whose memory is known are not in order of id".to_owned());
    }
    match residents.iter().find(|it| !it.bytes.values().copied().all(is_amount)) {
        Some(it) => Err(format!("the memory of group {} has an impossible number", it.group.0)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_was_counted_and_0_where_nothing_is() {
        let resident = |bytes: &[(u32, f64)]| Resident {
            group: GroupId(7),
            bytes: bytes.iter().map(|&(node, bytes)| (NodeId(node), bytes)).collect(),
        };
        let two = resident(&[(0, 3e6), (2, 1e6)]);
        assert_eq!([0, 1, 2].map(|node| two.share_on(NodeId(node))), [0.75, 0.0, 0.25]);
        assert_eq!(resident(&[(0, 0.0)]).share_on(NodeId(0)), 0.0);
    }
}
