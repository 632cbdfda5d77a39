//! Interrupts: on which CPUs the kernel may handle each, as /proc/irq has it.

use std::io;
use std::path::{Path, PathBuf};

/// The numbers of all IRQs that there are below `root`, usually `/`.
pub fn list(root: &Path) -> io::Result<Vec<u32>> {
    let mut irqs = Vec::new();
    for entry in std::fs::read_dir(root.join("proc/irq"))? {
        // The folder has files beside the IRQs' folders, which are named by their numbers.
        irqs.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    irqs.sort_unstable();
    Ok(irqs)
}

/// The file with an IRQ's affinity, a list of CPUs.
pub fn affinity_file(root: &Path, irq: u32) -> PathBuf {
    root.join(format!("proc/irq/{irq}/smp_affinity_list"))
}

/// Return true if this refusal means that nobody may ever move the IRQ: it is bound to one CPU, or the kernel manages
/// it itself (kernel/irq/proc.c, write_irq_affinity). Others, such as a CPU without a free vector, may pass.
pub fn is_for_good(refusal: &io::Error) -> bool {
    matches!(refusal.raw_os_error(), Some(libc::EPERM | libc::EIO))
}

/// Return true if irqbalance runs; it moves IRQs by itself.
pub fn irqbalance_runs(root: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(root.join("proc")) else { return false };
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    entries.filter_map(Result::ok).filter(|entry| entry.file_name().to_str().is_some_and(is_process)).any(|entry| {
        // A process that has ended meanwhile has no name.
        std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == "irqbalance")
    })
}
