//! The protocol of one page: at any time one node may write it, or several nodes may read it.
//!
//! This is MSI with an owner, as GiantVM has it (and IVY before it): a node that writes has the only copy; a node that reads gets a
//! copy from the owner, which keeps its own but may no longer write; a node that writes again first ends all other copies. The
//! owner is the node that wrote last. A page that no node has touched is owned by the first one that does, at no cost: its
//! content is zero or was loaded before the machine started.

use crate::MAX_NODES;

/// A page's state in one word: the nodes that hold a copy (bits 0 to 15) and the owner (bits 16 to 19), which holds one too.
/// 0 is a page that nobody has touched. The owner may write if it is the only holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub u32);

const HOLDERS: u32 = (1 << MAX_NODES) - 1;

/// What an access needs that the node doesn't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The page had no owner: nothing travels.
    FirstTouch,
    /// A copy travels from the owner.
    Read {
        /// The owner's node.
        from: usize,
    },
    /// The page travels from the owner, and all copies end.
    Write {
        /// The owner's node.
        from: usize,
        /// The nodes that lose their copies, a bit each.
        invalidated: u32,
    },
    /// The node has a copy and must be the only one to have it: the others end, and no page travels.
    Upgrade {
        /// The nodes that lose their copies, a bit each.
        invalidated: u32,
    },
}

impl State {
    /// The nodes that hold a copy, a bit each.
    pub fn holders(self) -> u32 {
        self.0 & HOLDERS
    }

    /// The node from which a copy is fetched. Meaningless for a page that nobody has touched.
    pub fn owner(self) -> usize {
        (self.0 >> MAX_NODES) as usize
    }

    /// Whether a node may load (or store) without asking anyone: the usual case.
    #[inline]
    pub fn allows(self, node: usize, is_store: bool) -> bool {
        let own = 1 << node;
        if is_store {
            self.holders() == own
        } else {
            self.holders() & own != 0
        }
    }

    /// The state after an access that the present state doesn't allow, and what it takes. `None` if the state allows it.
    pub fn after(self, node: usize, is_store: bool) -> Option<(State, Fault)> {
        if self.allows(node, is_store) {
            return None;
        }
        let (own, holders, from) = (1 << node, self.holders(), self.owner());
        let alone = State(own | (node as u32) << MAX_NODES);
        Some(match (holders, is_store) {
            (0, _) => (alone, Fault::FirstTouch),
            (_, false) => (State(self.0 | own), Fault::Read { from }),
            (_, true) if holders & own != 0 => (alone, Fault::Upgrade { invalidated: holders & !own }),
            (_, true) => (alone, Fault::Write { from, invalidated: holders }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTOUCHED: State = State(0);
    const LOAD: bool = false;
    const STORE: bool = true;

    /// Applies accesses, and returns what each of them took.
    fn faults(accesses: &[(usize, bool)]) -> Vec<Option<Fault>> {
        let mut state = UNTOUCHED;
        let fault = |&(node, is_store): &(usize, bool)| {
            let (after, fault) = state.after(node, is_store)?;
            state = after;
            Some(fault)
        };
        accesses.iter().map(fault).collect()
    }

    #[test]
    fn a_page_that_one_node_uses_never_travels() {
        let own = faults(&[(3, LOAD), (3, STORE), (3, LOAD), (3, STORE)]);
        assert_eq!(own, [Some(Fault::FirstTouch), None, None, None]);
    }

    #[test]
    fn readers_share_a_page_until_somebody_writes() {
        let seen = faults(&[(0, STORE), (1, LOAD), (2, LOAD), (1, LOAD), (0, LOAD), (2, STORE), (0, LOAD)]);
        assert_eq!(seen[1..4], [Some(Fault::Read { from: 0 }), Some(Fault::Read { from: 0 }), None]);
        assert_eq!(seen[4], None, "the owner keeps a copy");
        assert_eq!(seen[5], Some(Fault::Upgrade { invalidated: 0b011 }));
        assert_eq!(seen[6], Some(Fault::Read { from: 2 }), "the writer owns the page now");
    }

    #[test]
    fn writers_take_the_page_from_each_other() {
        let seen = faults(&[(0, STORE), (1, STORE), (0, STORE), (0, STORE)]);
        assert_eq!(seen[1], Some(Fault::Write { from: 0, invalidated: 0b01 }));
        assert_eq!(seen[2], Some(Fault::Write { from: 1, invalidated: 0b10 }));
        assert_eq!(seen[3], None);
    }

    #[test]
    fn an_owner_whose_page_was_read_must_end_the_copy_before_it_writes() {
        assert_eq!(faults(&[(0, STORE), (1, LOAD), (0, STORE)])[2], Some(Fault::Upgrade { invalidated: 0b10 }));
    }

    #[test]
    fn a_write_by_a_stranger_ends_every_copy_and_fetches_from_the_owner() {
        let seen = faults(&[(5, STORE), (1, LOAD), (15, STORE)]);
        assert_eq!(seen[2], Some(Fault::Write { from: 5, invalidated: 0b10_0010 }));
    }

    #[test]
    fn the_owner_always_holds_a_copy_and_a_writer_is_alone() {
        let mut state = UNTOUCHED;
        // Every pair of accesses by 16 nodes follows each other somewhere in this walk.
        for step in 0..32 * 32 * 4_usize {
            let (node, is_store) = ((step * 7 + step / 32) % MAX_NODES, step * 5 % 3 == 0);
            state = state.after(node, is_store).map_or(state, |(after, _)| after);
            assert!(state.allows(node, is_store), "{state:?}");
            assert_ne!(state.holders() & 1 << state.owner(), 0, "{state:?}");
            assert!(!is_store || state.holders() == 1 << node, "{state:?}");
        }
    }
}
