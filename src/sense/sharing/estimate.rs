//! Estimates how much pairs of processes share, from signals of different kinds. Pure.

use std::collections::HashMap;

use crate::bpf::WakeupCount;

/// Pages, and round trips for the right to write to one, that a wakeup costs more if the two tasks are on different nodes: the
/// sleeper's task, its runqueue, the other CPU's timers and clock, what is passed on. Counted on kernel 7.3 by `vnuma-scenarios
/// measure-pages`: 38.1 between nodes, 1.7 within one (docs/distributed-memory.md).
///
/// While two tasks are apart, what each wakeup costs also bounds how often they wake each other. So if it counted for too little,
/// the link of those who only wait for each other would never seem dear.
const PAGES_PER_WAKEUP: f64 = 36.0;

/// How often a shared mapping's pages are assumed to go from one process to the other. Nothing is known of that without a
/// measurement, so the mapping of a process that writes little counts too much, and that of one that writes much too little.
const MAPPED_EVERY_S: f64 = 30.0;

const PAGE_BYTES: f64 = 4096.0;

/// Half-life of the rate of wakeups.
const HALF_LIFE_S: f64 = 10.0;

/// Pairs that wake each other less often than this are forgotten.
const WAKEUPS_MIN_PER_S: f64 = 1.0;

/// So many links are given at most: those that share most.
const LINKS_MAX: usize = 20_000;

/// Two processes that share memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessLink {
    /// The lower process id.
    pub a: u32,
    /// The higher process id.
    pub b: u32,
    /// How often one wakes the other, per second.
    pub wakeups_per_s: f64,
    /// Bytes of writable mappings that both have.
    pub shared_bytes: u64,
}

impl ProcessLink {
    /// Pages that would travel between two nodes per second, as estimated from the signals.
    pub fn pages_per_s(&self) -> f64 {
        self.wakeups_per_s * PAGES_PER_WAKEUP + self.shared_bytes as f64 / PAGE_BYTES / MAPPED_EVERY_S
    }
}

/// What is known of all pairs, by process ids in order.
#[derive(Debug, Default)]
pub(super) struct Estimates {
    wakeups_per_s: HashMap<(u32, u32), f64>,
    shared_bytes: HashMap<(u32, u32), u64>,
}

fn pair(one: u32, other: u32) -> (u32, u32) {
    (one.min(other), one.max(other))
}

impl Estimates {
    /// Take in the wakeups of the last `seconds`.
    pub(super) fn note_wakeups(&mut self, counts: &[WakeupCount], seconds: f64) {
        let left = (-seconds / HALF_LIFE_S).exp2();
        self.wakeups_per_s.values_mut().for_each(|rate| *rate *= left);
        for count in counts {
            let rate = self.wakeups_per_s.entry(pair(count.waker, count.wakee)).or_insert(0.0);
            *rate += (1.0 - left) * count.count as f64 / seconds;
        }
        self.wakeups_per_s.retain(|_, rate| *rate >= WAKEUPS_MIN_PER_S);
    }

    /// Take in the mappings that a scan found: pairs of processes with what they share.
    pub(super) fn note_mappings(&mut self, shared: HashMap<(u32, u32), u64>) {
        self.shared_bytes = shared;
    }

    /// The links between these processes, which are in order; those of others are forgotten.
    pub(super) fn links(&mut self, processes: &[u32]) -> Vec<ProcessLink> {
        let lives = |pid: u32| processes.binary_search(&pid).is_ok();
        self.wakeups_per_s.retain(|&(a, b), _| lives(a) && lives(b));
        self.shared_bytes.retain(|&(a, b), _| lives(a) && lives(b));
        let mut links: HashMap<(u32, u32), ProcessLink> = HashMap::new();
        for (&(a, b), &wakeups_per_s) in &self.wakeups_per_s {
            links.insert((a, b), ProcessLink { a, b, wakeups_per_s, shared_bytes: 0 });
        }
        for (&(a, b), &shared_bytes) in &self.shared_bytes {
            links.entry((a, b)).or_insert(ProcessLink { a, b, ..ProcessLink::default() }).shared_bytes = shared_bytes;
        }
        let mut links: Vec<ProcessLink> = links.into_values().collect();
        if links.len() > LINKS_MAX {
            links.select_nth_unstable_by(LINKS_MAX, |x, y| y.pages_per_s().total_cmp(&x.pages_per_s()));
            links.truncate(LINKS_MAX);
        }
        links.sort_unstable_by_key(|link| (link.a, link.b));
        links
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(waker: u32, wakee: u32, count: u64) -> WakeupCount {
        WakeupCount { waker, wakee, count }
    }

    #[test]
    fn a_rate_follows_in_some_tens_of_seconds_and_fades_when_the_wakeups_end() {
        let mut estimates = Estimates::default();
        let rate = |estimates: &mut Estimates| estimates.links(&[7, 8]).first().map_or(0.0, |link| link.wakeups_per_s);
        estimates.note_wakeups(&[count(7, 8, 2000), count(8, 7, 3000)], 5.0);
        assert!((rate(&mut estimates) - 293.0).abs() < 1.0, "{}", rate(&mut estimates));
        for _ in 0..20 {
            estimates.note_wakeups(&[count(7, 8, 2000), count(8, 7, 3000)], 5.0);
        }
        assert!((rate(&mut estimates) - 1000.0).abs() < 1.0, "both directions count");
        estimates.note_wakeups(&[], 10.0);
        assert!((rate(&mut estimates) - 500.0).abs() < 1.0);
        estimates.note_wakeups(&[], 100.0);
        assert!(estimates.links(&[7, 8]).is_empty());
    }

    #[test]
    fn a_process_that_has_ended_has_no_links_even_if_its_id_comes_again() {
        let mut estimates = Estimates::default();
        estimates.note_wakeups(&[count(7, 8, 5000)], 5.0);
        estimates.note_mappings([((7, 8), 1 << 20)].into());
        assert_eq!(estimates.links(&[7, 8]).len(), 1);
        assert!(estimates.links(&[7]).is_empty());
        assert!(estimates.links(&[7, 8]).is_empty());
    }

    #[test]
    fn both_signals_of_a_pair_make_one_link() {
        let mut estimates = Estimates::default();
        estimates.note_wakeups(&[count(9, 7, 5000)], 5.0);
        estimates.note_mappings([((7, 8), 30 * 4096), ((7, 9), 60 * 4096)].into());
        let links = estimates.links(&[7, 8, 9]);
        assert_eq!(links.iter().map(|link| (link.a, link.b)).collect::<Vec<_>>(), [(7, 8), (7, 9)]);
        assert_eq!(links[0].pages_per_s(), 1.0);
        assert_eq!(links[1].pages_per_s(), 2.0 + 36.0 * links[1].wakeups_per_s);
    }

    #[test]
    fn of_too_many_links_the_strongest_are_kept() {
        let mut estimates = Estimates::default();
        let many = (0..LINKS_MAX as u32 + 100).map(|nr| ((1, nr + 2), u64::from(nr) * 4096)).collect();
        estimates.note_mappings(many);
        let links = estimates.links(&(1..LINKS_MAX as u32 + 200).collect::<Vec<_>>());
        assert_eq!(links.len(), LINKS_MAX);
        assert!(links.iter().all(|link| link.shared_bytes >= 100 * 4096));
    }
}
