//! Pages that travel: after a move, and between the tasks of a job that is on several machines.

use std::collections::BTreeMap;

use crate::cell::{CellView, Group, GroupId, Link};
use crate::sim::error::SimError;

/// Time for which a task waits for a page: 10 µs over RDMA, as docs/distributed-memory.md and docs/auto.md have it.
const PAGE_S: f64 = 10e-6;
/// Up to so many tasks of a job are linked with each other; of more, each with the next.
const MOST_PAIRED: usize = 32;

/// What waits for pages. While a task waits it uses CPU as before, in a loop, as in the lab with distributed memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Pages {
    /// Bytes per second at which a moved task's memory comes; until all of it is there, the task makes no progress. `None`: moves
    /// take no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_bytes_per_s: Option<f64>,
    /// Pages per second that a task exchanges with the rest of its job in the cell, with all tasks alike.
    pub shared_per_s: f64,
}

impl Pages {
    /// Check the settings. The error names the option.
    pub fn check(&self) -> Result<(), SimError> {
        if let Some(bytes) = self.link_bytes_per_s.filter(|bytes| !(*bytes > 0.0 && bytes.is_finite())) {
            return Err(SimError::Parameters(format!("--link {bytes}: must be above 0")));
        }
        match (0.0..=1e9).contains(&self.shared_per_s) {
            true => Ok(()),
            false => Err(SimError::Parameters(format!("--sharing {}: must be 0 to 1e9", self.shared_per_s))),
        }
    }

    /// Time for which a moved task waits, seconds.
    pub(in crate::sim) fn warm_up_s(&self, bytes: u64) -> f64 {
        self.link_bytes_per_s.map_or(0.0, |per_s| bytes as f64 / per_s)
    }

    /// The share of its time for which a task waits for pages if this share of its job's other tasks is on other machines: it
    /// does 1 of each 1 + x seconds' work, where x seconds of pages belong to a second of work.
    pub(in crate::sim) fn waiting_share(&self, remote: f64) -> f64 {
        let x = self.shared_per_s * PAGE_S * remote;
        x / (1.0 + x)
    }

    /// The links of a view: the groups of a job share memory. `job` gives a group's job, and the number of its tasks in the cell.
    pub(in crate::sim) fn link(&self, view: &mut CellView, round_s: f64, job: impl Fn(&Group) -> (u64, usize)) {
        let mut jobs: BTreeMap<u64, (usize, Vec<GroupId>)> = BTreeMap::new();
        for group in &view.groups {
            let (id, tasks) = job(group);
            jobs.entry(id).or_insert((tasks, Vec::new())).1.push(group.id);
        }
        let mut links = Vec::new();
        for (tasks, groups) in jobs.into_values() {
            let others = (tasks.max(2) - 1) as f64;
            let reach = if groups.len() <= MOST_PAIRED { groups.len() } else { 1 };
            // What a task exchanges with another one, both ways.
            let pages = 2.0 * self.shared_per_s * round_s / if reach == 1 { 2.0 } else { others };
            for (at, &one) in groups.iter().enumerate() {
                links.extend(groups.iter().skip(at + 1).take(reach).map(|&other| Link::new(one, other, pages)));
            }
        }
        view.links = Link::sorted(links);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::NodeId;

    #[test]
    fn a_move_waits_for_its_bytes_and_a_split_job_for_its_pages() {
        let pages = Pages { link_bytes_per_s: Some(1e9), shared_per_s: 100_000.0 };
        assert_eq!(pages.warm_up_s(2_000_000_000), 2.0);
        // 100,000 pages of 10 µs are a second of waiting for each second of work.
        assert_eq!((pages.waiting_share(1.0), pages.waiting_share(0.0)), (0.5, 0.0));
        assert_eq!(Pages::default().warm_up_s(1), 0.0);
    }

    #[test]
    fn tasks_of_a_job_are_linked_by_what_they_exchange() {
        let group = |id| Group { id: GroupId(id), node: NodeId(0), nr_tasks: 1, ..Group::default() };
        let mut view = CellView { groups: (0..4).map(group).collect(), ..CellView::default() };
        // Groups 0 to 2 are a job of three tasks.
        let pages = Pages { shared_per_s: 50.0, ..Pages::default() };
        pages.link(&mut view, 60.0, |group| if group.id.0 < 3 { (7, 3) } else { (8, 1) });
        let link = |a, b| Link::new(GroupId(a), GroupId(b), 3000.0);
        assert_eq!(view.links, [link(0, 1), link(0, 2), link(1, 2)]);
        assert_eq!(view.check(), Ok(()));
    }
}
