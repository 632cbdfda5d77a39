//! The experiments in their shortest forms: what they run works, whatever its figures.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::experiments::colocation;
use crate::experiments::sharers::{self, arms, report, Program};

/// Both levels write a record of each arm, and the report can be drawn.
pub fn each_arm_of_the_experiment_works() -> Result<String> {
    const NR_ARMS: usize = colocation::Arm::ALL.len();
    let vmtests = PathBuf::from(std::env::var("VMTESTS").context("VMTESTS, which vmtests/run sets")?);
    let out = std::env::temp_dir().join(format!("vnuma-colocation.{}", std::process::id()));
    let said = Command::new(vmtests.join("experiments/colocation/run")).arg("--short").arg(&out).output()?;
    let said = [said.stdout, said.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    let nr_records = |file: &str| std::fs::read_to_string(out.join(file)).unwrap_or_default().lines().count();
    let records = ["hosts.jsonl", "guest.jsonl"].map(nr_records);
    let is_drawn = std::fs::metadata(out.join("report.html")).is_ok_and(|file| file.len() > 0);
    let _ = std::fs::remove_dir_all(&out);
    ensure!(records == [NR_ARMS; 2], "{records:?} records instead of {NR_ARMS} of each level: {said}");
    ensure!(is_drawn, "no report was written: {said}");
    Ok(format!("{NR_ARMS} arms"))
}

/// Each program works under the fair class, one also under `auto`; the machine's record has their pages, and the report can be drawn.
pub fn programs_that_share_are_compared() -> Result<String> {
    let out = std::env::temp_dir().join("sharers");
    std::fs::create_dir_all(&out)?;
    // memcached isn't in this machine.
    let programs: Vec<Program> = Program::ALL.into_iter().filter(|&program| program != Program::Memcached).collect();
    let run = |programs: &[Program], arm, settle| {
        let (programs, out) = (programs.to_vec(), out.clone());
        arms::run(&arms::Options {
            rounds: 1,
            settle,
            window: 2,
            members: None,
            page_cost: None,
            programs,
            arms: vec![arm],
            out,
        })
    };
    run(&programs, sharers::Arm::Fair, 1)?;
    run(&[Program::Solver], sharers::Arm::Auto, 5)?;
    // The plugin writes the record after the last mark.
    std::thread::sleep(Duration::from_secs(2));
    std::fs::copy("/lab/dsm/dsm.json", out.join("dsm.json")).context("copying the record of pages")?;
    let svg = out.join("report.svg");
    report::run(&report::Options { folder: out.clone(), svg: Some(svg.clone()) })?;
    let turns = report::turns(&out)?;
    ensure!(turns.len() == programs.len() + 1, "{} turns", turns.len());
    for (turn, _) in &turns {
        ensure!(turn.work.iter().all(|&work| work > 0), "a team did nothing: {turn:?}");
    }
    ensure!(std::fs::metadata(&svg)?.len() > 0, "the picture is empty");
    let pages = |wanted| turns.iter().find(|(turn, _)| turn.program == wanted).map_or(0.0, |(_, pages)| pages.faults);
    let (shared, alone) = (pages(Program::StencilProcesses), pages(Program::Alone));
    Ok(format!("{} turns; faults per second of processes that share {shared:.0}, of others {alone:.0}", turns.len()))
}
