//! All selectors together, and which of them have matched anything.

use std::time::{Duration, Instant};

use super::selector::DEFAULT_SELECTORS;
use super::{CgroupPaths, Selector, TaskRecord};

/// A selector that has matched nothing for so long may be a mistake.
const PATIENCE: Duration = Duration::from_secs(60);

/// Selectors, of which one match is enough.
pub struct Selectors {
    selectors: Vec<Watched>,
    since: Instant,
    is_reported: bool,
}

struct Watched {
    selector: Selector,
    has_matched: bool,
}

impl Selectors {
    /// Start watching them at `since`.
    pub fn new(selectors: Vec<Selector>, since: Instant) -> Self {
        let selectors = selectors.into_iter().map(|selector| Watched { selector, has_matched: false }).collect();
        Selectors { selectors, since, is_reported: false }
    }

    /// Return true if any selector matches.
    pub fn matches(&mut self, task: &TaskRecord, cgroups: &mut CgroupPaths) -> bool {
        let mut matches = false;
        for watched in &mut self.selectors {
            // Another look at one that has matched tells nothing new.
            if matches && watched.has_matched {
                continue;
            }
            let does = watched.selector.matches(task, cgroups);
            watched.has_matched |= does;
            matches |= does;
        }
        matches
    }

    /// Once, when they have been watched for a while: the selectors that have matched nothing.
    pub fn unmatched(&mut self, now: Instant) -> Vec<&Selector> {
        if self.is_reported || now.saturating_duration_since(self.since) < PATIENCE {
            return Vec::new();
        }
        self.is_reported = true;
        self.idle(now)
    }

    /// When they have been watched for a while: the selectors that have matched nothing so far. Of the default selectors,
    /// which nobody has chosen, it is enough if one matches.
    pub fn idle(&self, now: Instant) -> Vec<&Selector> {
        if now.saturating_duration_since(self.since) < PATIENCE {
            return Vec::new();
        }
        let are_default = self.selectors.iter().all(|watched| DEFAULT_SELECTORS.contains(&watched.selector.text()));
        if are_default && self.selectors.iter().any(|watched| watched.has_matched) {
            return Vec::new();
        }
        self.selectors.iter().filter(|watched| !watched.has_matched).map(|watched| &watched.selector).collect()
    }
}

/// What to say of a selector that has matched nothing.
pub fn unmatched_text(selector: &Selector) -> String {
    format!(
        "--select '{selector}' has matched no task for {} s; `ps -eLo tid,comm,euid,ni,cls,cgroup` shows what it goes by",
        PATIENCE.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::test_task;

    fn selectors(texts: &[&str], since: Instant) -> Selectors {
        Selectors::new(texts.iter().map(|text| text.parse().unwrap()).collect(), since)
    }

    fn unmatched(selectors: &mut Selectors, now: Instant) -> Vec<String> {
        selectors.unmatched(now).into_iter().map(Selector::to_string).collect()
    }

    #[test]
    fn a_selector_that_matches_nothing_is_named_once_after_a_while() {
        let start = Instant::now();
        let mut selectors = selectors(&["comm=make", "uid=0", "comm=mkae"], start);
        // The first one matches, and the second one is looked at nevertheless.
        assert!(selectors.matches(&test_task(7, "make"), &mut CgroupPaths::default()));
        assert_eq!(unmatched(&mut selectors, start + PATIENCE / 2), [""; 0]);
        assert_eq!(unmatched(&mut selectors, start + PATIENCE), ["comm=mkae"]);
        assert_eq!(unmatched(&mut selectors, start + 2 * PATIENCE), [""; 0]);
        assert!(selectors.idle(start + PATIENCE / 2).is_empty());
        assert_eq!(selectors.idle(start + 2 * PATIENCE).len(), 1, "it is known for as long as it lasts");
    }

    #[test]
    fn of_the_default_selectors_one_match_is_enough() {
        let start = Instant::now();
        let mut one = selectors(&DEFAULT_SELECTORS, start);
        assert!(one.matches(&TaskRecord { nice: 5, ..test_task(7, "job") }, &mut CgroupPaths::default()));
        assert_eq!(unmatched(&mut one, start + PATIENCE), [""; 0]);
        let mut none = selectors(&DEFAULT_SELECTORS, start);
        assert_eq!(unmatched(&mut none, start + PATIENCE), DEFAULT_SELECTORS);
    }

    #[test]
    fn what_is_said_has_the_selector_as_it_was_given() {
        let text = unmatched_text(&"cgroup=/batch/**".parse().unwrap());
        assert!(text.starts_with("--select 'cgroup=/batch/**' has matched no task for 60 s"), "{text}");
    }
}
