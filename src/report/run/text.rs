//! Amounts and times in words.

use crate::cell::{Moved, NodeId};

/// A text of at most so many characters.
const LEN_MAX: usize = 600;

/// The text, or its beginning if it is too long for a page.
pub(super) fn cut(text: String) -> String {
    match text.char_indices().nth(LEN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// `0 → 1: 2 groups, 0.51 CPU, 4.3 MiB`, for each route.
pub(super) fn routes(routes: &[((NodeId, NodeId), Moved)]) -> String {
    let route = |((from, to), moved): &((NodeId, NodeId), Moved)| {
        let Moved { groups, cpus, bytes } = moved;
        let noun = if *groups == 1 { "group" } else { "groups" };
        format!("{from} → {to}: {groups} {noun}, {cpus:.2} CPU, {}", self::bytes(*bytes))
    };
    cut(routes.iter().map(route).collect::<Vec<_>>().join("; "))
}

/// `4.3 MiB`, `120 KiB`.
pub(super) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];

    if bytes <= 0.0 {
        return "0".to_owned();
    }
    let mut size = bytes / 1024.0;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = if size < 99.95 { 1 } else { 0 };
    format!("{size:.digits$} {}", UNITS[unit])
}

/// `38 %`, or nothing if there is no whole.
pub(super) fn percent(part: f64, whole: f64) -> Option<String> {
    (whole > 0.0).then(|| {
        let percent = 100.0 * part / whole;
        let digits = if percent != 0.0 && percent.abs() < 9.95 { 1 } else { 0 };
        format!("{percent:.digits$} %")
    })
}

/// Tells times, which are counted in rounds, in seconds where the length of a round is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Length of a round.
    pub interval_s: Option<f64>,
}

impl Clock {
    /// `61.5 s`, `1:02:03`, or the number of rounds.
    pub fn time(self, rounds: f64) -> String {
        match self.interval_s {
            Some(interval_s) => seconds(rounds * interval_s),
            None => format!("{rounds:.0} rounds"),
        }
    }

    /// Where an axis to `end` has marks, as a share of it, with their labels. None is beyond `end`.
    pub fn marks(self, end: f64) -> Vec<(f64, String)> {
        /// Not more marks than this.
        const MARKS: f64 = 10.0;
        const STEPS_S: [f64; 14] =
            [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0];

        let length = end * self.interval_s.unwrap_or(1.0);
        let by_clock = STEPS_S.into_iter().filter(|_| self.interval_s.is_some()).find(|step| length / step <= MARKS);
        let decade = 10f64.powf((length / MARKS).max(f64::MIN_POSITIVE).log10().floor());
        let decimal = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| length / step <= MARKS);
        let step = match (length < STEPS_S[0] * MARKS, by_clock) {
            (false, Some(step)) => step,
            _ => decimal.unwrap_or(length),
        };
        if length <= 0.0 || step <= 0.0 {
            return vec![(0.0, self.time(0.0))];
        }
        let nr = (length / step + 1e-9).floor() as usize;
        let label = |at: f64| match self.interval_s {
            Some(_) => seconds(at),
            None => format!("{at:.0}"),
        };
        (0..=nr).map(|nr| (nr as f64 * step / length, label(nr as f64 * step))).collect()
    }
}

fn seconds(s: f64) -> String {
    let whole = s.round();
    match whole {
        _ if s < 10.0 && s.fract() != 0.0 => format!("{s:.2} s"),
        _ if s < 120.0 && s.fract() != 0.0 => format!("{s:.1} s"),
        ..120.0 => format!("{s:.0} s"),
        ..3600.0 => format!("{:.0}:{:02.0}", (whole / 60.0).floor(), whole % 60.0),
        _ => format!("{:.0}:{:02.0}:{:02.0}", (whole / 3600.0).floor(), (whole % 3600.0 / 60.0).floor(), whole % 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_or_so() {
        let sizes = [(0.0, "0"), (4.3 * 1048576.0, "4.3 MiB"), (1023.0 * 1024.0, "1.0 MiB"), (2e15, "1819 TiB")];
        for (size, text) in sizes {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn times_are_seconds_and_then_minutes_and_hours() {
        let clock = Clock { interval_s: Some(0.5) };
        let times = [(1.0, "0.50 s"), (123.0, "61.5 s"), (240.0, "2:00"), (7199.0, "1:00:00"), (7383.0, "1:01:32")];
        for (rounds, text) in times {
            assert_eq!(clock.time(rounds), text);
        }
        assert_eq!(Clock { interval_s: None }.time(12.0), "12 rounds");
    }

    #[test]
    fn an_axis_has_a_few_round_marks() {
        let labels = |clock: Clock, end| clock.marks(end).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        let (seconds, rounds) = (Clock { interval_s: Some(0.5) }, Clock { interval_s: None });
        assert_eq!(labels(seconds, 112.0), ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s"]);
        assert_eq!(labels(seconds, 7200.0).last().unwrap(), "1:00:00");
        assert_eq!(labels(rounds, 45.0), ["0", "5", "10", "15", "20", "25", "30", "35", "40", "45"]);
        for end in [0.0, 1e-9, 1.0, 3.0, 17.0, 1e5, 1e9, 1e30] {
            for clock in [seconds, rounds] {
                let marks = clock.marks(end);
                assert!((1..=11).contains(&marks.len()), "{end}: {marks:?}");
                assert!(marks.iter().all(|(at, _)| (0.0..=1.0 + 1e-6).contains(at)), "{end}: {marks:?}");
            }
        }
    }
}
