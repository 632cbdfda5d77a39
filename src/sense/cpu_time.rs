//! Per-CPU busy and stolen time from /proc/stat, for kernels that don't expose it to BPF programs and for observers
//! outside the guest.
//!
//! This has its own parser because the procfs crate drops the CPUs' ids, which have gaps as soon as a CPU is offline.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};

/// A CPU's cumulative time since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Time in user, nice, system, irq and softirq mode, ns. User and nice include running guests.
    pub busy_ns: u64,
    /// Time the CPU was runnable while the host ran something else, ns.
    pub steal_ns: u64,
}

impl CpuTime {
    /// The difference to `earlier`. Counters that went backwards count as no time: a CPU that was offline restarts
    /// them.
    pub fn since(self, earlier: CpuTime) -> CpuTime {
        CpuTime {
            busy_ns: self.busy_ns.saturating_sub(earlier.busy_ns),
            steal_ns: self.steal_ns.saturating_sub(earlier.steal_ns),
        }
    }
}

/// The time of every online CPU, by CPU id.
pub type CpuTimes = BTreeMap<u32, CpuTime>;

/// Why /proc/stat can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CpuTimeError {
    /// /proc/stat can't be read.
    #[error("/proc/stat: {0}")]
    Io(#[from] io::Error),
    /// A CPU's line doesn't have the format of proc(5).
    #[error("/proc/stat: the line '{0}' does not have a CPU id and 8 or more counters")]
    Malformed(String),
}

/// Reads /proc/stat repeatedly through one file descriptor and one buffer.
pub struct CpuTimeReader {
    file: File,
    text: String,
    tick_ns: u64,
}

impl CpuTimeReader {
    /// Open /proc/stat.
    pub fn open() -> Result<Self, CpuTimeError> {
        let tick_ns = 1_000_000_000 / procfs::ticks_per_second();
        Ok(CpuTimeReader { file: File::open("/proc/stat")?, text: String::with_capacity(64 << 10), tick_ns })
    }

    /// The CPUs' times now, in whole ticks.
    pub fn read(&mut self) -> Result<CpuTimes, CpuTimeError> {
        self.text.clear();
        self.file.rewind()?;
        self.file.read_to_string(&mut self.text)?;
        parse(&self.text, self.tick_ns)
    }
}

/// Parse the CPU lines of /proc/stat, `cpuN user nice system idle iowait irq softirq steal …`, in ticks of `tick_ns`.
fn parse(text: &str, tick_ns: u64) -> Result<CpuTimes, CpuTimeError> {
    let lines = text.lines().take_while(|line| line.starts_with("cpu"));
    lines.filter(|line| !line.starts_with("cpu ")).map(|line| parse_line(line, tick_ns)).collect()
}

fn parse_line(line: &str, tick_ns: u64) -> Result<(u32, CpuTime), CpuTimeError> {
    let malformed = || CpuTimeError::Malformed(line.to_string());
    let mut fields = line["cpu".len()..].split_ascii_whitespace();
    let cpu = fields.next().and_then(|id| id.parse().ok()).ok_or_else(malformed)?;
    let mut ticks = [0u64; 8];
    for counter in &mut ticks {
        *counter = fields.next().and_then(|field| field.parse().ok()).ok_or_else(malformed)?;
    }
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = ticks;
    let busy_ns = (user + nice + system + irq + softirq) * tick_ns;
    Ok((cpu, CpuTime { busy_ns, steal_ns: steal * tick_ns }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  30 0 10 100 0 1 1 7 0 0\n\
                        cpu0 10 1 5 50 0 1 1 3 0 0\n\
                        cpu2 20 0 5 50 0 0 0 4 9 0\n\
                        intr 12 0 0\nctxt 99\n";

    #[test]
    fn offline_cpus_leave_gaps_in_the_ids() {
        let times = parse(STAT, 10).unwrap();
        assert_eq!(times.keys().copied().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(times[&0], CpuTime { busy_ns: 180, steal_ns: 30 });
        assert_eq!(times[&2], CpuTime { busy_ns: 250, steal_ns: 40 });
    }

    #[test]
    fn a_line_without_the_steal_column_is_refused_and_shown() {
        let err = parse("cpu0 10 1 5 50 0 1 1\n", 10).unwrap_err();
        assert!(err.to_string().contains("cpu0 10 1 5 50 0 1 1"), "{err}");
    }

    #[test]
    fn a_counter_that_went_backwards_counts_as_no_time() {
        let earlier = CpuTime { busy_ns: 500, steal_ns: 40 };
        let later = CpuTime { busy_ns: 20, steal_ns: 45 };
        assert_eq!(later.since(earlier), CpuTime { busy_ns: 0, steal_ns: 5 });
    }
}
