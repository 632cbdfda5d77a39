//! Lists IRQs, and tells which of them can't be moved and who else moves them.

use std::io;
use std::path::Path;

use super::AffinityError;

/// The numbers of all IRQs below `root`, usually `/`, in ascending order.
pub fn list(root: &Path) -> Result<Vec<u32>, AffinityError> {
    let path = root.join("proc/irq");
    let names = || std::fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
    let names = names().map_err(|cause| AffinityError::Read { path: path.clone(), cause })?;
    // Each IRQ has a directory that is named by its number; the files next to them have other names.
    let mut irqs: Vec<u32> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    irqs.sort_unstable();
    Ok(irqs)
}

/// Return true if this refusal of the kernel means that nobody may ever move the IRQ: it is a per-CPU one, or the kernel
/// manages its affinity (kernel/irq/proc.c, write_irq_affinity). Other refusals are temporary, such as that of a CPU
/// without a free vector.
pub fn is_permanent(refusal: &io::Error) -> bool {
    matches!(refusal.raw_os_error(), Some(libc::EPERM | libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::super::fake_root::FakeRoot;
    use super::*;

    #[test]
    fn irqs_are_listed_by_number_without_the_files_next_to_them() {
        let root = FakeRoot::new();
        assert_eq!(list(root.path()).unwrap(), [4, 24]);
        std::fs::remove_dir_all(root.path().join("proc/irq")).unwrap();
        let message = list(root.path()).unwrap_err().to_string();
        assert!(message.contains("proc/irq: ") && message.contains("--move-irqs=false"), "{message}");
    }
}
