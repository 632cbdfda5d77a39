//! Says that no node's pressure is known: once, and once that it is over.

use std::time::{Duration, Instant};

use crate::cell::CellView;

/// The slowest source's period, in rounds that are shorter.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// At the start sources have so many periods to say their first word.
const PERIODS_TO_BEGIN: u32 = 3;

/// Watches whether anything is known.
#[derive(Debug)]
pub struct Visibility {
    patience: Duration,
    was_known: bool,
    since: Option<Instant>,
    is_said: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Blind,
    SeesAgain,
}

impl Visibility {
    /// In rounds of `interval`.
    pub fn new(interval: Duration) -> Self {
        let patience = interval.max(PERIOD_MIN) * PERIODS_TO_BEGIN;
        Visibility { patience, was_known: false, since: None, is_said: false }
    }

    /// Once a round.
    pub fn note(&mut self, view: &CellView, now: Instant) {
        let is_known = view.nodes.iter().any(|node| node.pressure.share().is_some());
        match self.news(is_known, now) {
            Some(News::Blind) => log::warn!(
                "no node's pressure is known, so nothing moves until that of one is; `scx_vnuma explain` names the \
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
            return std::mem::take(&mut self.is_said).then_some(News::SeesAgain);
        }
        let since = *self.since.get_or_insert(now);
        if self.is_said || !self.was_known && now.duration_since(since) < self.patience {
            return None;
        }
        self.is_said = true;
        Some(News::Blind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said in rounds of a second, in which something is known or nothing is.
    fn said(known: &[bool]) -> Vec<(usize, News)> {
        let (mut visibility, start) = (Visibility::new(PERIOD_MIN), Instant::now());
        let news = |(nr, &is_known)| Some((nr, visibility.news(is_known, start + PERIOD_MIN * nr as u32)?));
        known.iter().enumerate().filter_map(news).collect()
    }

    #[test]
    fn it_is_said_once_and_once_that_it_is_over() {
        let known = [true, false, false, false, true, true, false, false];
        assert_eq!(said(&known), [(1, News::Blind), (4, News::SeesAgain), (6, News::Blind)]);
    }

    #[test]
    fn at_the_start_sources_have_time_for_their_first_word() {
        assert_eq!(said(&[false, false, true]), []);
        assert_eq!(said(&[false; 6]), [(3, News::Blind)]);
    }
}
