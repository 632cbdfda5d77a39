//! The hottest pages and the code that touched them, as text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use vnuma_dsm::{Phase, Record, Site, Span};

use super::naming::Names;
use super::picture;

/// What is shown of each phase.
const SHOWN: usize = 20;

/// Prints a record with the names that there are, or draws it.
pub fn show(record: &Path, names: Option<&Path>, phase: Option<&str>, svg: Option<&Path>) -> Result<()> {
    let record: Record = read(record)?;
    if let Some(svg) = svg {
        return std::fs::write(svg, picture::draw(&record)?).with_context(|| format!("writing {}", svg.display()));
    }
    let names = names.map_or_else(|| Ok(Names::default()), read)?;
    print!("{}", text(&record, &names, phase)?);
    Ok(())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// A record as text: all phases, or the last one of a name.
fn text(record: &Record, names: &Names, phase: Option<&str>) -> Result<String> {
    let mut text = String::new();
    if phase.is_none() {
        add_table(&mut text, &record.phases)?;
    }
    match phase {
        Some(name) => {
            add_phase(&mut text, record.phase(name).with_context(|| format!("no phase is called {name}"))?, names)?
        }
        None => record.phases.iter().try_for_each(|phase| add_phase(&mut text, phase, names))?,
    }
    Ok(text)
}

/// A line for each phase. Where its name ends with a number of operations, such as `x200`, also faults for each of them.
fn add_table(text: &mut String, phases: &[Phase]) -> Result<()> {
    writeln!(text, "{:>8} {:>9} {:>9} {:>11}  phase", "seconds", "pages", "other", "faults/op")?;
    for phase in phases {
        let counts = &phase.span.counts;
        let (pages, faults) = (counts.transfers(), counts.faults());
        let each = operations(&phase.name).map_or(String::new(), |nr| format!("{:.1}", faults as f64 / nr as f64));
        let (lasted_s, others) = (phase.to_s - phase.from_s, faults - pages);
        writeln!(text, "{lasted_s:>8.1} {pages:>9} {others:>9} {each:>11}  {}", phase.name)?;
    }
    Ok(())
}

/// The number of operations of a phase, from its name.
fn operations(name: &str) -> Option<u64> {
    name.rsplit_once(" x")?.1.parse().ok().filter(|nr| *nr > 0)
}

fn add_phase(text: &mut String, phase: &Phase, names: &Names) -> Result<()> {
    let (span, lasted_s) = (&phase.span, phase.to_s - phase.from_s);
    let (transfers, faults) = (span.counts.transfers(), span.counts.faults());
    let upgrades = faults - transfers;
    writeln!(text, "{}: {lasted_s:.1} s, {transfers} pages travelled, {upgrades} faults without one", phase.name)?;
    writeln!(text, "  by use of the page")?;
    add_lines(text, uses(span, names), faults)?;
    writeln!(text, "  by page")?;
    let page = |(page, faults): (u64, u64)| (format!("{page:#x} {}", use_of(page, names)), faults);
    add_lines(text, span.faults_by_page().into_iter().map(page).collect(), faults)?;
    writeln!(text, "  by code and place")?;
    add_lines(text, span.sites.iter().map(|site| (site_name(site, names), site.faults)).collect(), faults)?;
    Ok(())
}

/// The lines with the most faults, with their share of all.
fn add_lines(text: &mut String, lines: Vec<(String, u64)>, all: u64) -> Result<()> {
    let mut lines = lines;
    lines.sort_by_key(|(_, faults)| std::cmp::Reverse(*faults));
    for (name, faults) in lines.iter().take(SHOWN) {
        writeln!(text, "    {faults:>8} {:>5.1} %  {name}", 100.0 * *faults as f64 / all.max(1) as f64)?;
    }
    Ok(())
}

/// Faults by use. Uses that list symbols are counted by their kind.
fn uses(span: &Span, names: &Names) -> Vec<(String, u64)> {
    let mut uses: BTreeMap<String, u64> = BTreeMap::new();
    for (page, faults) in span.faults_by_page() {
        let name = use_of(page, names);
        let kind = match name.split_once(": ") {
            Some((kind, _)) if kind.starts_with("per-CPU") => "per-CPU".to_string(),
            Some(("kernel image", _)) => "kernel image".to_string(),
            _ => name.to_string(),
        };
        *uses.entry(kind).or_default() += faults;
    }
    uses.into_iter().collect()
}

fn use_of(page: u64, names: &Names) -> &str {
    names.pages.get(&page).map_or("unnamed", String::as_str)
}

fn site_name(site: &Site, names: &Names) -> String {
    let code = match &site.code {
        Some(code) => names.code.get(code).unwrap_or(code),
        None => "a program",
    };
    let address = site.page * 4096 + u64::from(site.offset);
    let place = names.places.get(&address).map_or(use_of(site.page, names), String::as_str);
    format!("{code}: {place}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vnuma_dsm::{Counts, Page};

    fn record() -> Record {
        let counts = Counts { reads: vec![vec![0, 30], vec![10, 0]], upgrades: vec![10, 0], ..Counts::none(2) };
        let pages = vec![
            Page { page: 16, loads: vec![10, 20], stores: vec![10, 0] },
            Page { page: 17, loads: vec![0, 10], stores: vec![0, 0] },
        ];
        let sites = vec![Site { code: Some("0xf00".to_string()), page: 16, offset: 8, faults: 40 }];
        let phase = Phase { name: "work".to_string(), from_s: 1.0, to_s: 3.0, span: Span { counts, pages, sites } };
        Record { phases: vec![phase], ..Record::default() }
    }

    #[test]
    fn pages_and_code_are_named_and_the_hottest_come_first() {
        let mut names = Names::default();
        names.pages.extend([(16, "per-CPU 0: runqueues".to_string()), (17, "slab: dentry".to_string())]);
        names.code.insert("0xf00".to_string(), "try_to_wake_up+0x4".to_string());
        names.places.insert(16 * 4096 + 8, "runqueues+0x8 of CPU 0".to_string());
        let text = text(&record(), &names, Some("work")).unwrap();
        let expected = "work: 2.0 s, 40 pages travelled, 10 faults without one
  by use of the page
          40  80.0 %  per-CPU
          10  20.0 %  slab: dentry
  by page
          40  80.0 %  0x10 per-CPU 0: runqueues
          10  20.0 %  0x11 slab: dentry
  by code and place
          40  80.0 %  try_to_wake_up+0x4: runqueues+0x8 of CPU 0
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_phases_name_tells_its_operations() {
        assert_eq!(operations("fair: processes on a node x50"), Some(50));
        assert_eq!([operations("boot"), operations("an x"), operations("none x0")], [None; 3]);
        let table = text(&record(), &Names::default(), None).unwrap();
        assert!(table.contains("     2.0        40        10              work"), "{table}");
    }

    #[test]
    fn a_record_without_names_is_shown_all_the_same() {
        let text = text(&record(), &Names::default(), None).unwrap();
        assert!(text.contains("0xf00: unnamed"), "{text}");
        assert!(super::text(&record(), &Names::default(), Some("idle")).is_err());
    }
}
