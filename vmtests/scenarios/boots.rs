//! The machines to boot for a set of scenarios, and the scenarios that run in each.

use std::fmt::{Display, Formatter, Result as FmtResult};

use super::register::{groups, Place, Scenario, SCENARIOS};

/// The table of NUMA shapes that `vmtests/vm` boots: a name, then options of virtme-ng.
const SHAPES: &str = include_str!("../machines/shapes");
/// Shapes that older kernels boot too: other scenarios boot them there anyway.
const SHAPES_OF_OLDER: [&str; 2] = ["2x2", "4x1"];
/// Time-out for all scenarios of one single-level virtual machine, s.
const VM_TIMEOUT_S: u32 = 400;

/// One machine, booted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The group, and what distinguishes this boot from the group's others.
    pub title: String,
    /// The command that runs a script in it, without the script's path: `lab`, `vm` or `here`, and options.
    pub command: String,
    /// Their names, in the order in which they run.
    pub scenarios: Vec<&'static str>,
}

/// Tab-separated, as `vmtests/run` reads it.
impl Display for Boot {
    fn fmt(&self, f: &mut Formatter) -> FmtResult {
        write!(f, "{}\t{}\t{}", self.title, self.command, self.scenarios.join(" "))
    }
}

/// A name that is neither that of a group nor that of a scenario.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no group or scenario '{0}'; `vnuma-scenarios list` shows all")]
pub struct UnknownName(String);

/// The boots for these groups and scenarios; if none is named, for all but those that run by name only. `kernels` are series, the newest first.
pub fn plan(names: &[String], kernels: &[String]) -> Result<Vec<Boot>, UnknownName> {
    let is_known = |name: &str| SCENARIOS.iter().any(|scenario| answers_to(scenario, name));
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        return Err(UnknownName(unknown.clone()));
    }
    let is_chosen = |scenario: &&Scenario| match names.is_empty() {
        true => !scenario.group.by_name_only,
        false => names.iter().any(|name| answers_to(scenario, name)),
    };
    let mut boots: Vec<Boot> = Vec::new();
    for scenario in SCENARIOS.iter().filter(is_chosen) {
        for boot in boots_of(scenario, kernels) {
            match boots.iter_mut().find(|planned| planned.title == boot.title) {
                Some(planned) => planned.scenarios.push(scenario.name),
                None => boots.push(boot),
            }
        }
    }
    Ok(boots)
}

/// The register as text: each group followed by its scenarios. If a group is named, that group only.
pub fn list(only: Option<&str>) -> String {
    let mut text = String::new();
    for group in groups().into_iter().filter(|group| only.is_none_or(|name| group.name == name)) {
        text += &format!("{}: {}\n", group.name, group.about);
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.group.name == group.name) {
            text += &format!("    {}\n", scenario.name);
        }
    }
    text
}

fn answers_to(scenario: &Scenario, name: &str) -> bool {
    scenario.name == name || scenario.group.name == name
}

/// The boots of a scenario, one for each time that it runs.
fn boots_of(scenario: &Scenario, kernels: &[String]) -> Vec<Boot> {
    let group = scenario.group;
    let boot = |title: String, command: String| Boot { title, command, scenarios: vec![scenario.name] };
    let vm = |shape: &str, kernel: &String| {
        let command = format!("vm --shape {shape} --kernel {kernel} --timeout {VM_TIMEOUT_S} --script");
        boot(format!("{}: shape {shape}, kernel {kernel}", group.name), command)
    };
    let once: Vec<Boot> = match scenario.place {
        Place::Lab => vec![boot(group.name.into(), format!("lab {} --guest-script", group.lab))],
        Place::EveryShape => {
            let kernels_of = |shape| match SHAPES_OF_OLDER.contains(&shape) {
                true => kernels,
                false => kernels.get(..1).unwrap_or_default(),
            };
            shapes().flat_map(|shape| kernels_of(shape).iter().map(move |kernel| vm(shape, kernel))).collect()
        }
        Place::EveryKernel(shape) => kernels.iter().map(|kernel| vm(shape, kernel)).collect(),
        Place::Shape(shape) => kernels.first().map(|kernel| vm(shape, kernel)).into_iter().collect(),
        Place::Distributed(shape) => {
            let with_pages = |kernel| {
                let Boot { title, command, scenarios } = vm(shape, kernel);
                Boot { title, command: command.replace(" --script", " --page-cost 20us --script"), scenarios }
            };
            kernels.first().map(with_pages).into_iter().collect()
        }
        Place::Here => vec![boot(group.name.into(), "here --script".into())],
    };
    (1..=group.nr_boots).flat_map(|nr| once.iter().map(move |boot| numbered(boot, nr, group.nr_boots))).collect()
}

fn numbered(boot: &Boot, nr: u32, of: u32) -> Boot {
    let title = if of == 1 { boot.title.clone() } else { format!("{}, {nr} of {of}", boot.title) };
    Boot { title, ..boot.clone() }
}

fn shapes() -> impl Iterator<Item = &'static str> {
    let rows = SHAPES.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.split_whitespace().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(names: &[&str]) -> Vec<Boot> {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        plan(&names, &["7.3".into(), "7.2".into()]).expect("all names are known")
    }

    #[test]
    fn a_name_that_no_scenario_and_no_group_has_is_refused() {
        let names = ["moving", "a_hog_is_fled_within_three_rounds"].map(String::from);
        let refused = plan(&names, &["7.3".into()]);
        assert_eq!(refused, Err(UnknownName("a_hog_is_fled_within_three_rounds".into())));
    }

    #[test]
    fn without_a_name_each_scenario_runs_somewhere_unless_it_runs_by_name_only() {
        let boots = planned(&[]);
        for Scenario { name, group, .. } in SCENARIOS {
            assert_eq!(boots.iter().any(|boot| boot.scenarios.contains(name)), !group.by_name_only, "{name}");
        }
        assert_eq!(planned(&["long"]).len(), 1);
    }

    #[test]
    fn the_scenarios_of_a_lab_group_share_one_boot() {
        let boots = planned(&["staying", "moving"]);
        assert_eq!(boots.iter().map(|boot| boot.title.as_str()).collect::<Vec<_>>(), ["moving", "staying"]);
        let nr_staying = SCENARIOS.iter().filter(|scenario| scenario.group.name == "staying").count();
        assert_eq!(boots[1].scenarios.len(), nr_staying);
    }

    #[test]
    fn a_scenario_that_is_named_twice_runs_once() {
        let boots = planned(&["hosts", "a_destination_whose_host_dies_is_left"]);
        let named = boots.iter().flat_map(|boot| &boot.scenarios);
        assert_eq!(named.filter(|name| **name == "a_destination_whose_host_dies_is_left").count(), 1);
    }

    #[test]
    fn every_shape_is_booted_on_the_newest_kernel_and_two_on_every_kernel() {
        let boots = planned(&["any_shape_loads_and_unloads"]);
        assert_eq!(boots.len(), 7 + SHAPES_OF_OLDER.len());
        assert_eq!(boots[2].command, "vm --shape 2x2 --kernel 7.2 --timeout 400 --script");
    }

    #[test]
    fn a_shape_of_the_newest_kernel_is_booted_once() {
        let boots = planned(&["memory_follows_a_process_when_asked", "ten_thousand_tasks_cost_little"]);
        let [boot] = &boots[..] else { panic!("{boots:?}") };
        assert_eq!(boot.title, "shapes: shape 2x2, kernel 7.3");
        assert_eq!(boot.scenarios, ["ten_thousand_tasks_cost_little", "memory_follows_a_process_when_asked"]);
    }

    #[test]
    fn distributed_memory_is_in_a_machine_of_its_own() {
        let boots = planned(&["distributed"]);
        let [boot] = &boots[..] else { panic!("{boots:?}") };
        assert_eq!(boot.command, "vm --shape 2x2 --kernel 7.3 --timeout 400 --page-cost 20us --script");
    }

    #[test]
    fn ten_kills_are_in_two_guests() {
        assert_eq!(planned(&["killing"]).len(), 2);
    }
}
