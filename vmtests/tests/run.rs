//! Tests `vmtests/run` without a virtual machine: a fake `vmtests/lab` reports what a guest would.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const MACHINES: &str = "machines";

/// Reports each scenario that it is given, those in $FAILING as failed, and records each boot in $BOOTS.
const FAKE_LAB: &str = r#"#!/bin/sh
while [ "$1" != --guest-script ] && [ "$1" != --script ]; do shift; done
read -r _ _ names <"$2"
echo "${0##*/} $names" >>"$BOOTS"
for name in $names; do
    case " $FAILING " in
    *" $name "*) echo "guest| FAILED  $name (0.1 s): made up" && status=1 ;;
    *) echo "guest| ok      $name (0.1 s)" ;;
    esac
done
exit ${status-0}
"#;

/// A project with a fake lab and fake virtual machines.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vmtests = folder.path().join("vmtests");
        std::fs::create_dir_all(folder.path().join("target/release")).unwrap();
        std::fs::create_dir(&vmtests).unwrap();
        // Only the first one is run outside of a machine.
        for name in ["vnuma-scenarios", "vnuma-colocation", "vnuma-sim", "scx_vnuma"] {
            symlink(env!("CARGO_BIN_EXE_vnuma-scenarios"), folder.path().join("target/release").join(name)).unwrap();
        }
        symlink(Path::new(HERE).join(MACHINES), vmtests.join(MACHINES)).unwrap();
        symlink(Path::new(HERE).join("run"), vmtests.join("run")).unwrap();
        for name in ["lab", "vm"] {
            std::fs::write(vmtests.join(name), FAKE_LAB).unwrap();
            std::fs::set_permissions(vmtests.join(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
        Project(folder)
    }

    fn run(&self, names: &[&str], failing: &str) -> Output {
        let mut command = Command::new("bash");
        command.arg(self.0.path().join("vmtests/run")).args(names).env_remove("CARGO_TARGET_DIR");
        command.env("LAB_KVM", "no").env("FAILING", failing).env("BOOTS", self.0.path().join("boots"));
        command.output().unwrap()
    }

    /// The command of each boot and the scenarios that it was given.
    fn boots(&self) -> Vec<String> {
        let noted = std::fs::read_to_string(self.0.path().join("boots")).unwrap_or_default();
        noted.lines().map(String::from).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_unknown_name_is_refused_before_anything_is_booted() {
    let project = Project::new();
    let output = project.run(&["hosts", "a_host_is_fled"], "");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("no group or scenario 'a_host_is_fled'"), "{output:?}");
    assert_eq!(project.boots(), [""; 0]);
}

#[test]
fn a_single_scenario_runs_alone() {
    let project = Project::new();
    let output = project.run(&["a_cgroup_moves_whole"], "");
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).ends_with("\n1 passed (0 of them at the second try), 0 failed\n"), "{output:?}");
    assert_eq!(project.boots(), ["lab a_cgroup_moves_whole"]);
}

#[test]
fn a_group_shares_a_boot_and_a_scenario_that_fails_twice_has_failed() {
    let project = Project::new();
    let output = project.run(&["hosts"], "a_destination_whose_host_dies_is_left");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let failed =
        "failed: a_destination_whose_host_dies_is_left (hosts)\n3 passed (0 of them at the second try), 1 failed\n";
    assert!(text(&output.stdout).ends_with(failed), "{output:?}");
    let boots = project.boots();
    assert!(boots[0].starts_with("lab hosts_tell_a_hog_from_the_guests_own_work "), "{boots:?}");
    assert_eq!(boots[1..], ["lab a_destination_whose_host_dies_is_left"]);
}

#[test]
fn each_kernel_of_a_shape_is_a_boot() {
    let project = Project::new();
    let output = project.run(&["a_second_scheduler_is_refused_by_name"], "");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(project.boots(), ["vm a_second_scheduler_is_refused_by_name"; 2]);
}
