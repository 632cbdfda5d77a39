//! Settings from boot with which the kernel loads no sched_ext scheduler, or not ours. It says so by EINVAL only.

use std::path::Path;

use anyhow::{bail, Result};

/// Check the settings of the system below `root`, usually `/`.
pub fn check(root: &Path) -> Result<()> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let command_line = read("proc/cmdline");
    if let Some(setting) = domain_isolation(&command_line) {
        bail!(
            "the kernel was booted with {setting}, and with that it loads no sched_ext scheduler; boot without it: isolated \
             cpuset partitions keep tasks off CPUs as well"
        );
    }
    // Without securityfs, the command line may tell.
    let lockdown = read("sys/kernel/security/lockdown");
    if lockdown.contains("[confidentiality]") || (lockdown.is_empty() && asks_for_confidentiality(&command_line)) {
        bail!(
            "the kernel is locked down for confidentiality, so BPF programs can't read its memory; boot with \
             lockdown=integrity or without lockdown"
        );
    }
    Ok(())
}

/// The `isolcpus=` that takes CPUs out of scheduling domains, as it does unless its flags are others
/// (Documentation/admin-guide/kernel-parameters.txt).
fn domain_isolation(command_line: &str) -> Option<&str> {
    command_line.split_whitespace().find(|setting| {
        let Some(value) = setting.strip_prefix("isolcpus=") else { return false };
        let (flags, cpus): (Vec<&str>, Vec<&str>) = value
            .split(',')
            .filter(|item| !item.is_empty())
            .partition(|item| item.starts_with(|char: char| char.is_ascii_lowercase()) && !is_all(item));
        !cpus.is_empty() && (flags.is_empty() || flags.contains(&"domain"))
    })
}

/// The kernel's lists of CPUs may have this word.
fn is_all(item: &str) -> bool {
    item == "all" || item.starts_with("all:")
}

fn asks_for_confidentiality(command_line: &str) -> bool {
    command_line.split_whitespace().any(|setting| setting == "lockdown=confidentiality")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolcpus_is_refused_only_if_it_isolates_domains() {
        for (setting, isolates) in [
            ("isolcpus=2-3", true),
            ("isolcpus=domain,managed_irq,2", true),
            ("isolcpus=all", true),
            ("isolcpus=nohz,2-3", false),
            ("isolcpus=managed_irq,2", false),
            ("isolcpus=", false),
            ("isolcpus=none", false),
            ("nohz_full=2-3", false),
        ] {
            let command_line = format!("BOOT_IMAGE=/vmlinuz quiet {setting} root=/dev/vda1\n");
            assert_eq!(domain_isolation(&command_line), isolates.then_some(setting), "{setting}");
        }
    }

    #[test]
    fn each_refusal_is_a_sentence_with_the_remedy() {
        let refusal = |command_line: &str, lockdown: Option<&str>| {
            let root = tempfile::tempdir().unwrap();
            for dir in ["proc", "sys/kernel/security"] {
                std::fs::create_dir_all(root.path().join(dir)).unwrap();
            }
            std::fs::write(root.path().join("proc/cmdline"), command_line).unwrap();
            if let Some(text) = lockdown {
                std::fs::write(root.path().join("sys/kernel/security/lockdown"), text).unwrap();
            }
            check(root.path()).err().map(|err| err.to_string())
        };
        assert_eq!(refusal("quiet\n", None), None);
        assert_eq!(refusal("quiet lockdown=confidentiality\n", Some("none [integrity] confidentiality\n")), None);
        let isolated = refusal("quiet isolcpus=1\n", None).unwrap();
        assert!(isolated.contains("isolcpus=1") && isolated.contains("cpuset partitions"), "{isolated}");
        for locked in [
            refusal("quiet\n", Some("none integrity [confidentiality]\n")),
            refusal("quiet lockdown=confidentiality\n", None),
        ] {
            assert!(locked.unwrap().contains("lockdown=integrity"));
        }
    }
}
