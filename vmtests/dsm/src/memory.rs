//! The pages of a machine: who holds them, and what travelled. Many threads change it at once, one for each virtual CPU.
//!
//! The usual access finds that its node may do what it does: one relaxed load and a comparison. A fault changes the page's state
//! by compare-and-swap, so each change is counted once, by the CPU that made it, whatever other CPUs do meanwhile.
//!
//! The access itself has happened when it is reported, so nothing depends on this state but the counts and the waiting.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::counters::{Counts, CpuCounters};
use crate::protocol::{Fault, State};
use crate::sites::{Key, Sites};
use crate::{Arguments, PAGE_BYTES};

/// The distributed memory of a machine.
pub struct Memory {
    base: u64,
    cost: Duration,
    nr_nodes: usize,
    cpu_nodes: Vec<Option<usize>>,
    states: Vec<AtomicU32>,
    /// Of each page, of each node: faults of its loads, then of its stores.
    page_faults: Vec<AtomicU32>,
    cpus: Vec<CpuCounters>,
    sites: Sites,
}

/// An access to memory.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The virtual CPU's index.
    pub cpu: usize,
    /// The physical address.
    pub address: u64,
    /// Whether it writes.
    pub is_store: bool,
    /// The virtual address of the instruction.
    pub code: u64,
}

/// All counts at one moment.
pub(crate) struct Snapshot {
    pub(crate) counts: Counts,
    pub(crate) page_faults: Vec<u32>,
    pub(crate) sites: Vec<u32>,
}

impl Memory {
    /// A memory that nobody has touched.
    pub fn new(arguments: &Arguments) -> Self {
        let nr_pages = arguments.bytes.div_ceil(PAGE_BYTES) as usize;
        let nr_nodes = arguments.nr_nodes();
        Memory {
            base: arguments.base,
            cost: Duration::from_nanos(arguments.cost_ns),
            nr_nodes,
            cpu_nodes: arguments.cpu_nodes.clone(),
            states: zeros(nr_pages),
            page_faults: zeros(nr_pages * nr_nodes * 2),
            cpus: arguments.cpu_nodes.iter().map(|_| CpuCounters::default()).collect(),
            sites: Sites::new(),
        }
    }

    /// The number of nodes.
    pub fn nr_nodes(&self) -> usize {
        self.nr_nodes
    }

    /// The node of a virtual CPU; `None` if it belongs to none, so that its accesses are not counted.
    #[inline]
    pub fn node_of(&self, cpu: usize) -> Option<usize> {
        self.cpu_nodes.get(cpu).copied().flatten()
    }

    /// Accounts for an access by the CPU's own thread. If the page must travel, or other nodes' copies must end, it waits for the
    /// cost of a page.
    #[inline]
    pub fn access(&self, access: Access) {
        let Some(node) = self.node_of(access.cpu) else { return };
        // Addresses below the base wrap to pages that don't exist.
        let page = access.address.wrapping_sub(self.base) / PAGE_BYTES;
        let Some(state) = self.states.get(page as usize) else { return };
        if !State(state.load(Relaxed)).allows(node, access.is_store) {
            self.fault(access, node, page);
        }
    }

    #[cold]
    fn fault(&self, access: Access, node: usize, page: u64) {
        let state = &self.states[page as usize];
        let mut seen = State(state.load(Relaxed));
        let fault = loop {
            // Another CPU of the node may have fetched the page in the meantime.
            let Some((after, fault)) = seen.after(node, access.is_store) else { return };
            match state.compare_exchange_weak(seen.0, after.0, Relaxed, Relaxed) {
                Ok(_) => break fault,
                Err(other) => seen = State(other),
            }
        };
        self.cpus[access.cpu].count(fault);
        if fault == Fault::FirstTouch {
            return;
        }
        let of_page = (page as usize * self.nr_nodes + node) * 2 + usize::from(access.is_store);
        self.page_faults[of_page].fetch_add(1, Relaxed);
        self.sites.count(Key::new(access.code, page), (access.address % PAGE_BYTES) as u32);
        self.cpus[access.cpu].count_waited(busy_wait(self.cost).as_nanos() as u64);
    }

    /// All counts up to now. CPUs that run meanwhile may be in it or not.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut counts = Counts::none(self.nr_nodes);
        for (cpu, node) in self.cpus.iter().zip(&self.cpu_nodes) {
            if let Some(node) = node {
                cpu.add_to(&mut counts, *node);
            }
        }
        let page_faults = self.page_faults.iter().map(|faults| faults.load(Relaxed)).collect();
        Snapshot { counts, page_faults, sites: self.sites.snapshot() }
    }

    /// What travelled up to now, by node.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::none(self.nr_nodes);
        for (cpu, node) in self.cpus.iter().zip(&self.cpu_nodes) {
            node.iter().for_each(|node| cpu.add_to(&mut counts, *node));
        }
        counts
    }

    /// Time for which each node's CPUs have waited, ns.
    pub fn waited_ns(&self) -> Vec<u64> {
        let mut waited_ns = vec![0; self.nr_nodes];
        for (cpu, node) in self.cpus.iter().zip(&self.cpu_nodes) {
            node.iter().for_each(|node| waited_ns[*node] += cpu.waited_ns());
        }
        waited_ns
    }

    pub(crate) fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Copies of pages that exist.
    #[cfg(test)]
    fn nr_copies(&self) -> u64 {
        self.states.iter().map(|state| u64::from(State(state.load(Relaxed)).holders().count_ones())).sum()
    }
}

fn zeros(length: usize) -> Vec<AtomicU32> {
    (0..length).map(|_| AtomicU32::new(0)).collect()
}

/// Waits for so long, and returns how long it was: the thread may have been preempted.
fn busy_wait(cost: Duration) -> Duration {
    if cost.is_zero() {
        return cost;
    }
    let start = Instant::now();
    loop {
        let waited = start.elapsed();
        if waited >= cost {
            return waited;
        }
        spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(nr_nodes: usize, nr_pages: u64, cost_ns: u64) -> Memory {
        Memory::new(&Arguments {
            cpu_nodes: (0..nr_nodes).map(Some).chain([None]).collect(),
            base: 0x4000_0000,
            bytes: nr_pages * PAGE_BYTES,
            cost_ns,
            out: "unused".into(),
        })
    }

    fn touch(memory: &Memory, cpu: usize, page: u64, is_store: bool) {
        memory.access(Access { cpu, address: 0x4000_0000 + page * PAGE_BYTES + 8, is_store, code: 0x1000 });
    }

    #[test]
    fn transfers_are_counted_by_the_nodes_between_which_they_happen() {
        let memory = memory(3, 4, 0);
        for (cpu, is_store) in [(0, true), (1, false), (2, true), (0, false)] {
            touch(&memory, cpu, 3, is_store);
        }
        let counts = memory.counts();
        assert_eq!(counts.first_touches, [1, 0, 0]);
        assert_eq!(counts.reads, [[0, 1, 0], [0, 0, 0], [1, 0, 0]], "from the row's node to the column's");
        assert_eq!(counts.writes, [[0, 0, 1], [0, 0, 0], [0, 0, 0]]);
        assert_eq!(counts.invalidations, [[0, 0, 1], [0, 0, 1], [0, 0, 0]]);
        assert_eq!((counts.transfers(), counts.bytes[0][1]), (3, PAGE_BYTES));
        let faults = memory.snapshot().page_faults;
        assert_eq!(faults[3 * 6..], [1, 0, 1, 0, 0, 1], "of page 3, loads and stores of each node");
        assert_eq!(faults[..3 * 6], [0; 18]);
    }

    #[test]
    fn memory_outside_and_cpus_without_a_node_are_not_counted() {
        let memory = memory(2, 4, 0);
        touch(&memory, 0, 4, true);
        touch(&memory, 2, 0, true);
        touch(&memory, 99, 0, true);
        memory.access(Access { cpu: 0, address: 0x3fff_fff8, is_store: true, code: 0 });
        assert_eq!(memory.counts(), Counts::none(2));
        assert_eq!(memory.nr_copies(), 0);
    }

    #[test]
    fn only_what_travels_or_ends_a_copy_is_waited_for() {
        let memory = memory(2, 1, 200_000_000);
        let took_ms = |cpu, is_store| {
            let start = Instant::now();
            touch(&memory, cpu, 0, is_store);
            start.elapsed().as_millis()
        };
        assert!(took_ms(0, true) < 200, "the first touch");
        assert!(took_ms(1, false) >= 200, "a copy");
        assert!(took_ms(1, false) < 200, "a copy that is there");
        assert!(took_ms(1, true) >= 200, "the end of the other's copy");
    }

    /// A plain model of the protocol, without a thought for speed.
    #[derive(Default)]
    struct Model {
        holders: Vec<usize>,
        owner: usize,
        reads: u64,
        writes: u64,
        upgrades: u64,
    }

    impl Model {
        fn access(&mut self, node: usize, is_store: bool) {
            let had = self.holders.contains(&node);
            let others = self.holders.iter().any(|holder| *holder != node);
            match (is_store, had) {
                (false, false) if others => self.reads += 1,
                (true, false) if others => self.writes += 1,
                (true, true) if others => self.upgrades += 1,
                _ => {}
            }
            if is_store {
                self.holders = vec![node];
                self.owner = node;
            } else if !had {
                self.holders.push(node);
            }
        }
    }

    #[test]
    fn one_thread_counts_what_a_plain_model_counts() {
        let (nr_nodes, nr_pages) = (5, 7);
        let memory = memory(nr_nodes, nr_pages, 0);
        let mut models: Vec<Model> = (0..nr_pages).map(|_| Model::default()).collect();
        let mut random = 1_u64;
        for _ in 0..100_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (cpu, page, is_store) = ((random >> 33) % 5, (random >> 40) % nr_pages, random >> 60 < 5);
            touch(&memory, cpu as usize, page, is_store);
            models[page as usize].access(cpu as usize, is_store);
        }
        let counts = memory.counts();
        let sum = |of: fn(&Model) -> u64| models.iter().map(of).sum::<u64>();
        assert_eq!(counts.reads.iter().flatten().sum::<u64>(), sum(|model| model.reads));
        assert_eq!(counts.writes.iter().flatten().sum::<u64>(), sum(|model| model.writes));
        assert_eq!(counts.upgrades.iter().sum::<u64>(), sum(|model| model.upgrades));
        assert_eq!(memory.nr_copies(), sum(|model| model.holders.len() as u64));
    }

    #[test]
    fn no_transition_is_lost_or_counted_twice_when_cpus_race() {
        let (nr_nodes, nr_pages) = (4, 3);
        let memory = memory(nr_nodes, nr_pages, 0);
        std::thread::scope(|scope| {
            for cpu in 0..nr_nodes {
                let memory = &memory;
                scope.spawn(move || {
                    (0..200_000_u64).for_each(|n| touch(memory, cpu, (n * 7 + n / 13) % nr_pages, n % 3 == 0));
                });
            }
        });
        let counts = memory.counts();
        // Each copy that was made exists still or was ended by one store: only if every change of a state is counted once.
        let made = counts.first_touches.iter().sum::<u64>() + counts.transfers();
        let ended: u64 = counts.invalidations.iter().flatten().sum();
        assert_eq!(made, ended + memory.nr_copies());
        assert_eq!(counts.first_touches.iter().sum::<u64>(), nr_pages);
        let by_page: u64 = memory.snapshot().page_faults.iter().map(|faults| u64::from(*faults)).sum();
        assert_eq!(by_page, counts.faults());
        let by_code: u64 = memory.snapshot().sites.iter().map(|faults| u64::from(*faults)).sum();
        assert_eq!(by_code, counts.faults());
        for (from, to) in (0..nr_nodes).map(|node| (node, node)) {
            assert_eq!(counts.reads[from][to] + counts.writes[from][to], 0, "no page travels to where it is");
        }
        assert!(counts.transfers() > 0);
    }

    #[test]
    fn cpus_of_a_node_share_its_copies() {
        let arguments = Arguments {
            cpu_nodes: vec![Some(0), Some(0), Some(1)],
            base: 0x4000_0000,
            bytes: PAGE_BYTES,
            cost_ns: 0,
            out: "unused".into(),
        };
        let memory = Memory::new(&arguments);
        touch(&memory, 0, 0, true);
        touch(&memory, 1, 0, true);
        assert_eq!(memory.counts().faults(), 0);
        touch(&memory, 2, 0, false);
        touch(&memory, 1, 0, true);
        assert_eq!(memory.counts().upgrades, [1, 0], "counted by the node, whichever of its CPUs it was");
    }
}
