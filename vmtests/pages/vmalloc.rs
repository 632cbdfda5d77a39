//! Pages of the kernel's virtually contiguous memory: thread stacks, BPF maps and programs, modules, per-CPU chunks, and the
//! descriptors of all pages.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result};

use super::kernel::Kernel;

/// An area, and the function that asked for it.
#[derive(Debug, PartialEq, Eq)]
struct Area {
    from: u64,
    to: u64,
    caller: String,
}

/// What each page is used for, by physical page number: the function that asked for it. `descriptors` are the addresses of the
/// descriptors of pages.
pub fn uses(kernel: &Kernel, descriptors: Range<u64>) -> Result<HashMap<u64, String>> {
    let text = std::fs::read_to_string("/proc/vmallocinfo").context("/proc/vmallocinfo can't be read")?;
    let mut tables = PageTables::open(kernel)?;
    let mut uses = HashMap::new();
    for area in text.lines().filter_map(parse_area) {
        let name = format!("vmalloc: {}", area.caller);
        tables.each_page(area.from..area.to, |page| drop(uses.insert(page, name.clone())));
    }
    tables.each_page(descriptors, |page| drop(uses.insert(page, "descriptors of pages".to_string())));
    Ok(uses)
}

/// Parses `0xFROM-0xTO BYTES CALLER ...`. Areas of devices' memory are no pages of ours.
fn parse_area(line: &str) -> Option<Area> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let address = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let caller = words.nth(1)?.split('+').next()?.to_string();
    if words.any(|word| word == "ioremap") {
        return None;
    }
    Some(Area { from: address(from)?, to: address(to)?, caller })
}

/// The kernel's page tables, of which each page is read once.
struct PageTables<'a> {
    kernel: &'a Kernel,
    direct_map_base: u64,
    levels: u32,
    top: u64,
    read: HashMap<u64, Option<Vec<u8>>>,
}

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

impl<'a> PageTables<'a> {
    fn open(kernel: &'a Kernel) -> Result<Self> {
        let top = kernel.symbols.address("init_top_pgt").context("the kernel has no symbol init_top_pgt")?;
        let (direct_map_base, levels) = (kernel.direct_map_base()?, kernel.page_table_levels()?);
        Ok(PageTables { kernel, direct_map_base, levels, top, read: HashMap::new() })
    }

    /// Visits the physical pages of a range of addresses. Some areas are far larger than what is mapped of them.
    fn each_page(&mut self, addresses: Range<u64>, mut visit: impl FnMut(u64)) {
        let mut address = addresses.start;
        while address < addresses.end {
            match self.page(address) {
                Ok(page) => {
                    visit(page);
                    address += 4096;
                }
                Err(bytes) => address = (address & !(bytes - 1)).saturating_add(bytes),
            }
        }
    }

    /// The physical page at a virtual address; or the size of the aligned range of addresses around it of which none is mapped.
    fn page(&mut self, address: u64) -> Result<u64, u64> {
        let mut table = self.top;
        for level in (0..self.levels).rev() {
            let bytes = 1 << (12 + 9 * level);
            let entry = self.entry(table, address >> (12 + 9 * level) & 511).unwrap_or(0);
            if entry & PRESENT == 0 {
                return Err(bytes);
            }
            if level > 0 && entry & LARGE != 0 {
                // Bit 12 of a large page's entry is a flag.
                return Ok(((entry & ADDRESS & !(1 << 12)) + (address & (bytes - 1))) / 4096);
            }
            table = (entry & ADDRESS) + self.direct_map_base;
        }
        Ok((table - self.direct_map_base) / 4096)
    }

    fn entry(&mut self, table: u64, index: u64) -> Option<u64> {
        let kernel = self.kernel;
        let page = self.read.entry(table).or_insert_with(|| {
            let mut page = vec![0; 4096];
            kernel.read(table, &mut page).ok().map(|()| page)
        });
        let at = index as usize * 8;
        Some(u64::from_le_bytes(page.as_ref()?[at..at + 8].try_into().expect("BUG: a range of 8 bytes has 8 bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_named_by_their_caller_and_devices_memory_is_left_out() {
        let stack = "0xffffc90000000000-0xffffc90000005000   20480 dup_task_struct+0x60/0x1b0 pages=4 vmalloc N0=4";
        let area =
            Area { from: 0xffff_c900_0000_0000, to: 0xffff_c900_0000_5000, caller: "dup_task_struct".to_string() };
        assert_eq!(parse_area(stack), Some(area));
        let device = "0xffffc90000006000-0xffffc90000008000    8192 acpi_os_map_iomem+0x1/0x2 phys=0x3ffe0000 ioremap";
        assert_eq!(parse_area(device), None);
    }
}
