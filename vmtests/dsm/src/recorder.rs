//! Divides the counts into seconds and phases, and writes the record.

use std::io;
use std::path::Path;
use std::time::Instant;

use crate::counters::Counts;
use crate::memory::{Memory, Snapshot};
use crate::record::{highest, Page, Phase, Record, Second, Site, Span, PAGES_MAX, SITES_MAX};
use crate::{Arguments, PAGE_BYTES};

/// Seconds that are recorded.
const SECONDS_MAX: usize = 7200;
/// Phases that are recorded; the last one takes what follows.
const PHASES_MAX: usize = 500;

/// What the record has so far. The caller sees to it that one thread at a time uses it.
pub struct Recorder {
    start: Instant,
    seconds: Vec<Second>,
    last_second: Counts,
    phases: Vec<Phase>,
    /// The phase that goes on: its name, and everything as it was at its beginning.
    name: String,
    from_s: f64,
    begun: Snapshot,
}

impl Recorder {
    /// Begins the first phase, `boot`.
    pub fn new(memory: &Memory) -> Self {
        Recorder {
            start: Instant::now(),
            seconds: Vec::new(),
            last_second: Counts::none(memory.nr_nodes()),
            phases: Vec::new(),
            name: "boot".to_string(),
            from_s: 0.0,
            begun: memory.snapshot(),
        }
    }

    /// Ends a second.
    pub fn end_second(&mut self, memory: &Memory) {
        if self.seconds.len() == SECONDS_MAX {
            return;
        }
        let counts = memory.counts();
        let new = counts.since(&self.last_second);
        let rows = new.reads.iter().zip(&new.writes);
        let transfers = rows.map(|(reads, writes)| reads.iter().zip(writes).map(|(r, w)| r + w).collect()).collect();
        self.seconds.push(Second { until_s: self.now_s(), transfers, upgrades: new.upgrades });
        self.last_second = counts;
    }

    /// Ends the phase that goes on and begins another.
    pub fn begin_phase(&mut self, memory: &Memory, name: &str) {
        if self.phases.len() + 1 == PHASES_MAX {
            return;
        }
        let now = memory.snapshot();
        let now_s = self.now_s();
        let ended = self.phase(memory, &now, now_s);
        self.phases.push(ended);
        (self.name, self.from_s, self.begun) = (name.to_string(), now_s, now);
    }

    /// The record up to now.
    pub fn record(&self, memory: &Memory, arguments: &Arguments) -> Record {
        let (now, now_s) = (memory.snapshot(), self.now_s());
        let nothing = Snapshot {
            counts: Counts::none(memory.nr_nodes()),
            page_faults: vec![0; now.page_faults.len()],
            sites: vec![0; now.sites.len()],
        };
        let mut phases = self.phases.clone();
        phases.push(self.phase(memory, &now, now_s));
        Record {
            page_cost_ns: arguments.cost_ns,
            page_bytes: PAGE_BYTES,
            memory_bytes: arguments.bytes,
            cpu_nodes: arguments.cpu_nodes.clone(),
            sites_lost: memory.sites().lost(),
            total: span(memory, &nothing, &now),
            seconds: self.seconds.clone(),
            phases,
        }
    }

    /// Writes the record up to now. A reader finds the old file or the new one, both whole.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write(&self, memory: &Memory, arguments: &Arguments) -> io::Result<()> {
        let text = serde_json::to_string(&self.record(memory, arguments))?;
        let new: &Path = &arguments.out.with_extension("new");
        std::fs::write(new, text + "\n")?;
        std::fs::rename(new, &arguments.out)
    }

    /// Writes the counts up to now in the Prometheus text format, in the same way.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write_metrics(memory: &Memory, arguments: &Arguments) -> io::Result<()> {
        let new: &Path = &arguments.out.with_extension("prom.new");
        std::fs::write(new, memory.metrics())?;
        std::fs::rename(new, arguments.out.with_extension("prom"))
    }

    fn phase(&self, memory: &Memory, now: &Snapshot, now_s: f64) -> Phase {
        Phase { name: self.name.clone(), from_s: self.from_s, to_s: now_s, span: span(memory, &self.begun, now) }
    }

    fn now_s(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

fn span(memory: &Memory, then: &Snapshot, now: &Snapshot) -> Span {
    let sites = memory.sites().between(&then.sites, &now.sites);
    let sites =
        highest(sites, SITES_MAX, |(_, faults, _)| u64::from(*faults)).into_iter().map(|(key, faults, offset)| Site {
            code: key.code().map(|code| format!("{code:#x}")),
            page: key.page(),
            offset,
            faults: faults.into(),
        });
    Span {
        counts: now.counts.since(&then.counts),
        pages: hottest_pages(memory.nr_nodes(), then, now),
        sites: sites.collect(),
    }
}

fn hottest_pages(nr_nodes: usize, then: &Snapshot, now: &Snapshot) -> Vec<Page> {
    let width = nr_nodes * 2;
    let pairs = then.page_faults.chunks_exact(width).zip(now.page_faults.chunks_exact(width));
    let changed = pairs.enumerate().filter(|(_, (then, now))| then != now);
    let page = |(page, (then, now)): (usize, (&[u32], &[u32]))| {
        let faults = |first: usize| (first..width).step_by(2).map(|at| now[at].wrapping_sub(then[at])).collect();
        Page { page: page as u64, loads: faults(0), stores: faults(1) }
    };
    highest(changed.map(page).collect(), PAGES_MAX, Page::faults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Access;

    fn arguments() -> Arguments {
        Arguments::parse(["nodes=0:1:-", "bytes=1048576", "out=/nonexistent/dsm.json"]).unwrap()
    }

    /// Each of the first `nr_pages` pages goes to node 0 and to node 1.
    fn exchange(memory: &Memory, nr_pages: u64) {
        for page in 0..nr_pages {
            for cpu in [0, 1] {
                memory.access(Access { cpu, address: page * PAGE_BYTES, is_store: true, code: 1 << 63 | 42 });
            }
        }
    }

    #[test]
    fn what_travels_between_two_marks_belongs_to_the_phase() {
        let (arguments, memory) = (arguments(), Memory::new(&arguments()));
        let mut recorder = Recorder::new(&memory);
        exchange(&memory, 8);
        recorder.begin_phase(&memory, "work");
        exchange(&memory, 3);
        exchange(&memory, 1);
        recorder.begin_phase(&memory, "rest");
        let record = recorder.record(&memory, &arguments);
        let names: Vec<&str> = record.phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["boot", "work", "rest"]);
        let transfers = |name: &str| record.phase(name).unwrap().span.counts.transfers();
        assert_eq!((transfers("boot"), transfers("work"), transfers("rest")), (8, 8, 0));
        assert_eq!(record.total.counts.transfers(), 16);
        let work = &record.phase("work").unwrap().span;
        assert_eq!(work.pages[0], Page { page: 0, loads: vec![0, 0], stores: vec![2, 2] }, "the hottest comes first");
        assert_eq!(work.pages.len(), 3);
        assert_eq!((work.sites[0].page, work.sites[0].faults), (0, 4));
        assert_eq!(work.sites.iter().map(|site| site.faults).sum::<u64>(), work.counts.faults());
    }

    #[test]
    fn seconds_add_up_to_the_run() {
        let (arguments, memory) = (arguments(), Memory::new(&arguments()));
        let mut recorder = Recorder::new(&memory);
        for nr_pages in [5, 0, 2] {
            exchange(&memory, nr_pages);
            recorder.end_second(&memory);
        }
        let record = recorder.record(&memory, &arguments);
        let transfers: Vec<u64> = record.seconds.iter().map(|second| second.transfers.iter().flatten().sum()).collect();
        assert_eq!(transfers, [5, 0, 4]);
        assert_eq!(record.total.counts.transfers(), 9);
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let (arguments, memory) = (arguments(), Memory::new(&arguments()));
        let mut recorder = Recorder::new(&memory);
        exchange(&memory, 2);
        recorder.begin_phase(&memory, "work");
        recorder.end_second(&memory);
        let record = recorder.record(&memory, &arguments);
        assert_eq!(serde_json::from_str::<Record>(&serde_json::to_string(&record).unwrap()).unwrap(), record);
        assert_eq!(record.cpu_nodes, [Some(0), Some(1), None]);
    }
}
