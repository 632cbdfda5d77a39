//! Names for the pages and the code of a record. Runs in the machine while what it names is still there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use vnuma_dsm::{Record, Site, Span};

use super::kernel::Kernel;
use super::object::Slabs;
use super::{process, vmalloc};

/// What pages are used for, and which code touched them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Uses of pages, by page number.
    pub pages: BTreeMap<u64, String>,
    /// Functions, by the instruction's address as the record has it.
    pub code: BTreeMap<String, String>,
    /// What is at a physical address: variables and fields of objects.
    pub places: BTreeMap<u64, String>,
}

/// Names what a record has, and writes it as JSON. What an existing file of names has stays: it was named when it was fresh.
/// Processes are looked for by name.
pub fn run(record: &Path, names: &Path, processes: &[String]) -> Result<()> {
    let text = std::fs::read_to_string(record).with_context(|| format!("reading {}", record.display()))?;
    let record: Record = serde_json::from_str(&text).with_context(|| format!("reading {}", record.display()))?;
    let mut found = name(&record, processes)?;
    if let Ok(text) = std::fs::read_to_string(names) {
        found.extend(serde_json::from_str(&text).with_context(|| format!("reading {}", names.display()))?);
    }
    std::fs::write(names, serde_json::to_string(&found)?).with_context(|| format!("writing {}", names.display()))
}

impl Names {
    /// Adds names, which replace those that are there.
    fn extend(&mut self, others: Names) {
        self.pages.extend(others.pages);
        self.code.extend(others.code);
        self.places.extend(others.places);
    }
}

/// Names the pages and the code of a record of this machine.
pub fn name(record: &Record, processes: &[String]) -> Result<Names> {
    let kernel = Kernel::open()?;
    let machine = Machine::read(&kernel, record.memory_bytes / 4096, processes)?;
    let spans: Vec<&Span> = record.phases.iter().map(|phase| &phase.span).chain([&record.total]).collect();
    let sites: Vec<&Site> = spans.iter().flat_map(|span| &span.sites).collect();
    let pages: BTreeSet<u64> = spans.iter().flat_map(|span| &span.pages).map(|page| page.page).collect();
    let places: BTreeSet<u64> = sites.iter().map(|site| site.page * 4096 + u64::from(site.offset)).collect();
    let code: BTreeSet<&String> = sites.iter().filter_map(|site| site.code.as_ref()).collect();
    let function = |code: &String| kernel.symbols.name(u64::from_str_radix(code.strip_prefix("0x")?, 16).ok()?);
    Ok(Names {
        pages: pages.into_iter().map(|page| (page, machine.page(page))).collect(),
        code: code.into_iter().filter_map(|code| Some((code.clone(), function(code)?))).collect(),
        places: places.into_iter().filter_map(|address| Some((address, machine.place(address)?))).collect(),
    })
}

/// What is known of the machine's memory.
struct Machine<'a> {
    kernel: &'a Kernel,
    slabs: Option<Slabs<'a>>,
    /// Physical addresses of the kernel's image: from, bytes, and what to add for the virtual address.
    image: (u64, u64, u64),
    cpu_areas: Vec<CpuArea>,
    vmalloc: HashMap<u64, String>,
    of_processes: HashMap<u64, String>,
    flags: File,
}

/// A CPU's own variables.
struct CpuArea {
    cpu: usize,
    physical: u64,
    /// The address at which the symbols of the variables are.
    symbols_from: u64,
    symbols_bytes: u64,
    bytes: u64,
}

impl<'a> Machine<'a> {
    fn read(kernel: &'a Kernel, nr_pages: u64, processes: &[String]) -> Result<Self> {
        let (from, physical, bytes) = kernel.image()?;
        let mut of_processes = HashMap::new();
        for (process, name) in process::find(processes)? {
            process::add_pages(&process, &name, &mut of_processes).with_context(|| format!("the pages of {name}"))?;
        }
        let warned = |what: &str, err: anyhow::Error| eprintln!("vnuma-scenarios: {what} stay unnamed: {err:#}");
        let slabs = Slabs::open(kernel).map_err(|err| warned("slab caches", err)).ok();
        let descriptors = slabs.as_ref().map_or(0..0, |slabs| slabs.descriptors(nr_pages));
        Ok(Machine {
            kernel,
            slabs,
            image: (physical, bytes, from.wrapping_sub(physical)),
            cpu_areas: cpu_areas(kernel).map_err(|err| warned("per-CPU variables", err)).unwrap_or_default(),
            vmalloc: vmalloc::uses(kernel, descriptors).map_err(|err| warned("vmalloc areas", err)).unwrap_or_default(),
            of_processes,
            flags: File::open("/proc/kpageflags").context("/proc/kpageflags can't be opened")?,
        })
    }

    /// What a page is used for.
    fn page(&self, page: u64) -> String {
        let address = page * 4096;
        let (image, image_bytes, to_virtual) = self.image;
        if (image..image + image_bytes).contains(&address) {
            let address = address.wrapping_add(to_virtual);
            return format!("kernel image: {}", self.kernel.symbols.list(address, address + 4096));
        }
        if let Some(area) = self.cpu_area(address) {
            let from = area.symbol_address(address);
            return match area.is_static(address) {
                true => format!("per-CPU {}: {}", area.cpu, self.kernel.symbols.list(from, from + 4096)),
                false => format!("per-CPU {}: allocated", area.cpu),
            };
        }
        let known = self.vmalloc.get(&page).or_else(|| self.of_processes.get(&page));
        known.cloned().unwrap_or_else(|| self.by_flags(page))
    }

    fn by_flags(&self, page: u64) -> String {
        let mut word = [0; 8];
        if self.flags.read_exact_at(&mut word, page * 8).is_err() {
            return "no page of the kernel's".to_string();
        }
        let flags = Flags(u64::from_le_bytes(word));
        match (&self.slabs, flags.kind()) {
            (Some(slabs), SLAB) => slabs.slab(page).map_or(SLAB.to_string(), |slab| format!("slab: {}", slab.cache)),
            (_, kind) => kind.to_string(),
        }
    }

    /// What is at an address, where more than the page's use is known.
    fn place(&self, address: u64) -> Option<String> {
        let (image, image_bytes, to_virtual) = self.image;
        if (image..image + image_bytes).contains(&address) {
            return self.kernel.symbols.name(address.wrapping_add(to_virtual));
        }
        if let Some(area) = self.cpu_area(address) {
            let name = self.kernel.symbols.name(area.symbol_address(address)).filter(|_| area.is_static(address))?;
            return Some(format!("{name} of CPU {}", area.cpu));
        }
        let slabs = self.slabs.as_ref()?;
        let mut word = [0; 8];
        self.flags.read_exact_at(&mut word, address / 4096 * 8).ok()?;
        if Flags(u64::from_le_bytes(word)).kind() != SLAB {
            return None;
        }
        slabs.slab(address / 4096).ok().map(|slab| slabs.place(&slab, address))
    }

    fn cpu_area(&self, address: u64) -> Option<&CpuArea> {
        self.cpu_areas.iter().find(|area| (area.physical..area.physical + area.bytes).contains(&address))
    }
}

impl CpuArea {
    fn symbol_address(&self, physical: u64) -> u64 {
        self.symbols_from + (physical - self.physical)
    }

    fn is_static(&self, physical: u64) -> bool {
        physical - self.physical < self.symbols_bytes
    }
}

/// The first chunk of per-CPU memory, which lies in the map of all memory. Later chunks are vmalloc areas.
fn cpu_areas(kernel: &Kernel) -> Result<Vec<CpuArea>> {
    let address = |name: &str| kernel.symbols.address(name).with_context(|| format!("the kernel has no symbol {name}"));
    let (symbols_from, symbols_to) = (address("__per_cpu_start")?, address("__per_cpu_end")?);
    let (offsets, direct) = (address("__per_cpu_offset")?, kernel.direct_map_base()?);
    let mut bytes = [0; 4];
    kernel.read(address("pcpu_unit_size")?, &mut bytes)?;
    let area = |cpu: usize| {
        let address = kernel.read_u64(offsets + 8 * cpu as u64)?.wrapping_add(symbols_from);
        Ok(CpuArea {
            cpu,
            physical: address.wrapping_sub(direct),
            symbols_from,
            symbols_bytes: symbols_to - symbols_from,
            bytes: u32::from_le_bytes(bytes).into(),
        })
    };
    let nr_cpus = std::fs::read_dir("/sys/bus/cpu/devices")?.count();
    (0..nr_cpus).map(area).collect()
}

/// A page's flags in `/proc/kpageflags` (Documentation/admin-guide/mm/pagemap.rst).
struct Flags(u64);

const SLAB: &str = "slab";

impl Flags {
    fn kind(&self) -> &'static str {
        const KINDS: [(u32, &str); 9] = [
            (20, "no page"),
            (7, SLAB),
            (10, "free"),
            (26, "page table"),
            (32, "reserved"),
            (12, "anonymous memory"),
            (11, "mapped file"),
            (5, "page cache"),
            (4, "page cache"),
        ];
        let found = KINDS.iter().find(|(bit, _)| self.0 & 1 << bit != 0);
        found.map_or("kernel, other", |(_, kind)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_tell_the_kind_of_a_page() {
        assert_eq!(Flags(1 << 7 | 1 << 15).kind(), "slab");
        assert_eq!(Flags(1 << 12 | 1 << 11 | 1 << 5).kind(), "anonymous memory");
        assert_eq!(Flags(1 << 11 | 1 << 5).kind(), "mapped file");
        assert_eq!(Flags(0).kind(), "kernel, other");
    }

    #[test]
    fn a_cpus_area_knows_its_symbols_from_what_was_allocated() {
        let area =
            CpuArea { cpu: 1, physical: 0x10000, symbols_from: 0xffff_0000, symbols_bytes: 0x2000, bytes: 0x8000 };
        assert_eq!(area.symbol_address(0x11008), 0xffff_1008);
        assert!(area.is_static(0x11fff) && !area.is_static(0x12000));
    }
}
