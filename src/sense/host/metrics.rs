//! Parses an answer of Prometheus node_exporter into counters and computes, from two answers, what was taken of the
//! host.
//!
//! `node_cpu_seconds_total{cpu,mode}` is the host's /proc/stat, in seconds. Others take everything except `idle` and
//! `iowait` (the host's own `steal` included), minus what guests use:
//!
//! - `node_cpu_guest_seconds_total`, which the kernel also counts in `user` and `nice` (proc(5));
//! - the kernel's work for guests. The cost of a guest's exits is `system`, `irq` and `softirq` time like any other, so
//!   kernel time is divided in proportion to the programs' time on the same CPUs. Guests are credited with at most as
//!   much kernel time as they ran; otherwise the few ms of an idle guest would hide a file server.
//!
//! Shares are of the time that all modes counted, so neither our clock nor the network's delay affects them.
//!
//! These metrics don't tell one guest's time from another's: other guests on the same CPUs are subtracted with ours.
//! They show as steal once our work runs on their CPUs. If that is too late, name only CPUs that belong to this guest.

use std::collections::BTreeMap;
use std::time::Instant;

use super::advance::{check_part, Advance, FASTER_MAX, NOBODYS, SLOWER_MAX};
use super::sample::Sample;
use crate::linux::CpuSet;

pub(super) const CPU_METRIC: &str = "node_cpu_seconds_total";
pub(super) const GUEST_METRIC: &str = "node_cpu_guest_seconds_total";
const PSI_METRIC: &str = "node_pressure_cpu_waiting_seconds_total";

/// Modes without which the counters are useless.
const MODES_NEEDED: [&str; 3] = ["idle", "system", "user"];

/// No real counter of seconds reaches this: it is three hundred years.
const SECONDS_MAX: f64 = 1e10;
/// What was taken of a host's CPUs between two answers. Shares are 0..=1 of all CPUs that count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostLoad {
    /// Time busy with anything but guests.
    pub taken_share: f64,
    /// Time busy with guests, this one and others, and with the kernel's work for them.
    pub guest_share: f64,
    /// Share of time in which something on the host waited for a CPU (PSI); `None` if the host doesn't report it.
    pub psi_share: Option<f64>,
}

/// Why answers give no reading.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum MetricsError {
    /// The last line doesn't end in a newline.
    #[error("the answer was cut off")]
    CutOff,
    /// A line of a needed metric can't be parsed.
    #[error("the answer has a malformed line: {0}")]
    Unreadable(String),
    /// A counter has an impossible value.
    #[error("{series} is {value}, which is not a valid counter of seconds")]
    BadValue {
        /// The metric, its CPU and mode.
        series: String,
        /// The value.
        value: f64,
    },
    /// A needed metric is missing, or missing for some CPU.
    #[error("the answer lacks {0}: is this node_exporter with its `cpu` collector, and do the CPUs of cpus= exist?")]
    Missing(String),
    /// A counter is smaller than before, as after a reboot.
    #[error("the counters went backwards")]
    WentBack,
    /// CPUs or modes were added or removed.
    #[error("its CPUs or modes are not those of the previous answer")]
    OtherSeries,
    /// The counters don't advance with wall time.
    #[error("the counters advanced by {counted_s:.2} s per CPU in {passed_s:.2} s of wall time")]
    OffClock {
        /// Seconds counted per CPU.
        counted_s: f64,
        /// Seconds between the two answers by our clock.
        passed_s: f64,
    },
    /// A counter advanced by more than the time of which it is a part.
    #[error("{what} advanced by {counted_s:.2} s in {of_s:.2} s, which can't be true")]
    TooMuch {
        /// The counter.
        what: String,
        /// Seconds counted.
        counted_s: f64,
        /// Seconds that it is a part of.
        of_s: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Cpu,
    Guest,
}

/// The key of a counter: kind, CPU and mode.
type Series = (Kind, u32, String);

/// The counters of one answer, for all of its CPUs.
#[derive(Debug)]
pub struct CpuCounters {
    /// The host read its counters between `asked` and `answered`.
    asked: Instant,
    answered: Instant,
    seconds: BTreeMap<Series, f64>,
    waiting_s: Option<f64>,
}

impl CpuCounters {
    /// Parse an answer to a request that was sent at `asked` and answered at `answered`.
    pub fn parse(text: &str, asked: Instant, answered: Instant) -> Result<Self, MetricsError> {
        if !text.ends_with('\n') {
            return Err(MetricsError::CutOff);
        }
        let mut metrics = CpuCounters { asked, answered, seconds: BTreeMap::new(), waiting_s: None };
        for line in text.lines().filter(|line| is_wanted(line)) {
            let sample = Sample::parse(line).ok_or_else(|| MetricsError::Unreadable(beginning(line)))?;
            metrics.add(&sample, line)?;
        }
        Ok(metrics)
    }

    fn add(&mut self, sample: &Sample, line: &str) -> Result<(), MetricsError> {
        let unreadable = || MetricsError::Unreadable(beginning(line));
        let seconds = sample.value;
        if !(0.0..SECONDS_MAX).contains(&seconds) {
            return Err(MetricsError::BadValue { series: beginning(sample.series), value: seconds });
        }
        let kind = match sample.metric {
            CPU_METRIC => Kind::Cpu,
            GUEST_METRIC => Kind::Guest,
            _ => {
                self.waiting_s = Some(seconds);
                return Ok(());
            }
        };
        let cpu: u32 = sample.label("cpu").and_then(|cpu| cpu.parse().ok()).ok_or_else(unreadable)?;
        let mode = sample.label("mode").ok_or_else(unreadable)?;
        match self.seconds.insert((kind, cpu, mode.to_string()), seconds) {
            None => Ok(()),
            Some(_) => Err(unreadable()),
        }
    }
}

/// The counters of one answer that count for a node.
#[derive(Debug)]
pub struct NodeCounters {
    metrics: CpuCounters,
    nr_cpus: usize,
}

impl NodeCounters {
    /// The counters of `cpus`, or of all CPUs for `None`.
    pub fn of(metrics: &CpuCounters, cpus: Option<&CpuSet>) -> Result<Self, MetricsError> {
        let counts = |&((_, cpu, _), _): &(&Series, &f64)| cpus.is_none_or(|cpus| cpus.contains(*cpu));
        let seconds =
            metrics.seconds.iter().filter(counts).map(|(series, &seconds)| (series.clone(), seconds)).collect();
        let mut counters = NodeCounters { metrics: CpuCounters { seconds, ..*metrics }, nr_cpus: 0 };
        counters.nr_cpus = counters.check_complete(cpus)?;
        Ok(counters)
    }

    /// The host read the counters after this moment.
    pub fn asked(&self) -> Instant {
        self.metrics.asked
    }

    /// Check that every CPU that counts has the needed modes. Returns the number of these CPUs.
    fn check_complete(&self, cpus: Option<&CpuSet>) -> Result<usize, MetricsError> {
        let found: CpuSet = self.metrics.seconds.keys().map(|&(_, cpu, _)| cpu).collect();
        let expected = cpus.unwrap_or(&found);
        if expected.is_empty() {
            return Err(MetricsError::Missing(CPU_METRIC.into()));
        }
        let needed = MODES_NEEDED.map(|mode| (Kind::Cpu, mode));
        for cpu in expected {
            for (kind, mode) in needed.into_iter().chain([(Kind::Guest, "user")]) {
                if !self.metrics.seconds.contains_key(&(kind, cpu, mode.to_string())) {
                    let metric = if kind == Kind::Cpu { CPU_METRIC } else { GUEST_METRIC };
                    return Err(MetricsError::Missing(format!("{metric}{{cpu=\"{cpu}\",mode=\"{mode}\"}}")));
                }
            }
        }
        Ok(expected.len())
    }

    /// What was taken between `earlier` and this answer.
    pub fn since(&self, earlier: &NodeCounters) -> Result<HostLoad, MetricsError> {
        if !self.metrics.seconds.keys().eq(earlier.metrics.seconds.keys()) {
            return Err(MetricsError::OtherSeries);
        }
        let mut cpus: BTreeMap<u32, Advance> = BTreeMap::new();
        for (((kind, cpu, mode), now), before) in self.metrics.seconds.iter().zip(earlier.metrics.seconds.values()) {
            let is_nobodys = NOBODYS.contains(&mode.as_str());
            if now < before && !is_nobodys {
                return Err(MetricsError::WentBack);
            }
            cpus.entry(*cpu).or_default().add(*kind, mode, (now - before).max(0.0));
        }
        let sum = |of: fn(&Advance) -> f64| cpus.values().map(of).sum::<f64>();
        let (counted_s, busy_s) = (sum(|cpu| cpu.counted_s), sum(|cpu| cpu.busy_s));
        let (programs_s, kernel_s, guest_s) =
            (sum(|cpu| cpu.programs_s), sum(|cpu| cpu.kernel_s), sum(|cpu| cpu.guest_s));
        let elapsed_s = counted_s / self.nr_cpus as f64;
        self.check_clock(earlier, elapsed_s)?;
        let at_most_s = self.metrics.answered.duration_since(earlier.metrics.asked).as_secs_f64();
        for (cpu, advance) in &cpus {
            advance.check(*cpu, at_most_s)?;
        }
        let psi_share = match (earlier.metrics.waiting_s, self.metrics.waiting_s) {
            (Some(before), Some(now)) if now < before => return Err(MetricsError::WentBack),
            (Some(before), Some(now)) => {
                // This one doesn't count by ticks.
                let passed_s = at_most_s.max(elapsed_s);
                check_part(|| PSI_METRIC.into(), now - before, passed_s)?;
                Some(((now - before) / passed_s).min(1.0))
            }
            _ => None,
        };
        let guest_s = guest_s.min(programs_s);
        let for_guests_s = if guest_s > 0.0 { (kernel_s * guest_s / programs_s).min(guest_s) } else { 0.0 };
        let guest_share = (guest_s + for_guests_s) / counted_s;
        Ok(HostLoad { taken_share: (busy_s / counted_s - guest_share).max(0.0), guest_share, psi_share })
    }

    fn check_clock(&self, earlier: &NodeCounters, counted_s: f64) -> Result<(), MetricsError> {
        let at_least_s = self.metrics.asked.duration_since(earlier.metrics.answered).as_secs_f64();
        let at_most_s = self.metrics.answered.duration_since(earlier.metrics.asked).as_secs_f64();
        // Zero is refused first, because shares are divided by it.
        if counted_s > 0.0 && (at_least_s / SLOWER_MAX..=at_most_s * FASTER_MAX).contains(&counted_s) {
            return Ok(());
        }
        Err(MetricsError::OffClock { counted_s, passed_s: at_most_s })
    }
}

/// Return true for a line of a needed metric. `# TYPE` lines of these metrics carry nothing new.
fn is_wanted(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '\t']);
    [CPU_METRIC, GUEST_METRIC, PSI_METRIC].iter().any(|metric| {
        line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ', '\t']) || rest.is_empty())
    })
}

/// The beginning of a line: enough to find it.
fn beginning(line: &str) -> String {
    const LENGTH_MAX: usize = 80;
    line.chars().filter(|char| !char.is_control()).take(LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// The /metrics page of a host with these CPUs: (cpu, user, idle, guest).
    fn text(cpus: &[(u32, f64, f64, f64)]) -> String {
        let mut text = String::from("# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n");
        text += "# TYPE node_cpu_seconds_total counter\n";
        for (cpu, user, idle, guest) in cpus {
            for (mode, value) in [("idle", idle), ("iowait", &0.5), ("nice", &0.0), ("system", &1.0), ("user", user)] {
                text += &format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {value}\n");
            }
            text += &format!("node_cpu_guest_seconds_total{{cpu=\"{cpu}\",mode=\"nice\"}} 0\n");
            text += &format!("node_cpu_guest_seconds_total{{cpu=\"{cpu}\",mode=\"user\"}} {guest}\n");
        }
        text
    }

    fn parse(text: &str, cpus: Option<&[u32]>, at_s: f64) -> Result<NodeCounters, MetricsError> {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let at = *START.get_or_init(Instant::now) + Duration::from_secs_f64(at_s);
        NodeCounters::of(&CpuCounters::parse(text, at, at)?, cpus.map(|cpus| cpus.iter().copied().collect()).as_ref())
    }

    fn reading(before: &str, after: &str, cpus: Option<&[u32]>) -> Result<HostLoad, MetricsError> {
        parse(after, cpus, 2.0).unwrap().since(&parse(before, cpus, 0.0).unwrap())
    }

    #[test]
    fn others_take_busy_time_that_no_guest_uses() {
        let before = text(&[(0, 10.0, 50.0, 4.0), (1, 10.0, 50.0, 0.0)]);
        let after = text(&[(0, 12.0, 50.0, 5.5), (1, 10.0, 52.0, 0.0)]);
        let expected = HostLoad { taken_share: 0.125, guest_share: 0.375, psi_share: None };
        assert_eq!(reading(&before, &after, None).unwrap(), expected);
        assert_eq!(reading(&before, &after, Some(&[0])).unwrap().taken_share, 0.25);
        assert_eq!(reading(&before, &after, Some(&[1])).unwrap().taken_share, 0.0);
    }

    #[test]
    fn kernel_time_is_divided_like_the_programs_time() {
        // Seconds of 10: programs, guests (part of them) and kernel.
        let shares = |user: f64, guest: f64, system: f64| {
            let start = Instant::now();
            let parse = |(user, idle, guest, system): (f64, f64, f64, f64), at| {
                let text = text(&[(0, user, idle, guest)]);
                let text = text.replace("mode=\"system\"} 1", &format!("mode=\"system\"}} {system}"));
                NodeCounters::of(&CpuCounters::parse(&text, at, at).unwrap(), None).unwrap()
            };
            let before = parse((0.0, 0.0, 0.0, 0.0), start);
            let after = parse((user, 10.0 - user - system, guest, system), start + Duration::from_secs(10));
            let reading = after.since(&before).unwrap();
            (reading.taken_share, reading.guest_share)
        };
        assert_eq!(shares(8.0, 8.0, 2.0), (0.0, 1.0));
        assert_eq!(shares(8.0, 4.0, 2.0), (0.5, 0.5));
        assert_eq!(shares(8.0, 0.0, 2.0), (1.0, 0.0));
        // At most as much kernel time as the guests ran.
        assert_eq!(shares(0.0, 0.0, 8.0), (0.8, 0.0));
        assert_eq!(shares(0.5, 0.5, 9.5), (0.9, 0.1));
    }

    #[test]
    fn the_hosts_own_steal_counts_as_taken_and_its_iowait_does_not() {
        let with = |steal, iowait| {
            let steal = format!("node_cpu_seconds_total{{cpu=\"0\",mode=\"steal\"}} {steal}\n");
            text(&[(0, 10.0, 50.0, 0.0)]).replace("mode=\"iowait\"} 0.5", &format!("mode=\"iowait\"}} {iowait}"))
                + &steal
        };
        assert_eq!(reading(&with(0, 0), &with(1, 1), None).unwrap().taken_share, 0.5);
    }

    #[test]
    fn psi_is_reported_if_the_host_has_it() {
        let psi = |text: String, s| text + &format!("node_pressure_cpu_waiting_seconds_total {s}\n");
        let before = psi(text(&[(0, 0.0, 0.0, 0.0)]), 1.0);
        let after = psi(text(&[(0, 2.0, 0.0, 0.0)]), 2.5);
        assert_eq!(reading(&before, &after, None).unwrap().psi_share, Some(0.75));
        let back = after.replace("waiting_seconds_total 2.5", "waiting_seconds_total 0.5");
        assert_eq!(reading(&before, &back, None), Err(MetricsError::WentBack));
    }

    #[test]
    fn values_that_no_counter_can_have_are_refused() {
        for value in ["NaN", "-1", "1e300", "+Inf", "-Inf"] {
            let text = text(&[(0, 1.0, 1.0, 0.0)]).replace("mode=\"user\"} 1", &format!("mode=\"user\"}} {value}"));
            let err = parse(&text, None, 0.0).unwrap_err();
            assert!(matches!(err, MetricsError::BadValue { .. }), "{value}: {err}");
        }
    }

    #[test]
    fn incomplete_answers_are_refused() {
        let whole = text(&[(0, 1.0, 1.0, 0.0)]);
        assert!(matches!(parse("", None, 0.0), Err(MetricsError::CutOff)));
        assert!(matches!(parse("<html></html>\n", None, 0.0), Err(MetricsError::Missing(_))));
        assert!(matches!(parse(whole.trim_end(), None, 0.0), Err(MetricsError::CutOff)));
        assert!(matches!(parse(&whole, Some(&[0, 1]), 0.0), Err(MetricsError::Missing(_))));
        let without_guests: String =
            whole.lines().filter(|line| !line.contains("guest")).map(|line| line.to_string() + "\n").collect();
        let message = parse(&without_guests, None, 0.0).unwrap_err().to_string();
        assert!(message.contains("node_cpu_guest_seconds_total{cpu=\"0\",mode=\"user\"}"), "{message}");
        for garbage in ["mode=\"user\"} x", "mode=\"user\"}", "mode=\"user\" 1", "mode=\"idle\"} 1", "zzz=\"user\"} 1"]
        {
            let err = parse(&whole.replace("mode=\"user\"} 1", garbage), None, 0.0).unwrap_err();
            assert!(matches!(err, MetricsError::Unreadable(_)), "{garbage}: {err}");
        }
    }

    #[test]
    fn blanks_timestamps_and_further_labels_change_no_reading() {
        let unusual = |text: String| {
            let text = text.replace("{cpu=", "\t{ zone = \"a} {b\", cpu = ").replace("\"}", "\" , }\t");
            let lines =
                text.lines()
                    .map(|line| if line.starts_with('#') { line.into() } else { format!("  {line} 1700000000000\n") });
            lines.collect::<Vec<String>>().join("\n") + "\n"
        };
        let (before, after) = (text(&[(0, 10.0, 50.0, 4.0)]), text(&[(0, 12.0, 50.0, 5.5)]));
        let expected = reading(&before, &after, None);
        assert!(expected.is_ok());
        assert_eq!(reading(&unusual(before), &unusual(after.clone()), None), expected);
        let negative = unusual(after).replace(" 12 1700000000000", " -12 1700000000000");
        let Err(MetricsError::BadValue { series, value }) = parse(&negative, None, 0.0) else { panic!("no bad value") };
        assert_eq!((series.contains("1700000000000"), value), (false, -12.0), "{series}");
    }

    #[test]
    fn counters_that_went_backwards_or_changed_give_no_reading() {
        let before = text(&[(0, 10.0, 50.0, 0.0)]);
        assert_eq!(reading(&before, &text(&[(0, 1.0, 51.0, 0.0)]), None), Err(MetricsError::WentBack));
        let other = text(&[(0, 11.0, 51.0, 0.0), (1, 0.0, 0.0, 0.0)]);
        assert_eq!(reading(&before, &other, None), Err(MetricsError::OtherSeries));
    }

    #[test]
    fn a_counter_that_advances_by_more_than_the_time_gives_no_reading() {
        let psi = |text: String, s| text + &format!("node_pressure_cpu_waiting_seconds_total {s}\n");
        let idle = |s: f64, last_user: f64| {
            let mut cpus: Vec<_> = (0..64).map(|cpu| (cpu, 0.0, 50.0 + s, 0.0)).collect();
            cpus[63] = (63, last_user, 50.0, 0.0);
            text(&cpus)
        };
        // One of 64 CPUs jumps by a minute in two seconds: the mean is within bounds, and would be a third of all.
        let jump = reading(&idle(0.0, 0.0), &idle(2.0, 60.0), None).unwrap_err();
        assert!(
            jump.to_string().starts_with("node_cpu_seconds_total of CPU 63 advanced by 60.00 s in 4.00 s"),
            "{jump}"
        );
        assert!(reading(&idle(0.0, 0.0), &idle(2.0, 2.0), None).is_ok());
        // Guests ran for longer than all programs: what others take would be hidden.
        let (before, after) = (text(&[(0, 0.0, 0.0, 0.0)]), text(&[(0, 1.0, 1.0, 600.0)]));
        assert!(matches!(reading(&before, &after, None), Err(MetricsError::TooMuch { .. })));
        // Ten minutes of waiting in two seconds.
        let (before, after) = (psi(text(&[(0, 0.0, 0.0, 0.0)]), 1.0), text(&[(0, 1.0, 1.0, 0.0)]));
        assert!(matches!(reading(&before, &psi(after.clone(), 601.0), None), Err(MetricsError::TooMuch { .. })));
        assert_eq!(reading(&before, &psi(after, 3.05), None).unwrap().psi_share, Some(1.0));
    }

    #[test]
    fn counters_that_stand_still_or_race_are_not_an_idle_host() {
        let before = text(&[(0, 10.0, 50.0, 0.0)]);
        assert!(matches!(reading(&before, &before, None), Err(MetricsError::OffClock { .. })));
        let after = text(&[(0, 10.0, 150.0, 0.0)]);
        assert!(matches!(reading(&before, &after, None), Err(MetricsError::OffClock { .. })));
        let nearly_still = text(&[(0, 10.1, 50.1, 0.0)]);
        assert!(matches!(reading(&before, &nearly_still, None), Err(MetricsError::OffClock { .. })));
    }

    #[test]
    fn the_shares_of_a_host_that_misses_most_ticks_hold() {
        let psi = |text: String, s| text + &format!("node_pressure_cpu_waiting_seconds_total {s}\n");
        let before = psi(text(&[(0, 10.0, 50.0, 0.0)]), 1.0);
        // Half a second of ticks in two seconds, in which something waited for one.
        let after = psi(text(&[(0, 10.2, 50.3, 0.1)]), 2.0);
        let load = reading(&before, &after, None).unwrap();
        let is = |share: f64, expected: f64| (share - expected).abs() < 1e-9;
        assert!(is(load.taken_share, 0.2) && is(load.guest_share, 0.2) && load.psi_share == Some(0.5), "{load:?}");
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_parser_panic(garbage in "(node_cpu_(guest_)?seconds_total|node_pressure_cpu_waiting_seconds_total)?\\PC{0,60}\n") {
            let _ = parse(&garbage, None, 0.0);
        }

        #[test]
        fn shares_are_between_0_and_1(user in 0.0..4.0f64, idle in 0.0..4.0f64, guest in 0.0..8.0f64) {
            let before = text(&[(0, 0.0, 0.0, 0.0)]);
            if let Ok(reading) = reading(&before, &text(&[(0, user, idle, guest)]), None) {
                prop_assert!((0.0..=1.0).contains(&reading.taken_share), "{reading:?}");
                prop_assert!((0.0..=1.0).contains(&reading.guest_share), "{reading:?}");
            }
        }
    }
}
