//! Runs scenarios one after the other, and reports each in a line that `vmtests/run` reads.

use std::time::Instant;

use anyhow::Result;

use super::register::{find, Place, Scenario};
use super::shapes::nothing_is_left;
use crate::guest;

/// Runs these scenarios in the given order, and prints `ok` or `FAILED`, the name and the figures of each. Names that the
/// register doesn't have are skipped. Returns true if none failed.
pub fn run(names: &[String]) -> bool {
    let mut nr_failed = 0;
    for scenario in names.iter().filter_map(|name| find(name)) {
        let name = scenario.name;
        let start = Instant::now();
        let outcome = run_one(scenario);
        let took_s = start.elapsed().as_secs_f64();
        match outcome {
            Ok(figures) => println!("ok      {name} ({took_s:.1} s) {figures}"),
            Err(err) => {
                nr_failed += 1;
                println!("FAILED  {name} ({took_s:.1} s): {err:#}");
                guest::print_last_log();
            }
        }
    }
    nr_failed == 0
}

fn run_one(scenario: &Scenario) -> Result<String> {
    if scenario.place == Place::Here {
        return (scenario.run)();
    }
    let outcome = (scenario.run)().and_then(|figures| nothing_is_left().map(|()| figures));
    // The next scenario starts without hogs, whatever happened in this one. Outside the lab there are none.
    let _ = guest::hog(&[]);
    outcome
}
