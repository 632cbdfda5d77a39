//! The co-location experiment as a scenario.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::experiments::colocation::Arm;

/// Both levels write a record of each arm, and the report can be drawn.
pub fn each_arm_of_the_experiment_works() -> Result<String> {
    const NR_ARMS: usize = Arm::ALL.len();
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
