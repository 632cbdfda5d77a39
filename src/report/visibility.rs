//! Warns once when no node's pressure is known, and reports once when that is over.

use std::time::{Duration, Instant};

use crate::cell::CellView;

/// The longest period of a source, if rounds are shorter.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// Number of periods that sources have at the start for their first reading.
const PERIODS_TO_BEGIN: u32 = 3;

/// Tracks whether any node's pressure is known.
#[derive(Debug)]
pub struct Visibility {
    patience: Duration,
    was_known: bool,
    since: Option<Instant>,
    is_reported: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Blind,
    SeesAgain,
}

impl Visibility {
    /// Start for rounds of `interval`.
    pub fn new(interval: Duration) -> Self {
        let patience = interval.max(PERIOD_MIN) * PERIODS_TO_BEGIN;
        Visibility { patience, was_known: false, since: None, is_reported: false }
    }

    /// Check a round's view and log a change. Called once a round.
    pub fn note(&mut self, view: &CellView, now: Instant) {
        let is_known = view.nodes.iter().any(|node| node.pressure.share().is_some());
        match self.news(is_known, now) {
            Some(News::Blind) => log::warn!(
                "no node's pressure is known, so nothing moves until one is; `scx_vnuma explain` names the \
                 sources that don't answer"
            ),
            Some(News::SeesAgain) => log::info!("a node's pressure is known again"),
            None => {}
        }
    }

    fn news(&mut self, is_known: bool, now: Instant) -> Option<News> {
        if is_known {
            self.was_known = true;
            self.since = None;
            return std::mem::take(&mut self.is_reported).then_some(News::SeesAgain);
        }
        let since = *self.since.get_or_insert(now);
        if self.is_reported || !self.was_known && now.duration_since(since) < self.patience {
            return None;
        }
        self.is_reported = true;
        Some(News::Blind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The news of rounds of one second, in each of which some pressure is known or none is.
    fn news(known: &[bool]) -> Vec<(usize, News)> {
        let (mut visibility, start) = (Visibility::new(PERIOD_MIN), Instant::now());
        let news = |(nr, &is_known)| Some((nr, visibility.news(is_known, start + PERIOD_MIN * nr as u32)?));
        known.iter().enumerate().filter_map(news).collect()
    }

    #[test]
    fn both_changes_are_reported_once() {
        let known = [true, false, false, false, true, true, false, false];
        assert_eq!(news(&known), [(1, News::Blind), (4, News::SeesAgain), (6, News::Blind)]);
    }

    #[test]
    fn sources_have_time_for_their_first_reading() {
        assert_eq!(news(&[false, false, true]), []);
        assert_eq!(news(&[false; 6]), [(3, News::Blind)]);
    }
}
