//! Checks before anything is changed. Each refusal is one sentence with the remedy.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::boot_settings;
use super::neighbours::{neighbours, Neighbour};
use crate::bpf::{self, CPU_IDS, NODE_IDS, OPS_NAME};
use crate::cell::NodeId;
use crate::sense::Nodes;
use anyhow::{bail, ensure, Context, Result};
use scx_utils::compat;

const SCHED_EXT_DIR: &str = "/sys/kernel/sched_ext";

/// The inode of the initial PID namespace (include/linux/proc_ns.h).
const PROC_PID_INIT_INO: u64 = 0xEFFF_FFFC;

/// Check that this process may schedule at all, on any kernel.
pub fn check_may_run() -> Result<()> {
    ensure!(is_root(), "scx_vnuma must run as root, because it loads a scheduler into the kernel; try sudo");
    check_pid_namespace()
}

/// Check that this kernel can load the scheduler class now.
pub fn check_machine() -> Result<()> {
    ensure!(
        Path::new(SCHED_EXT_DIR).exists(),
        "this kernel has no sched_ext; boot Linux 7.2 or newer with CONFIG_SCHED_CLASS_EXT=y"
    );
    ensure!(
        Path::new("/sys/kernel/btf/vmlinux").exists(),
        "this kernel has no BTF; boot one with CONFIG_DEBUG_INFO_BTF=y"
    );
    ensure!(
        compat::get_fs_mount("bpf")?.iter().any(|mount| mount == Path::new("/sys/fs/bpf")),
        "no BPF file system is mounted at /sys/fs/bpf; run mount -t bpf -o mode=700 bpf /sys/fs/bpf"
    );
    boot_settings::check(Path::new("/"))?;
    match running_scheduler()? {
        Some(name) if is_ours(&name) => bail!("scx_vnuma is running already; `scx_vnuma --monitor 1` shows it"),
        Some(name) => bail!("another sched_ext scheduler is loaded: {name}; stop it first"),
        None => Ok(()),
    }
}

/// Check that process ids mean the same to the kernel's task iterator as to system calls of this process.
///
/// The iterator returns ids of the initial PID namespace. In any other, the same number is another task, which would be
/// made migratable by mistake.
pub fn check_pid_namespace() -> Result<()> {
    let inode = std::fs::metadata("/proc/self/ns/pid").context("reading /proc/self/ns/pid")?.ino();
    ensure!(
        inode == PROC_PID_INIT_INO,
        "scx_vnuma runs in its own PID namespace (a container?), where process ids differ from the kernel's; run it in \
         the initial one, with `nsenter -t 1 -p` or --pid=host"
    );
    Ok(())
}

/// Return true if the process runs as root.
pub fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The name of the loaded sched_ext scheduler, if any.
pub fn running_scheduler() -> Result<Option<String>> {
    if !Path::new(SCHED_EXT_DIR).exists() {
        return Ok(None);
    }
    let read = |name: &str| {
        let path = Path::new(SCHED_EXT_DIR).join(name);
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    if read("state")?.trim() == "disabled" {
        return Ok(None);
    }
    Ok(Some(read("root/ops").map_or_else(|_| "unknown".into(), |name| name.trim().to_string())))
}

/// Return true if `name` is the kernel's name for our scheduler class.
pub fn is_ours(name: &str) -> bool {
    name == OPS_NAME || name.strip_prefix(OPS_NAME).is_some_and(|rest| rest.starts_with('_'))
}

/// Warn about features that this kernel lacks and about settings that hurt.
pub fn warn_of_gaps() {
    if let Ok(false) = compat::struct_has_field("rq", "ext_server") {
        log::warn!(
            "this kernel has no deadline server for sched_ext: if fixed tasks keep a CPU busy for 30 s, migratable \
             tasks there starve and the watchdog ends scx_vnuma; Linux 7.0 and newer guarantee them 5 %"
        );
    }
    if bpf::cannot_kick_cpus() {
        log::warn!(
            "this kernel's BTF was made by a pahole older than 1.26, so BPF programs can't kick CPUs: when a plan \
             changes, running tasks stay until the next tick; with a newer pahole they move at once"
        );
    }
    if bpf::cannot_exit() {
        log::warn!(
            "this kernel's BTF was made by a pahole older than 1.26, so BPF programs can't end the scheduler: if this \
             daemon is stopped or hangs, work stays where the last plan sent it until the daemon goes on or is killed"
        );
    }
    if is_writable_by_others(Path::new("/sys/fs/bpf")) {
        log::warn!(
            "every user may write to /sys/fs/bpf, and get in the way of what scx_vnuma keeps there; run chmod 700 \
             /sys/fs/bpf, and mount it with mode=700"
        );
    }
    for note in neighbours(Path::new("/")) {
        match note.neighbour {
            // What moves IRQs says so itself, where it does.
            Neighbour::Irqbalance => {}
            neighbour if neighbour.is_in_the_way() => log::warn!("{note}"),
            _ => log::info!("{note}"),
        }
    }
}

fn is_writable_by_others(dir: &Path) -> bool {
    const WRITABLE_BY_OTHERS: u32 = 0o002;

    dir.metadata().is_ok_and(|metadata| metadata.mode() & WRITABLE_BY_OTHERS != 0)
}

/// The nodes as the scheduler class can have them: without those past its size that only have memory. Nodes or CPUs with larger
/// ids are refused.
pub fn supported_nodes(nodes: &Nodes) -> Result<Nodes> {
    let is_small = |node: NodeId| node.0 < NODE_IDS;
    if let Some(node) = nodes.with_cpus().into_iter().find(|&node| !is_small(node)) {
        bail!(
            "node {node} is past the {NODE_IDS} nodes that scx_vnuma is built for, 0 to {}; number the guest's vNUMA nodes \
             from 0",
            NODE_IDS - 1
        );
    }
    if let Some(cpu) = nodes.iter().flat_map(|(_, cpus)| cpus).find(|&cpu| cpu >= CPU_IDS) {
        bail!("CPU {cpu} is past the {CPU_IDS} CPUs that scx_vnuma is built for; give the guest fewer CPUs");
    }
    Ok(nodes.filtered(is_small))
}

/// The node that work starts on: the requested one, or the first with CPUs.
pub fn choose_start_node(nodes: &Nodes, asked: Option<u32>, allow_single_node: bool) -> Result<NodeId> {
    let with_cpus = nodes.with_cpus();
    let first = *with_cpus.first().context("no node has an online CPU")?;
    if with_cpus.len() == 1 && !allow_single_node {
        bail!(
            "only node {first} has CPUs, so there is nowhere to move work; give the guest one vNUMA node per host, or \
             run with --allow-single-node"
        );
    }
    let Some(asked) = asked.map(NodeId) else { return Ok(first) };
    let names = || with_cpus.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ");
    ensure!(with_cpus.contains(&asked), "--start-node {asked}: the nodes with CPUs are {}", names());
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Nodes {
        Nodes::new([(NodeId(0), vec![]), (NodeId(1), vec![0, 1]), (NodeId(3), vec![2])])
    }

    #[test]
    fn work_starts_on_the_first_node_that_has_cpus() {
        assert_eq!(choose_start_node(&nodes(), None, false).unwrap(), NodeId(1));
        assert_eq!(choose_start_node(&nodes(), Some(3), false).unwrap(), NodeId(3));
    }

    #[test]
    fn nodes_and_cpus_that_the_class_has_no_room_for_are_refused_unless_they_only_have_memory() {
        let supported = |nodes: &[(u32, Vec<u32>)]| {
            supported_nodes(&Nodes::new(nodes.iter().map(|(node, cpus)| (NodeId(*node), cpus.clone()))))
        };
        let largest = [(0, vec![0]), (63, vec![1024, 4095])];
        assert_eq!(supported(&largest).unwrap().with_cpus(), [NodeId(0), NodeId(63)]);
        let message = supported(&[(0, vec![0]), (64, vec![1])]).unwrap_err().to_string();
        assert!(message.contains("node 64 is past the 64 nodes") && message.contains("from 0"), "{message}");
        let message = supported(&[(0, vec![0, 4096]), (1, vec![1])]).unwrap_err().to_string();
        assert!(message.contains("CPU 4096 is past the 4096 CPUs"), "{message}");
        let with_memory = supported(&[(0, vec![0]), (1, vec![1]), (64, vec![]), (1023, vec![])]).unwrap();
        assert_eq!(with_memory.nr_ids(), 2);
    }

    #[test]
    fn an_unknown_start_node_is_refused_with_a_list_of_the_nodes() {
        let message = choose_start_node(&nodes(), Some(2), false).unwrap_err().to_string();
        assert!(message.contains("--start-node 2") && message.contains("1, 3"), "{message}");
    }

    #[test]
    fn a_single_node_needs_an_option() {
        let single = Nodes::new([(NodeId(0), vec![0, 1])]);
        let message = choose_start_node(&single, None, false).unwrap_err().to_string();
        assert!(message.contains("--allow-single-node"), "{message}");
        assert_eq!(choose_start_node(&single, None, true).unwrap(), NodeId(0));
    }

    #[test]
    fn a_directory_that_every_user_can_write_to_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for (mode, is_noticed) in [(0o1777, true), (0o700, false), (0o755, false)] {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(is_writable_by_others(dir.path()), is_noticed, "{mode:o}");
        }
        assert!(!is_writable_by_others(&dir.path().join("missing")));
    }

    #[test]
    fn our_ops_name_is_recognized_by_its_prefix() {
        assert!(is_ours("vnuma_0.1.0_x86_64_unknown_linux_gnu"));
        assert!(is_ours("vnuma"));
        assert!(!is_ours("vnumad_1.0"));
    }
}
