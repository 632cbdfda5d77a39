//! Finds groups by id in constant time. Ids may be any numbers, and a round looks up tens of thousands.

use crate::cell::GroupId;

/// Stands for no position.
const NONE: u32 = u32::MAX;

/// The positions of ids: open addressing, at most half full.
pub(super) struct Index {
    slots: Vec<(GroupId, u32)>,
    /// Number of bits that a hash is shifted down by.
    shift: u32,
}

impl Index {
    /// Position n is that of the nth id. No id is in it twice.
    pub(super) fn new(ids: impl ExactSizeIterator<Item = GroupId>) -> Self {
        let nr_slots = (2 * ids.len()).next_power_of_two().max(2);
        let mut index = Index { slots: vec![(GroupId(0), NONE); nr_slots], shift: u64::BITS - nr_slots.ilog2() };
        for (id, position) in ids.zip(0..) {
            let slot = index.slot(id);
            index.slots[slot] = (id, position);
        }
        index
    }

    /// The position of an id.
    pub(super) fn position(&self, id: GroupId) -> Option<u32> {
        let (_, position) = self.slots[self.slot(id)];
        (position != NONE).then_some(position)
    }

    /// The slot that has the id, or the empty one where it belongs.
    fn slot(&self, id: GroupId) -> usize {
        /// 2^64 divided by the golden ratio: it spreads ids that follow one another.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

        let mut slot = (id.0.wrapping_mul(GOLDEN) >> self.shift) as usize;
        while self.slots[slot].1 != NONE && self.slots[slot].0 != id {
            slot = (slot + 1) % self.slots.len();
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_id_is_found_where_it_is_and_no_other(
            ids in prop::collection::btree_set(prop_oneof![0u64..100, any::<u64>()], 0..200),
            others in prop::collection::vec(any::<u64>(), 20),
        ) {
            let index = Index::new(ids.iter().copied().map(GroupId).collect::<Vec<_>>().into_iter());
            for (position, &id) in ids.iter().enumerate() {
                prop_assert_eq!(index.position(GroupId(id)), Some(position as u32));
            }
            for id in others.into_iter().filter(|id| !ids.contains(id)) {
                prop_assert_eq!(index.position(GroupId(id)), None);
            }
        }
    }
}
