//! Links: which groups share memory, and how much a split would cost.

use super::{is_amount, GroupId};

/// Two groups that share memory: they wake each other up, or both write to the same pages.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Link {
    /// The group with the lower id.
    pub a: GroupId,
    /// The group with the higher id.
    pub b: GroupId,
    /// Pages of 4096 bytes that would travel between two nodes in each round if the groups were on different ones. It is an
    /// estimate, and the same whether or not they are.
    pub pages_per_round: f64,
}

impl Link {
    /// A link of two different groups, in any order.
    pub fn new(one: GroupId, other: GroupId, pages_per_round: f64) -> Self {
        Link { a: one.min(other), b: one.max(other), pages_per_round }
    }

    /// Sort links as a view has them. The weights of links of the same two groups are added up, and a link of a group with itself
    /// is dropped: it never splits.
    pub fn sorted(links: impl IntoIterator<Item = Link>) -> Vec<Link> {
        let mut sorted: Vec<Link> = links.into_iter().filter(|link| link.a != link.b).collect();
        sorted.sort_by_key(|link| (link.a, link.b));
        sorted.dedup_by(|later, kept| {
            let is_same = (later.a, later.b) == (kept.a, kept.b);
            if is_same {
                kept.pages_per_round += later.pages_per_round;
            }
            is_same
        });
        sorted
    }
}

/// Check links as [`CellView::check`](super::CellView::check) does.
pub(super) fn check_links(links: &[Link]) -> Result<(), String> {
    let mut before = None;
    for Link { a, b, pages_per_round } in links {
        let pair = Some((a, b));
        if a >= b || before >= pair {
            return Err(format!("the link of groups {} and {} is not in order", a.0, b.0));
        }
        if !is_amount(*pages_per_round) {
            return Err(format!("the link of groups {} and {} has an impossible number", a.0, b.0));
        }
        before = pair;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_links_become_what_a_view_may_have_and_lose_no_weight(
            raw in prop::collection::vec((0u64..12, 0u64..12, 0u32..1000), 0..60),
        ) {
            let links = raw.iter().map(|&(one, other, pages)| Link::new(GroupId(one), GroupId(other), pages.into()));
            let sorted = Link::sorted(links);
            prop_assert_eq!(check_links(&sorted), Ok(()));
            for link in &sorted {
                let is_it = |&&(one, other, _): &&(u64, u64, u32)| {
                    (one.min(other), one.max(other)) == (link.a.0, link.b.0)
                };
                let pages: u32 = raw.iter().filter(is_it).map(|(_, _, pages)| pages).sum();
                prop_assert_eq!(link.pages_per_round, f64::from(pages));
            }
            let nr_pairs = raw.iter().filter(|(one, other, _)| one != other)
                .map(|&(one, other, _)| (one.min(other), one.max(other)))
                .collect::<std::collections::BTreeSet<_>>().len();
            prop_assert_eq!(sorted.len(), nr_pairs);
            prop_assert_eq!(&Link::sorted(sorted.clone()), &sorted);
            let text = serde_json::to_string(&sorted).unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<Link>>(&text).unwrap(), sorted);
        }
    }
}
