//! What hogs got of their hosts' CPUs, as the host level measures it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

/// Written by machines/hogs.sh for as long as it exists.
const FILE: &str = "/lab/shared/hog-times";

/// Cumulative times of the hogs on a CPU of the host level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HogTime {
    /// Time that they ran, ns.
    pub ran_ns: u64,
    /// Time that they waited for the CPU, ns: it was the guest's.
    pub waited_ns: u64,
}

/// The times of all hogs so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HogTimes {
    /// When they were read, seconds since the host level booted.
    pub uptime_s: f64,
    by_cpu: BTreeMap<u32, HogTime>,
}

impl HogTimes {
    /// Asks the host level to keep the times, and reads the first.
    pub fn request() -> Result<Self> {
        std::fs::write(FILE, "").with_context(|| format!("asking the host level for {FILE}"))?;
        Self::read()
    }

    /// The times now; at most a quarter of a second old.
    pub fn read() -> Result<Self> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let began = Instant::now();
        loop {
            // It is empty until it has been written for the first time, and whole except while it is being written.
            match std::fs::read_to_string(FILE).context("it can't be read").and_then(|text| Self::parse(&text)) {
                Err(err) if began.elapsed() >= PATIENCE => {
                    return Err(err.context(format!("{FILE}: does the host level run machines/hogs.sh?")));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
                Ok(times) => return Ok(times),
            }
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let [uptime_s, loops @ .., end] = lines.as_slice() else { bail!("it is empty") };
        ensure!(uptime_s == end && text.ends_with('\n'), "it is of {uptime_s} s and of {end} s");
        let uptime_s = uptime_s.parse().with_context(|| format!("'{uptime_s}' is no uptime"))?;
        let mut times = HogTimes { uptime_s, by_cpu: BTreeMap::new() };
        for line in loops {
            times.add(line).with_context(|| format!("'{line}' is not a CPU and two times"))?;
        }
        Ok(times)
    }

    /// Adds the line of one loop, `CPU RAN_NS WAITED_NS`.
    fn add(&mut self, line: &str) -> Result<()> {
        let mut fields = line.split_ascii_whitespace();
        let mut next = || fields.next().context("a field is missing");
        let (cpu, ran_ns, waited_ns) = (next()?.parse()?, next()?.parse::<u64>()?, next()?.parse::<u64>()?);
        let time = self.by_cpu.entry(cpu).or_default();
        time.ran_ns += ran_ns;
        time.waited_ns += waited_ns;
        Ok(())
    }

    /// The sum over the hosts of these CPUs.
    pub fn of_cpus(&self, cpus: &[u32]) -> HogTime {
        let times = cpus.iter().filter_map(|cpu| self.by_cpu.get(cpu));
        times.fold(HogTime::default(), |sum, time| HogTime {
            ran_ns: sum.ran_ns + time.ran_ns,
            waited_ns: sum.waited_ns + time.waited_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_on_the_same_cpu_add_up() {
        let times = HogTimes::parse("12.50\n1 400 600\n3 10 20\n1 500 0\n12.50\n").unwrap();
        assert_eq!(times.uptime_s, 12.5);
        assert_eq!(times.of_cpus(&[1]), HogTime { ran_ns: 900, waited_ns: 600 });
        assert_eq!(times.of_cpus(&[1, 3]), HogTime { ran_ns: 910, waited_ns: 620 });
        assert_eq!(times.of_cpus(&[0]), HogTime::default());
    }

    #[test]
    fn a_copy_that_is_not_whole_is_refused() {
        for text in ["", "12.50\n", "12.60\n1 400 600\n12.50\n", "12.50\n1 400\n12.50\n", "12.50\n1 4 6\n12.50"] {
            assert!(HogTimes::parse(text).is_err(), "{text:?}");
        }
    }
}
